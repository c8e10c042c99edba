"""What clients saw, what the server holds at the end, and the checker that holds one against the other.

The invariants are those of `docs/guarantees.md` (I1 to I5, and the ledger's I7). A violation is a sentence.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

TERMINAL = ("response.completed", "response.failed", "response.incomplete")
_TOKEN = re.compile(r"(\w+):(\d+)")


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as one client received it, in the order of receipt."""

    number: int
    type: str
    data: bytes


@dataclass(slots=True)
class Watch:
    """Everything one client saw of one response over all its connections, and whether it saw the end."""

    key: str
    response_id: str
    events: list[Seen] = field(default_factory=list[Seen])


@dataclass(slots=True)
class Held:
    """What the server holds of a response when all is quiet: its object and its whole log."""

    response: dict[str, Any]
    log: list[Seen]


@dataclass(frozen=True, slots=True)
class Row:
    """A ledger row."""

    response_id: str
    status: str
    estimated: bool
    input_tokens: int
    output_tokens: int


@dataclass(slots=True)
class History:
    """One fault run. `acknowledged` maps an idempotency key to the ids that any answer to it named.

    `refused` holds answers that left a client without the rest, `unfinished` the keys whose clients saw no end.
    `held` has an entry for every acknowledged response, None where the server does not know it. `stored_by_key`
    counts the responses in the truth per key. `upstream` holds the model server's own count by salt:
    (input tokens, output tokens, finished).
    """

    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    watches: list[Watch] = field(default_factory=list[Watch])
    held: dict[str, Held | None] = field(default_factory=dict[str, Held | None])
    refused: list[str] = field(default_factory=list[str])
    unfinished: list[str] = field(default_factory=list[str])
    stored_by_key: Counter[str] = field(default_factory=Counter[str])
    ledger: list[Row] = field(default_factory=list[Row])
    upstream: dict[str, tuple[int, int, bool]] = field(default_factory=dict[str, tuple[int, int, bool]])
    restarts_s: list[float] = field(default_factory=list[float])


def violations(history: History) -> list[str]:
    """Return what the history breaks; empty when every invariant holds."""
    return [
        *_existence(history),
        *_uniqueness(history),
        *_prefixes(history),
        *(problem for held in history.held.values() if held is not None for problem in _whole(held)),
        *_endings(history),
        *_ledger(history),
    ]


def _existence(history: History) -> Iterator[str]:
    for key, ids in history.acknowledged.items():
        for response_id in ids:
            if history.held.get(response_id) is None:
                yield f"I1 {response_id} (key {key}) was acknowledged and does not exist"


def _uniqueness(history: History) -> Iterator[str]:
    for key, ids in history.acknowledged.items():
        if len(ids) > 1:
            yield f"I2 key {key} was answered with {len(ids)} responses: {sorted(ids)}"
    for key, count in history.stored_by_key.items():
        if count > 1:
            yield f"I2 key {key} made {count} responses"


def _prefixes(history: History) -> Iterator[str]:
    for refusal in history.refused:
        yield f"I3 a client was refused the rest of what it had: {refusal}"
    for watch in history.watches:
        held = history.held.get(watch.response_id)
        if held is None:
            continue
        log = {event.number: event for event in held.log}
        expected = 0
        for event in watch.events:
            if event.number != expected and not (event.type in TERMINAL and event.number > expected):
                yield f"I3 {watch.response_id}: a client received number {event.number} where {expected} was next"
            expected = event.number + 1
            if log.get(event.number) != event:
                yield f"I3 {watch.response_id}: number {event.number} of a client is not the log's"


def _whole(held: Held) -> Iterator[str]:
    """Check one response by itself: numbers, one end, one generation, one text."""
    response_id, log = held.response["id"], held.log
    numbers = [event.number for event in log]
    gapless = list(range(len(log)))
    if numbers[:-1] != gapless[:-1] or (numbers and numbers[-1] != gapless[-1] and log[-1].type not in TERMINAL):
        yield f"I3 {response_id}: the log's numbers have a gap or a double"
    if not log or log[0].type != "response.created":
        yield f"I3 {response_id}: the log does not begin with response.created"
    ends = [event.type for event in log if event.type in TERMINAL]
    if len(ends) != 1 or log[-1].type not in TERMINAL:
        yield f"I5 {response_id}: {len(ends)} terminal events, the last event is {log[-1].type if log else None}"
        return
    terminal = msgspec.json.decode(log[-1].data)["response"]
    if (terminal["status"], terminal["output"]) != (held.response["status"], held.response["output"]):
        yield f"I3 {response_id}: the terminal event and the stored response differ"
    text = "".join(_deltas(log))
    stored = "".join(_texts(held.response))
    if text != stored:
        yield f"I3 {response_id}: the joined deltas ({len(text)}) are not the stored text ({len(stored)})"
    yield from _spliced(response_id, text)


def _spliced(response_id: str, text: str) -> Iterator[str]:
    tokens = _TOKEN.findall(text)
    salts = {salt for salt, _ in tokens}
    if len(salts) > 1:
        yield f"I4 {response_id}: {len(salts)} generations in one answer"
    elif [int(number) for _, number in tokens] != list(range(len(tokens))):
        yield f"I4 {response_id}: tokens of its generation are missing, doubled or out of order"


def _endings(history: History) -> Iterator[str]:
    for response_id, held in history.held.items():
        if held is not None and held.response["status"] in ("queued", "in_progress"):
            yield f"I5 {response_id} is still {held.response['status']}"
    for key in history.unfinished:
        yield f"I5 the client of key {key} never saw an end"


def _ledger(history: History) -> Iterator[str]:
    """One row per upstream call; where the provider told its usage and the response completed, exactly that."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in history.ledger:
        rows[row.response_id].append(row)
    for response_id, held in history.held.items():
        if held is None:
            continue
        own = rows[response_id]
        if any(row.status != "settled" for row in own):
            yield f"I7 {response_id}: a ledger row is not settled"
        if held.response["status"] != "completed":
            continue
        salt = next((found[1] for text in _texts(held.response) if (found := _TOKEN.search(text))), None)
        counted = history.upstream.get(salt or "")
        exact = [(row.input_tokens, row.output_tokens) for row in own if not row.estimated]
        if counted is not None and exact != [counted[:2]]:
            yield f"I7 {response_id}: the ledger says {exact}, the provider counted {counted[:2]}"
        if len(own) > 2:
            yield f"I7 {response_id}: {len(own)} ledger rows"


def _deltas(log: Iterable[Seen]) -> Iterator[str]:
    for event in log:
        if event.type == "response.output_text.delta":
            yield msgspec.json.decode(event.data)["delta"]


def _texts(response: dict[str, Any]) -> Iterator[str]:
    for item in response["output"]:
        for part in item.get("content") or ():
            if part["type"] == "output_text":
                yield part["text"]
