"""What clients saw of a fault run, and what the stores hold when all is quiet: `invariants.py` compares them."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

TERMINAL = ("response.completed", "response.failed", "response.incomplete")


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as one client received it, in the order of receipt."""

    number: int
    type: str
    data: bytes


@dataclass(slots=True)
class Watch:
    """Everything one client saw of one response over all its connections.

    `server` acknowledged it first. Times are monotonic seconds; `ended_at` is when the client knew of the end, None
    where it never did.
    """

    key: str
    response_id: str
    server: str = ""
    created_at: float = 0.0
    ended_at: float | None = None
    events: list[Seen] = field(default_factory=list[Seen])


@dataclass(slots=True)
class Held:
    """What the server holds of a response when all is quiet: its object and its log, None where it is gone (410)."""

    response: dict[str, Any]
    log: list[Seen] | None


@dataclass(frozen=True, slots=True)
class Row:
    """A ledger row."""

    response_id: str
    status: str
    estimated: bool
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the model server counts it: the last user message, and what it cost."""

    asked: str
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Resume:
    """A reconnect that was answered with an event.

    `behind` says that the event had been seen before, so that it was there to be sent.
    """

    server: str
    asked_at: float
    first_at: float
    behind: bool


@dataclass(slots=True)
class Outage:
    """Something that was away, from when to when (monotonic seconds): a server's address, `postgresql` or `redis`."""

    what: str
    how: str
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Chunked:
    """What the truth holds of a file: how its chunk set stands, and a digest of its chunks and postings."""

    sha256: str
    stage: str
    sets: tuple[str, ...]
    digest: str


@dataclass(slots=True)
class Relayed:
    """A relayed call under a model name of its own: what its client got, and what the ledger and the model server say.

    `counted` has the model server's (input, output) of each call.
    """

    seen: bool = False
    whole: bool = False
    counted: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    rows: list[Row] = field(default_factory=list[Row])


@dataclass(slots=True)
class Files:
    """The files of a run: by id, what was uploaded; `deleted` and `lost` ids that were acknowledged as gone or are."""

    by_key: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    uploaded: dict[str, str] = field(default_factory=dict[str, str])
    deleted: set[str] = field(default_factory=set[str])
    chunked: dict[str, Chunked] = field(default_factory=dict[str, Chunked])
    undisturbed: dict[str, Chunked] = field(default_factory=dict[str, Chunked])
    orphans: Counter[str] = field(default_factory=Counter[str])


@dataclass(slots=True)
class History:
    """One fault run. `acknowledged` maps an idempotency key to the ids that any answer to it named.

    `refused` holds answers that left a client without the rest, `contradicted` events that came twice and differed,
    `unfinished` the keys whose clients saw no end. `stopped` has the status that an acknowledged cancel named, by
    response; `steered` the response by each text that was accepted to steer it; `talks` the keys of the acknowledged
    turns of a conversation, in their order. `held` has an entry for every acknowledged response, None where the server
    does not know it. `inputs` counts the input texts in the truth, `given_back` has those of steering that failed
    there, `said` the texts of user messages in each conversation. `upstream` holds the model server's count by salt.
    `forgetful` says that Redis was emptied: logs may be gone.
    """

    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    watches: list[Watch] = field(default_factory=list[Watch])
    held: dict[str, Held | None] = field(default_factory=dict[str, Held | None])
    refused: list[str] = field(default_factory=list[str])
    contradicted: list[str] = field(default_factory=list[str])
    unfinished: list[str] = field(default_factory=list[str])
    stopped: dict[str, str] = field(default_factory=dict[str, str])
    deleted: set[str] = field(default_factory=set[str])
    steered: dict[str, str] = field(default_factory=dict[str, str])
    given_back: set[str] = field(default_factory=set[str])
    talks: dict[str, list[str]] = field(default_factory=lambda: defaultdict[str, list[str]](list))
    said: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    inputs: Counter[str] = field(default_factory=Counter[str])
    ledger: list[Row] = field(default_factory=list[Row])
    upstream: dict[str, Call] = field(default_factory=dict[str, Call])
    files: Files = field(default_factory=Files)
    relayed: dict[str, Relayed] = field(default_factory=lambda: defaultdict[str, Relayed](Relayed))
    restarts_s: list[float] = field(default_factory=list[float])
    resumes: list[Resume] = field(default_factory=list[Resume])
    outages: list[Outage] = field(default_factory=list[Outage])
    forgetful: bool = False
