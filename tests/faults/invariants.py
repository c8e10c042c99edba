"""The checker of a fault run: holds what clients saw against what the stores hold.

The invariants are those of `docs/guarantees.md`. A violation is a sentence that begins with the invariant's name.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from tests.faults.files_whole import broken_files
from tests.faults.history import TERMINAL, Held, History, Row, Seen, Watch
from tests.faults.relayed import broken_relays

_TOKEN = re.compile(r"(\w+):(\d+)")


def violations(history: History) -> list[str]:
    """Return what the history breaks; empty when every invariant holds."""
    return [
        *_existence(history),
        *_uniqueness(history),
        *_prefixes(history),
        *(problem for held in history.held.values() if held is not None for problem in _whole(held)),
        *_wishes(history),
        *_steering(history),
        *_talks(history),
        *_endings(history),
        *_ledger(history),
        *broken_files(history.files),
        *broken_relays(history),
    ]


def _existence(history: History) -> Iterator[str]:
    for key, ids in history.acknowledged.items():
        for response_id in ids - history.deleted:
            if history.held.get(response_id) is None:
                yield f"I1 {response_id} (key {key}) was acknowledged and does not exist"


def _uniqueness(history: History) -> Iterator[str]:
    for key, ids in history.acknowledged.items():
        if len(ids) > 1:
            yield f"I2 key {key} was answered with {len(ids)} responses: {sorted(ids)}"
    for text, count in history.inputs.items():
        if count > 1:
            yield f"I2 '{text}' is the input of {count} responses"


def _prefixes(history: History) -> Iterator[str]:
    for refusal in history.refused:
        yield f"I3 a client was refused the rest of what it had: {refusal}"
    for contradiction in history.contradicted:
        yield f"I3 an event came twice and differed: {contradiction}"
    for watch in history.watches:
        yield from _gapless(watch)
        held = history.held.get(watch.response_id)
        if held is not None and held.log is None and not history.forgetful:
            yield f"I3 {watch.response_id}: its log is gone"
        if held is not None and held.log is not None:
            yield from _of_the_log(watch, held.log, forgetful=history.forgetful)


def _gapless(watch: Watch) -> Iterator[str]:
    expected = 0
    for event in watch.events:
        if event.number != expected and not (event.type in TERMINAL and event.number > expected):
            yield f"I3 {watch.response_id}: a client received number {event.number} where {expected} was next"
        expected = event.number + 1


def _of_the_log(watch: Watch, log: list[Seen], *, forgetful: bool) -> Iterator[str]:
    """Only a log that was emptied may lack what a client has, and it says so by the gap before its end."""
    numbered = {event.number: event for event in log}
    lost = range(len(log) - 1, log[-1].number) if forgetful and log else range(0)
    for event in watch.events:
        if numbered.get(event.number) != event and not (event.number not in numbered and event.number in lost):
            yield f"I3 {watch.response_id}: number {event.number} of a client is not the log's"


def _whole(held: Held) -> Iterator[str]:
    """Check one response by itself: numbers, one end, one generation, one text."""
    response_id, log = held.response["id"], held.log
    stored = "".join(_texts(held.response))
    if log is None:  # emptied after the end: the truth alone is left
        yield from _spliced(response_id, stored)
        return
    if not _numbered(log):
        yield f"I3 {response_id}: the log's numbers have a gap or a double"
    if not log or (log[0].type != "response.created" and len(log) > 1):
        yield f"I3 {response_id}: the log does not begin with response.created"
    ends = [event.type for event in log if event.type in TERMINAL]
    if len(ends) != 1 or log[-1].type not in TERMINAL:
        yield f"I5 {response_id}: {len(ends)} terminal events, the last event is {log[-1].type if log else None}"
        return
    terminal = msgspec.json.decode(log[-1].data)["response"]
    if (terminal["status"], terminal["output"]) != (held.response["status"], held.response["output"]):
        yield f"I3 {response_id}: the terminal event and the stored response differ"
    text = "".join(_deltas(log))
    if text != stored:
        yield f"I3 {response_id}: the joined deltas ({len(text)}) are not the stored text ({len(stored)})"
    yield from _spliced(response_id, text)


def _numbered(log: list[Seen]) -> bool:
    """Whether numbers are gapless from 0, but for one gap directly before the end."""
    numbers = [event.number for event in log]
    gapless = list(range(len(log)))
    return numbers[:-1] == gapless[:-1] and (numbers[-1:] == gapless[-1:] or log[-1].type in TERMINAL)


def _spliced(response_id: str, text: str) -> Iterator[str]:
    tokens = _TOKEN.findall(text)
    salts = {salt for salt, _ in tokens}
    if len(salts) > 1:
        yield f"I4 {response_id}: {len(salts)} generations in one answer"
    elif [int(number) for _, number in tokens] != list(range(len(tokens))):
        yield f"I4 {response_id}: tokens of its generation are missing, doubled or out of order"


def _wishes(history: History) -> Iterator[str]:
    """What a cancel or a delete has answered stays so."""
    for response_id, status in history.stopped.items():
        held = history.held.get(response_id)
        if held is not None and held.response["status"] != status:
            yield f"I1 {response_id} was {status} to who cancelled it and is {held.response['status']}"
    for response_id in history.deleted:
        if history.held.get(response_id) is not None:
            yield f"I1 {response_id} exists after its delete was acknowledged"


def _steering(history: History) -> Iterator[str]:
    """Accepted input is taken, or given back; `_uniqueness` sees what is taken twice."""
    for text, response_id in history.steered.items():
        taken = history.inputs[text]
        if not taken and text not in history.given_back:
            yield f"I1 '{text}' was accepted to steer {response_id} and is lost"
        if taken and text in history.given_back:
            yield f"I2 '{text}', which steered {response_id}, was taken and given back"


def _talks(history: History) -> Iterator[str]:
    """A conversation has the words of each acknowledged turn once, in the order of the turns."""
    for conversation, keys in history.talks.items():
        said = history.said.get(conversation, [])
        asked = [f"Question {key}" for key in keys]
        if lost := [text for text in asked if text not in said]:
            yield f"I1 {conversation} lacks {lost}"
        if doubled := [text for text, count in Counter(said).items() if count > 1]:
            yield f"I2 {conversation} has {doubled} more than once"
        if [text for text in said if text in asked] != [text for text in asked if text in said]:
            yield f"I3 {conversation} has its turns in another order than they were asked in"


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
        if row.status != "settled":
            yield f"I7 {row.response_id}: a ledger row is not settled"
    for response_id, held in history.held.items():
        if held is None:
            continue
        own = rows[response_id]
        if len(own) > 2:
            yield f"I7 {response_id}: {len(own)} ledger rows"
        if held.response["status"] == "completed":
            yield from _exactly_billed(history, held, own)
    yield from _written_down(history, rows)


def _exactly_billed(history: History, held: Held, own: list[Row]) -> Iterator[str]:
    salt = next((found[1] for text in _texts(held.response) if (found := _TOKEN.search(text))), None)
    call = history.upstream.get(salt or "")
    exact = [(row.input_tokens, row.output_tokens) for row in own if not row.estimated]
    if call is not None and exact != [(call.input_tokens, call.output_tokens)]:
        counted = (call.input_tokens, call.output_tokens)
        yield f"I7 {held.response['id']}: the ledger says {exact}, the provider counted {counted}"


def _written_down(history: History, rows: dict[str, list[Row]]) -> Iterator[str]:
    """No call without its row."""
    calls = Counter(call.asked for call in history.upstream.values())
    for key, ids in history.acknowledged.items():
        written = sum(len(rows[response_id]) for response_id in ids)
        if calls[f"Question {key}"] > written:
            yield f"I7 key {key}: {calls[f'Question {key}']} upstream calls, {written} ledger rows"


def _deltas(log: Iterable[Seen]) -> Iterator[str]:
    for event in log:
        if event.type == "response.output_text.delta":
            yield msgspec.json.decode(event.data)["delta"]


def _texts(response: dict[str, Any]) -> Iterator[str]:
    for item in response["output"]:
        for part in item.get("content") or ():
            if part["type"] == "output_text":
                yield part["text"]
