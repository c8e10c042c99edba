"""What is said in a session, as items of a conversation: what is to be written, in the session's order, each item once.

It takes the session's events in GA's words, as its client sees them; who makes the items by itself says what they are.
What a user said is known by its transcript, which may come after the answer: an item waits for it, and what is behind
it waits, too, but not for ever. Nothing here tells the time: whoever feeds it says what time it is.

Source: the `openai` package, types/realtime/realtime_server_event.py.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chatbackend.adapters.api.items import NewId
from chatbackend.adapters.realtime.frames import Event, as_list, as_object
from chatbackend.adapters.realtime.spoken import PCM_PER_MS, Spoken, per_ms
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, Item
from chatbackend.domain.records import Amend, Append, Entry, Remove

TRANSCRIPT_S = 10.0  # that words may take to be written down, once they were said
KEPT = 1_000  # items that are written and may still change
SOUND = "response.output_audio.delta"
_TEXT = "response.output_text"
_TRANSCRIPT = "response.output_audio_transcript"
_HEARD = "conversation.item.input_audio_transcription"
EVENTS = frozenset(
    (
        *("session.created", "session.updated", "response.done"),
        *("response.output_item.added", "response.output_item.done"),
        *("conversation.item.added", "conversation.item.done"),
        *("conversation.item.deleted", "conversation.item.truncated"),
        *(f"{_HEARD}.completed", f"{_HEARD}.failed"),
        *(f"{what}.{step}" for what in (_TEXT, _TRANSCRIPT) for step in ("delta", "done")),
    )
)
_PLACE = re.compile(r'"item_id"\s*:\s*"([^"\\]+)"')
_HEAD = 512  # characters of a frame of sound that say whose it is


@dataclass(slots=True, eq=False)
class _Row:
    """An item of the session. `due_at`: when it is written though words are missing."""

    spoken: Spoken
    done: bool = False
    awaited: bool = True  # its transcript
    due_at: float | None = None
    settled: bool = False
    written: Item | None = None  # once it is settled; None where there was nothing to write
    made: Item | None = None  # where it is known as what it is
    before: Sequence[Item] = ()  # what is written in front of it: the model's thoughts

    @property
    def item(self) -> Item | None:
        """What a conversation keeps of it."""
        if isinstance(self.made, FunctionCall) and self.made.status != "completed":
            return None
        return self.made or self.spoken.item()


class Record:
    """One session's. `new_id` makes ids for items that cannot keep theirs; `given`: ids of what was there before."""

    def __init__(self, new_id: NewId, given: set[str] | None = None) -> None:
        self._new_id = new_id
        self._given = given if given is not None else set[str]()
        self._calls: dict[str, _Row] = {}  # that wait for their outputs: one alone no provider takes back
        self._spare: dict[str, None] = {}  # the ids that items of the session may have in the conversation
        self._rows: dict[str, _Row] = {}
        self._pending: list[_Row] = []  # in the session's order
        self._made_by: dict[object, object] = {}  # an item -> the response that it is of
        self._entries: list[Entry] = []
        self._transcribes = False
        self._per_ms = PCM_PER_MS

    def give(self, item_id: str) -> None:
        """Take note of an item that is not the session's own."""
        self._given.add(item_id)

    def knows(self, item_id: str) -> bool:
        """Whether an item is the session's own, or was given to it, and is there."""
        return item_id in self._rows or item_id in self._given or item_id in self._spare

    @property
    def own(self) -> Collection[str]:
        """The ids of the session's own items."""
        return self._rows.keys()

    @property
    def unanswered(self) -> list[Item]:
        """The calls whose outputs are not there yet."""
        return [row.item for row in self._calls.values() if row.item is not None]

    @property
    def settled(self) -> bool:
        """Whether everything that was said is known, and due."""
        return not self._pending

    def heard(self, event: Event) -> None:
        """Take an event of the session, in GA's words."""
        kind = event.get("type")
        match kind:
            case "session.created" | "session.updated":
                self._configured(as_object(event.get("session")) or {})
            case "response.output_item.added":
                self._made_by[(as_object(event.get("item")) or {}).get("id")] = event.get("response_id")
            case "conversation.item.added":
                self._added(as_object(event.get("item")) or {}, event.get("previous_item_id"))
            case "conversation.item.done" | "response.output_item.done":
                self._done(as_object(event.get("item")) or {})
            case "response.done":
                self._response_done(as_object(event.get("response")) or {})
            case "conversation.item.deleted":
                self.deleted(str(event.get("item_id")))
            case _:
                row = self._rows.get(str(event.get("item_id")))
                if row is not None:
                    self._changed(row, str(kind), event)

    def begun(self, item_id: str, previous: str | None) -> None:
        """Take an item that is made from now on, behind another one."""
        self._place_row(_Row(Spoken({"id": item_id})), previous)

    def made(self, item: Item, before: Sequence[Item] = ()) -> None:
        """Take what an item has become, and what the model thought before it."""
        row = self._rows[item.id]
        row.made, row.before, row.done = item, before, True

    def deleted(self, item_id: str) -> None:
        """Take out an item."""
        self._given.discard(item_id)
        row = self._rows.pop(item_id, None)
        self._calls = {call_id: call for call_id, call in self._calls.items() if call is not row}
        if row is not None and not row.settled:
            self._pending.remove(row)
        else:
            self._entries.append(Remove(item_id))

    def sound(self, frame: str) -> None:
        """Take a frame of the model's sound, as it is: how long it is, and whose."""
        head = frame[:_HEAD]
        found, begins = _PLACE.search(head), head.find('"delta"')
        row = None if found is None else self._rows.get(found[1])
        if row is not None and begins >= 0:
            row.spoken.sound(len(frame) - begins - len('"delta":""}'))

    def due(self, now: float | None = None) -> list[Entry]:
        """Return what is to be written now. `now`: seconds of any clock that only goes on, None where none is near."""
        while self._pending and self._ready(self._pending[0], now):
            self._settle(self._pending.pop(0))
        found, self._entries = self._entries, []
        return found

    def end(self) -> list[Entry]:
        """Return what is left to be written when the session ends: all of it, as far as it is known."""
        for row in self._pending:
            row.spoken.incomplete = row.spoken.incomplete or not row.done
            row.done, row.awaited = True, False
        return self.due()

    def _configured(self, session: Event) -> None:
        sound = as_object((as_object(session.get("audio")) or {}).get("input")) or {}
        self._transcribes = sound.get("transcription") is not None
        self._per_ms = per_ms(session)

    def _added(self, item: Event, previous: object) -> None:
        done = item.get("status") != "in_progress" and item.get("role") != "assistant" and _is_given(item)
        self._place_row(_Row(Spoken(item), done=done), previous)

    def _place_row(self, row: _Row, previous: object) -> None:
        if row.spoken.id in self._rows or row.spoken.id in self._given:
            return
        self._pending.insert(self._place(previous), row)
        self._rows[row.spoken.id] = row
        while len(self._rows) > KEPT and next(iter(self._rows.values())).settled:
            del self._rows[next(iter(self._rows))]

    def _place(self, previous: object) -> int:
        """Return where an item goes among those that are not written yet: nothing goes before what is."""
        before = self._rows.get(str(previous))
        if before is None:
            return 0 if previous in self._given else len(self._pending)
        return 0 if before.settled else self._pending.index(before) + 1

    def _done(self, item: Event) -> None:
        row = self._rows.get(str(item.get("id")))
        if row is not None:
            row.spoken.show(item)
            row.done = True
            self._amend(row)

    def _response_done(self, response: Event) -> None:
        """Take the end of a response: what it made and has not ended is cut off."""
        for item in as_list(response.get("output")) or ():
            self._done(as_object(item) or {})
        for item_id in [each for each, made_by in self._made_by.items() if made_by == response.get("id")]:
            del self._made_by[item_id]
            row = self._rows.get(str(item_id))
            if row is not None and not row.done:
                row.done = row.spoken.incomplete = True

    def _changed(self, row: _Row, kind: str, event: Event) -> None:
        at, spoken = event.get("content_index"), row.spoken
        match kind:
            case "conversation.item.truncated":
                heard_ms = event.get("audio_end_ms")
                spoken.cut(heard_ms * self._per_ms if isinstance(heard_ms, int | float) else 0.0)
            case _ if kind.endswith(".delta"):
                return spoken.grow(at, event.get("delta"))
            case _ if kind == f"{_HEARD}.failed":
                row.awaited = False
            case _:
                spoken.say(at, event.get("text") or event.get("transcript"))
        return self._amend(row)

    def _ready(self, row: _Row, now: float | None) -> bool:
        if not row.done or not (row.awaited and self._transcribes and row.spoken.mute):
            return row.done
        if now is None:
            return False
        row.due_at = row.due_at or now + TRANSCRIPT_S
        return now >= row.due_at

    def _settle(self, row: _Row) -> None:
        """Write an item whose time has come: a call not before its output, right in front of it."""
        row.settled, item = True, row.item
        if isinstance(item, FunctionCall):
            self._calls[item.call_id] = row
            return
        if isinstance(item, FunctionCallOutput) and (call := self._calls.pop(item.call_id, None)) is not None:
            self._write(call)
        self._write(row)

    def _write(self, row: _Row) -> None:
        self._entries += [Append(item, self._spared("rs")) for item in row.before]
        self._given.update(item.id for item in row.before)
        self._amend(row)

    def _amend(self, row: _Row) -> None:
        """Have an item whose time has come be written as it is now, if it is not."""
        item = row.item
        if row.settled and row not in self._calls.values() and item is not None and item != row.written:
            self._entries.append(Append(item, self._spared("msg")) if row.written is None else Amend(item))
            row.written = item

    def _spared(self, prefix: str) -> str:
        spare = self._new_id(prefix)
        self._spare[spare] = None
        if len(self._spare) > KEPT:
            del self._spare[next(iter(self._spare))]
        return spare


def _is_given(item: Event) -> bool:
    """Whether an item came whole: nobody is still making it."""
    return item.get("type") in ("message", "function_call_output")
