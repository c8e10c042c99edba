"""What the use cases need of the world: every Protocol of the project's inside, beside its consumers.

Each says what it does not guarantee. Implementations live in `infra`; rendering ones in `adapters`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from chatbackend.domain.answer import AnswerEvent
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item, OutputItem
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import Ask, FileSearch, Response
from chatbackend.domain.routing import Route, Timeouts
from chatbackend.domain.usage import Settlement
from chatbackend.usecases.realtime_ports import NO_REALTIME, RealtimeApi


class Clock(Protocol):
    """Time as the process sees it. Wall time may jump; never order by it, never judge a lease by it."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...


class NewId(Protocol):
    """Makes ids that never repeat: `prefix_` and hexadecimal digits, first those of the time."""

    def __call__(self, prefix: str) -> str: ...


class Spawn(Protocol):
    """Starts a task that belongs to the process, not to the caller. Its errors are logged, never raised here."""

    def __call__(self, work: Callable[[], Awaitable[None]], *, name: str) -> None: ...


class Report(Protocol):
    """Tells the operators of something that no caller can be told."""

    def __call__(self, message: str, error: BaseException) -> None: ...


class Model(Protocol):
    """A model behind some provider."""

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests to it are shaped by."""
        ...

    def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
        """Ask once, never retry what may have begun; nothing is dialled before the first event is asked for.

        Close the generator to hang up; the upstream connection ends at once. One that ends without `Finished` did not
        answer. Raises: InvalidRequest here, for what the model has no words for; the generator UpstreamError (and
        below) at any point.
        """
        ...


Take = Callable[[bytes], bool]  # sends at once; False: no more now
Drained = Callable[[], Awaitable[None]]  # returns once there is room again


class RelayedAnswer(Protocol):
    """An answer of a provider, passed on as it comes."""

    content_type: str  # "" where the provider names none

    async def read(self) -> bytes:
        """Return the next bytes of the body, b"" at its end. Raises: UpstreamError (and below) when it breaks off."""
        ...

    async def pass_on(self, take: Take, drained: Drained) -> bytes:
        """Hand what was not read yet to `take` as it arrives, and return what came with the end; then hang up.

        `take` is not awaited and must not raise. Where it returns False the provider waits until `drained` returns.
        Raises: UpstreamError (and below) when it breaks off, and whatever `drained` raises.
        """
        ...

    async def whole(self) -> bytes:
        """Return the body in one piece, instead of `read`. Raises: UpstreamError (and below) when it breaks off."""
        ...

    def close(self) -> None:
        """Hang up, unless the body was read to its end."""
        ...


class Relay(Protocol):
    """Passes requests of one API to a provider that speaks it."""

    async def __call__(
        self, body: bytes, timeouts: Timeouts, *, stream: bool, headers: Mapping[str, str]
    ) -> RelayedAnswer:
        """Dial once; `headers` are the API's own, no credential among them.

        Raises: UpstreamError (and below), also for an answer that is no success.
        """
        ...


class TokenCounter(Protocol):
    """Asks a provider how many tokens a request has. Nothing is generated, and nothing is billed."""

    async def __call__(self, request: ModelRequest, timeouts: Timeouts) -> int:
        """Return the count. Raises: InvalidRequest for what it has no way to say, UpstreamError (and below)."""
        ...

    async def of_body(self, body: bytes, timeouts: Timeouts, headers: Mapping[str, str]) -> int:
        """Return the count of a request in the provider's own dialect. Raises: UpstreamError (and below)."""
        ...


class RelayLedger(Protocol):
    """The ledger of relayed calls."""

    def started(self, principal: Principal, call: "Call") -> Awaitable[None]:
        """Begin to commit a row at once; await the result before the client gets its first byte."""
        ...

    def settled(self, call: "Call", settlement: Settlement) -> None:
        """Settle a row, some time soon."""
        ...


Api = Literal["chat", "messages", "embeddings"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that can be asked for: its public name, who owns it, and how to reach it.

    `relays` pass requests through as they are, by the API that the provider speaks. `counter`: it counts tokens.
    `realtime`: how it can be talked to.
    """

    name: str
    provider: str
    upstream_name: str
    model: Model
    relays: Mapping[Api, Relay] = field(default_factory=dict[Api, Relay])
    counter: TokenCounter | None = None
    realtime: RealtimeApi = NO_REALTIME


class Models(Protocol):
    """The configured models."""

    def route(self, name: str) -> Route:
        """Return the route behind a public name: a configured one, or one to the deployment of that name.

        Raises: NotFound, naming the known ones.
        """
        ...

    def find(self, name: str) -> Deployment:
        """Return a deployment by its full name, or by a bare one that is unambiguous.

        Raises: NotFound, naming the known ones.
        """
        ...

    def all(self) -> Sequence[Deployment]:
        """Return every deployment once, under its full name."""
        ...

    def names(self) -> Sequence[str]:
        """Return the names of configured routes and aliases."""
        ...


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event of a response's stream: its number (from 0), its type, its finished JSON."""

    number: int
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Extent:
    """What a log holds of a stream: numbers `[floor, next)`; `ended` once the terminal event is in."""

    floor: int
    next: int
    ended: bool


class EventLog(Protocol):
    """Numbered events of each response. A replaceable copy: the truth decides what a response is.

    `append` returns once the events are readable by everyone; they outlive the process where the
    implementation says so, and are kept for a time after the end, not for ever.
    """

    @property
    def prompt(self) -> bool:
        """Whether `take` usually does it, so that nobody need write behind a generation; never changes."""
        ...

    async def open(self, response_id: str, *, fence: int, fresh: bool = False) -> int:
        """Take a stream over with a higher fence (making it when it is new); return its next number.

        `fresh`: nobody can have opened it before.

        Raises: Fenced when a higher fence holds it.
        """
        ...

    async def append(
        self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent], ended: bool
    ) -> None:
        """Add `events`, numbered from `expected` (a terminal event may skip ahead); `ended` with the last.

        Of events that an implementation may have taken without saying so (over a network), those that are there
        with the same content count as added, and only the others are: the same append may be tried again.

        Raises: Fenced when another owner took over, Behind where the log has lost events of this owner, Gone when
        the stream was deleted, Unavailable when it may be tried again.
        """
        ...

    def take(self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent]) -> bool:
        """Add events at once, as `append` does; False, and nothing is added, where it takes waiting or is refused."""
        ...

    async def read(self, response_id: str, *, after: int, limit: int) -> Sequence[LogEvent]:
        """Return up to `limit` events with numbers above `after`, in order; [] when there are none yet."""
        ...

    async def extent(self, response_id: str) -> Extent | None:
        """Return what is held of a stream, None when it is not (or no longer) known."""
        ...

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        """Wait until there may be something above `after`, or the stream is deleted; False when time ran out.

        A stream that is not open yet is waited for.
        """
        ...

    async def delete(self, response_id: str) -> None:
        """Forget a stream; its readers are woken."""
        ...


class LastingLog(EventLog, Protocol):
    """A log that outlives processes: what recovery asks of it beside the events."""

    async def unended(self) -> Sequence[str]:
        """Return the ids of streams that lack their terminal event; a few may have got it, or never begun."""
        ...

    async def identity(self) -> str:
        """Return what this log is called; another name means that it may have lost events. Raises: Unavailable."""
        ...


class Fenced(Exception):
    """Another owner holds this response: stop at once, write nothing more."""


class Behind(Fenced):
    """The log came back without events that it had taken, or without this owner; it expects number `following`.

    Whoever still has those events opens the stream again and appends them; anyone else stops, as when fenced.
    """

    def __init__(self, following: int) -> None:
        super().__init__(f"the log is at number {following}")
        self.following = following


@dataclass(frozen=True, slots=True)
class Once:
    """How a create is recognised when it comes again.

    `key` is the SHA-256 (hex) of the Idempotency-Key header, or None; `retry` says that a client
    without one marked this as its own retry; `body_hash` is over the canonical body.
    """

    path: str
    body_hash: str
    key: str | None = None
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """What `begin` did: a fresh response, or the id of the one this request had already made.

    `steering` are the items that it has taken over before its own (`Ask.steering`).
    """

    response_id: str
    fresh: bool
    behind: bool = False  # earlier turns of its conversation have not ended
    steering: list[Item] = field(default_factory=list[Item])


@dataclass(slots=True)
class Call:
    """One upstream call in the ledger. `input_tokens`: about how many go in, for the bill of one that is lost."""

    id: str
    attempt: int
    model: str
    input_tokens: int = 0


@dataclass(slots=True)
class Orphan:
    """A response that its dead owner left. `attempts` counts its started upstream calls, `takeovers` its owners so far.

    `log` is the identity of the event log when it held all that the dead owner had written, None where that is unknown.
    `cancel_requested`: somebody wished it to be cancelled (`Wishes`), and its owner died before it did.
    """

    response: Response
    body: bytes
    attempts: int
    numbers_reserved: int
    takeovers: int = 0
    log: str | None = None
    cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A response that has ended, under which fence, and whether a server holds that; without a fence it is deleted."""

    response_id: str
    fence: int | None
    owned: bool


class Truth(Protocol):
    """Responses, their items and the ledger. Every method is one transaction, committed when it returns.

    A stored response is its owner's, by `response.fence`: `start`, `reserve` and `finish` raise Fenced for another.
    """

    async def begin(self, response: Response, ask: Ask, once: Once | None) -> Begun:
        """Commit the input items and a `queued` response; set its `turn`, or find the earlier one.

        Steering that the request takes over (`Ask.steering`) is taken in the same transaction.
        Raises: NotFound (conversation), InvalidRequest (previous response), Unprocessable (same key, other body),
        Conflict where there is no steering to succeed with.
        """
        ...

    async def start(self, response: Response, call: Call, *, before: Settlement | None = None) -> None:
        """Commit `in_progress` and the ledger row `started`, before dialling.

        A call of this response that is still open is settled: with `before`, or else as a dead owner's.
        """
        ...

    async def reserve(self, response: Response, *, numbers: int) -> None:
        """Raise the block of reserved event numbers."""
        ...

    async def finish(self, response: Response, call: Call | None, settlement: Settlement | None) -> bool:
        """Commit output items, status, usage and the ledger's settlement in one transaction.

        Without `call` any that is still open is settled; without `settlement`, as a dead owner's.
        Returns False when the response is deleted: then nothing was changed but the ledger. One that its owner has
        ended before stays as it is.
        """
        ...

    async def context(self, response: Response) -> list[Item]:
        """Return the items that precede this response's input, in order."""
        ...

    async def inputs(self, response_id: str) -> list[Item]:
        """Return a stored response's input items, in order."""
        ...

    async def get(self, principal: Principal, response_id: str) -> Response | None:
        """Return a stored response with its output, None when this owner has none of that id."""
        ...

    async def delete(self, principal: Principal, response_id: str) -> bool:
        """Delete a response and its items for good; False when this owner has none of that id."""
        ...

    async def orphans(self) -> int:
        """Return how many responses have not ended, and have an owner who left or may be taken for dead."""
        ...

    async def take_over(self, *, fence: int) -> Sequence[Orphan]:
        """Make this fence the owner of some responses that `orphans` counts, and return them, oldest first.

        Of many that try at once each gets others. [] when there are none left.
        """
        ...

    async def ended(self, response_ids: Sequence[str]) -> Sequence[Ended]:
        """Return which of these have ended or are deleted."""
        ...

    async def take_end(self, response_id: str, *, fence: int) -> Orphan | None:
        """Make this fence the owner of a response that has ended and has no living owner; None where that is untrue.

        For a fence that owns it already, return it as it is.
        """
        ...

    async def owned(self, *, fence: int, before: float) -> Sequence[str]:
        """Return the ids of a fence's responses that have not ended and began before this second."""
        ...

    async def disown(self, response_id: str, *, fence: int, to: int) -> None:
        """Move a response of one fence to another, which nobody holds: whoever takes over from the dead finds it."""
        ...

    async def settle_abandoned(self) -> int:
        """Settle, as estimates, the ledger rows that a dead process left `started` without a stored response."""
        ...


class Conversations(Protocol):
    """Conversations, as far as a rule is needed to change them."""

    async def delete(
        self, principal: Principal, conversation_id: str, *, erasing: Collection[str] | None = None
    ) -> Sequence[str]:
        """Delete a conversation and its items, unless responses of it run; return the ids of those, newest first.

        Items of its responses stay readable with them. With `erasing`, the responses whose events are forgotten
        already, all of its responses go too; where there are others, their ids are returned and nothing is deleted.
        Raises: NotFound.
        """
        ...


class ConversationLog(Protocol):
    """What has happened in each conversation, numbered without a gap from 0; the newest events of each are kept."""

    async def read(self, principal: Principal, conversation_id: str, *, after: int) -> Sequence[LogEvent]:
        """Return a page of the events above `after`, in order; [] when there are none yet.

        Raises: NotFound; Conflict `cursor_ahead`, Gone `cursor_expired` for a cursor that cannot be served exactly.
        """
        ...


class Renderer(Protocol):
    """Renders the events of one dialect, once; the bytes are what is logged and sent."""

    def lifecycle(self, kind: str, response: Response, number: int) -> LogEvent:
        """Render `response.created`, `.queued`, `.in_progress` or a terminal event."""
        ...

    def step(self, event: AnswerEvent, number: int) -> LogEvent:
        """Render one step of an answer."""
        ...

    def restore(self, events: Iterable[LogEvent]) -> list[OutputItem]:
        """Return the output items that these events add up to, the unfinished ones `incomplete`."""
        ...


class SearchPassages(Protocol):
    """Finds passages in the vector stores of a caller."""

    async def __call__(self, principal: Principal, query: str, search: FileSearch) -> list[Passage]:
        """Return the best passages, best first; tenant and owner are filtered inside the query.

        Raises: NotFound for a vector store this caller may not read.
        """
        ...


class Attachments(Protocol):
    """Contents of uploaded files, for requests that name them by id."""

    async def text(self, principal: Principal, file_id: str) -> tuple[str, str]:
        """Return (filename, text). Raises: NotFound; InvalidRequest while or because it has no text."""
        ...

    async def data_url(self, principal: Principal, file_id: str) -> tuple[str, str]:
        """Return (filename, content as a `data:` URL). Raises: NotFound; TooLarge."""
        ...


class ReadAsk(Protocol):
    """Reads a stored request body again (adapters know its shape)."""

    def __call__(self, body: bytes) -> Ask: ...
