"""The items of a session in their order, bounded, and what of them a model is given.

A model's reasoning is no item of this API: it is kept, unseen, before the item that came of it, since some providers
take a call back only with the reasoning that led to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.realtime import history
from chatbackend.adapters.realtime.bridge.items import SessionItem
from chatbackend.adapters.realtime.record import Record
from chatbackend.domain.errors import Conflict, InvalidRequest, NotFound
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, Item, Message, Reasoning

MAX_ITEMS = 2_000
MAX_BYTES = 32 * 2**20  # by the size of the items' JSON
ROOT = "root"


@dataclass(slots=True, eq=False)
class Entry:
    """An item, and the sealed reasoning before it."""

    item: SessionItem
    reasoning: list[Reasoning] = field(default_factory=list[Reasoning])
    size: int = 0


class Conversation:
    """Ordered items. Those of a response that runs are `in_progress`, and stay out of what a model is given.

    `record` takes down what becomes of them.
    """

    def __init__(self, *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES, record: Record | None = None) -> None:
        self._record = record
        self._entries: list[Entry] = []
        self._known: dict[str, Entry] = {}
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bytes = 0

    def add(self, item: SessionItem, *, after: str | None = None) -> str | None:
        """Put a client's item behind the one called `after` (None: at the end; `root`: before all others).

        Return the id of the item before it. Raises: InvalidRequest, Conflict `conversation_full`.
        """
        if item.id in self._known:
            raise Conflict(
                f"There is an item '{item.id}' already.", param="item.id", code="item_create_duplicate_item_id"
            )
        self._check_call(item)
        at = self._place(after)
        entry = Entry(item, size=len(wire.encode(item)))
        self.check_room(entry.size)
        before = self._insert(entry, at)
        if self._record is not None:
            self._record.begun(item.id, before)
            self._record.made(item)
        return before

    def load(self, items: Sequence[Item]) -> Iterator[tuple[SessionItem, str | None]]:
        """Take what was said before the session, as text; yield each item that is shown, and the id before it."""
        shown = {item.id: item for item in history.fitting(items)}
        reasoning: list[Reasoning] = []
        for each in items:
            if self._record is not None:
                self._record.give(each.id)
            item = shown.get(each.id)
            if isinstance(each, Reasoning) and each.encrypted_content is not None:
                reasoning.append(each)
            elif isinstance(item, Message | FunctionCall | FunctionCallOutput):
                entry = Entry(item, reasoning, size=len(wire.encode(item)))
                reasoning = []
                yield item, self._insert(entry, len(self._entries))
            else:
                reasoning = []

    def adopt(self, entry: Entry) -> None:
        """Append an item with its reasoning, of another conversation or of none. Raises: as `add`."""
        self.add(entry.item)
        self._known[entry.item.id].reasoning = entry.reasoning

    def begin(self, item: SessionItem, reasoning: list[Reasoning]) -> str | None:
        """Append an item that a model has begun; return the id of the item before it."""
        before = self._insert(Entry(item, reasoning), len(self._entries))
        if self._record is not None:
            self._record.begun(item.id, before)
        return before

    def end(self, item: SessionItem) -> str | None:
        """Take over what a model's item has become; return the id of the item before it."""
        entry = self._known[item.id]
        entry.item = item
        entry.size = sum(len(wire.encode(each)) for each in (*entry.reasoning, item))
        self._bytes += entry.size
        if self._record is not None:
            self._record.made(item, entry.reasoning)
        return self._before(self._entries.index(entry))

    def find(self, item_id: str) -> Entry | None:
        """Return an item by its id."""
        return self._known.get(item_id)

    def remove(self, entry: Entry) -> None:
        """Forget an item."""
        del self._known[entry.item.id]
        self._entries.remove(entry)
        self._bytes -= entry.size
        if self._record is not None:
            self._record.deleted(entry.item.id)

    def check_room(self, size: int = 0) -> None:
        """Refuse what has no room. Raises: Conflict `conversation_full`."""
        if len(self._entries) >= self._max_items or self._bytes + size > self._max_bytes:
            message = f"A session holds {self._max_items} items of {self._max_bytes} bytes in all; delete some."
            raise Conflict(message, code="conversation_full")

    def unanswered(self) -> list[str]:
        """Return the calls (their `call_id`) that the model still waits for: the user has said nothing since."""
        answered, found = self._outputs(), list[str]()
        for entry in reversed(self._entries):
            match entry.item:
                case Message(role="user" | "system"):
                    break
                case FunctionCall(call_id=call_id, status="completed") if call_id not in answered:
                    found.append(call_id)
                case _:
                    pass
        return found[::-1]

    def context(self) -> list[Item]:
        """Return what a model is given: each call with its output right behind it, wherever that came.

        Providers take nothing else. So a call without an output is left out, and an output without its call.
        """
        outputs = self._outputs()
        found: list[Item] = []
        owed: list[FunctionCallOutput] = []  # by the calls that stand last
        for entry in self._entries:
            item = entry.item
            if isinstance(item, FunctionCall):
                if item.status != "completed" or item.call_id not in outputs:
                    continue
                owed.append(outputs[item.call_id])
            else:
                found += owed
                owed = []
            if not isinstance(item, FunctionCallOutput) and item.status != "in_progress":
                found += [*entry.reasoning, item]
        return found + owed

    def _outputs(self) -> dict[str, FunctionCallOutput]:
        items = (entry.item for entry in self._entries)
        return {item.call_id: item for item in items if isinstance(item, FunctionCallOutput)}

    def _check_call(self, item: SessionItem) -> None:
        """Refuse an output of no call, and a second one of a call. Raises: InvalidRequest, Conflict."""
        if isinstance(item, Message):
            return
        same = [entry.item for entry in self._entries if not isinstance(entry.item, Message)]
        if any(other.type == item.type and other.call_id == item.call_id for other in same):
            message = f"There is a {item.type} of the call '{item.call_id}' already."
            raise Conflict(message, param="item.call_id", code="item_create_duplicate_call_id")
        calls = {other.call_id for other in same if isinstance(other, FunctionCall)}
        if isinstance(item, FunctionCallOutput) and item.call_id not in calls:
            message = f"The conversation has no call '{item.call_id}'."
            raise InvalidRequest(message, param="item.call_id", code="item_create_invalid_call_id")

    def _place(self, after: str | None) -> int:
        if after is None:
            return len(self._entries)
        if after == ROOT:
            return 0
        entry = self._known.get(after)
        if entry is None:
            message = f"The conversation has no item '{after}'."
            raise NotFound(message, param="previous_item_id", code="item_create_invalid_previous_item_id")
        return self._entries.index(entry) + 1

    def _insert(self, entry: Entry, at: int) -> str | None:
        self._entries.insert(at, entry)
        self._known[entry.item.id] = entry
        self._bytes += entry.size
        return self._before(at)

    def _before(self, at: int) -> str | None:
        return self._entries[at - 1].item.id if at else None
