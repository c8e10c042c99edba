"""Calls of the server's own tools, taken out of what a client sees.

A response that ends with such calls goes on for the client: the calls run, their outputs go to the provider, and the
response that follows is shown as the rest of the first, under its id. So a client that asked once is answered once.
Source: recorded sessions of OpenAI's Realtime API, for the order of events.
"""

from dataclasses import dataclass, field

from chatbackend.adapters.realtime.frames import Event, as_list, as_object
from chatbackend.domain.errors import Conflict

GOES_ON = "chatbackend_goes_on"  # in the metadata of a response that goes on, which comes back with it
_ITEM_EVENTS = frozenset(("conversation.item.added", "conversation.item.done", "conversation.item.created"))


@dataclass(frozen=True, slots=True)
class Call:
    """A call to run."""

    call_id: str
    name: str
    arguments: str


@dataclass(slots=True)
class Heard:
    """What came of a provider's event: what the client is shown of it, what is to be run, what the provider is told."""

    shown: list[Event] = field(default_factory=list[Event])
    calls: list[Call] = field(default_factory=list[Call])
    told: list[Event] = field(default_factory=list[Event])


@dataclass(slots=True)
class _Shown:
    """A response as the client sees it: its first part's id, what it has so far, and the part that runs now."""

    response: Event
    output: list[object] = field(default_factory=list[object])
    places: dict[tuple[str, object], int] = field(default_factory=dict[tuple[str, object], int])
    usage: Event = field(default_factory=dict[str, object])
    part: str = ""  # the provider's id; "" while tools run


class HiddenCalls:
    """One session's. `names` are those of the tools."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._before: dict[str, object] = {}  # hidden item -> the item before it, as it was told
        self._running: dict[str, str] = {}  # call -> the response that made it
        self._hidden_calls: set[str] = set()
        self._shown: _Shown | None = None  # the conversation's response, where it has or had calls of ours
        self._overrides: Event = {}
        self._parts = 0
        self._changed = False  # since the client's response began: something of it was hidden

    @property
    def waiting(self) -> bool:
        """Whether a response that the client sees as running waits for tools."""
        return self._shown is not None and not self._shown.part

    @property
    def outstanding(self) -> bool:
        """Whether calls have no output yet."""
        return bool(self._running)

    @property
    def changes(self) -> bool:
        """Whether every event of the response that runs has to be looked at."""
        return self._changed

    def concerns(self, event: Event) -> bool:
        """Whether a client's event names an item or a call that it cannot know of."""
        item = as_object(event.get("item")) or {}
        return event.get("item_id") in self._before or item.get("call_id") in self._hidden_calls

    def asked(self, response: Event) -> None:
        """Note what a response was asked for with, for its parts that follow. Raises: Conflict while one waits."""
        if self.waiting:
            message = "A response is active: its tools run."
            raise Conflict(message, code="conversation_already_has_active_response")
        self._overrides = {name: value for name, value in response.items() if name not in ("input", "tool_choice")}

    def cancelled(self, response_id: object) -> tuple[object, list[Event]]:
        """Return the id to cancel at the provider, and what the client is shown of a response that waits."""
        shown = self._shown
        if shown is None or response_id not in (None, shown.response.get("id")):
            return response_id, []
        if shown.part:
            return (None if response_id is None else shown.part), []
        return None, self._ended(shown, "cancelled", "client_cancelled")

    def answered(self, call_id: str, output: str) -> list[Event]:
        """Return what the provider is told of an output: after the last one, that the response goes on."""
        made_by = self._running.pop(call_id, None)
        if made_by is None:
            return []
        item = {"type": "function_call_output", "call_id": call_id, "output": output}
        told: list[Event] = [{"type": "conversation.item.create", "item": item}]
        return [*told, *self._going_on()] if self.waiting else told

    def _going_on(self) -> list[Event]:
        if self._running:
            return []
        self._parts += 1
        metadata = {**(as_object(self._overrides.get("metadata")) or {}), GOES_ON: str(self._parts)}
        return [{"type": "response.create", "response": {**self._overrides, "metadata": metadata}}]

    def heard(self, event: Event) -> Heard:
        """Take a provider's event, parsed."""
        kind = str(event.get("type"))
        if kind == "response.created":
            return self._created(event)
        if kind == "response.done":
            return self._done(event)
        if kind in _ITEM_EVENTS:
            return Heard(self._item_told(event))
        if kind.startswith("response."):
            return self._of_response(event, kind)
        return Heard([event])

    def _created(self, event: Event) -> Heard:
        response = as_object(event.get("response")) or {}
        part = str(response.get("id"))
        if self._shown is not None and not self._shown.part:
            if GOES_ON in (as_object(response.get("metadata")) or {}):
                self._shown.part = part
                return Heard()
            over = self._ended(self._shown, "cancelled", "turn_detected")  # somebody spoke while tools ran
            self._shown = _Shown(response, part=part)
            return Heard([*over, event])
        if response.get("conversation_id") is not None:  # what stands beside the conversation may run beside another
            self._shown, self._changed = _Shown(response, part=part), False
        return Heard([event])

    def _of_response(self, event: Event, kind: str) -> Heard:
        item = as_object(event.get("item"))
        part = str(event.get("response_id"))
        if item is not None and self._is_ours(item):
            return self._call_told(item, kind, part)
        if event.get("item_id") in self._before:
            return Heard()
        return Heard([self._placed(event, part)])

    def _call_told(self, item: Event, kind: str, part: str) -> Heard:
        item_id, call_id = str(item.get("id")), str(item.get("call_id"))
        self._before.setdefault(item_id, None)
        self._hidden_calls.add(call_id)
        self._changed = True
        if kind != "response.output_item.done":
            return Heard()
        self._running[call_id] = part
        return Heard(calls=[Call(call_id, str(item.get("name")), str(item.get("arguments")))])

    def _item_told(self, event: Event) -> list[Event]:
        item = as_object(event.get("item")) or {}
        previous = event.get("previous_item_id")
        while isinstance(previous, str) and previous in self._before:
            previous = self._before[previous]
        if self._is_ours(item):
            if event.get("type") != "conversation.item.done":  # which does not say where an item is
                self._before[str(item.get("id"))] = previous
            return []
        return [event if previous == event.get("previous_item_id") else {**event, "previous_item_id": previous}]

    def _is_ours(self, item: Event) -> bool:
        if item.get("type") == "function_call":
            return item.get("name") in self._names
        return item.get("type") == "function_call_output" and item.get("call_id") in self._hidden_calls

    def _placed(self, event: Event, part: str) -> Event:
        """Return an event of a response with the id and the place that the client knows."""
        shown = self._shown
        if shown is None or shown.part != part:
            return event
        place = event.get("output_index")
        index = shown.places.setdefault((part, place), len(shown.places)) if "output_index" in event else None
        if index == place and part == shown.response.get("id"):
            return event
        changed: Event = {"response_id": shown.response.get("id")}
        return {**event, **changed, "output_index": index} if index is not None else {**event, **changed}

    def _done(self, event: Event) -> Heard:
        response = as_object(event.get("response")) or {}
        shown, part = self._shown, str(response.get("id"))
        if shown is None or shown.part != part:
            return Heard([event])
        told = as_list(response.get("output")) or []
        shown.output += [item for item in told if not self._is_ours(as_object(item) or {})]
        shown.usage = _sum(shown.usage, as_object(response.get("usage")) or {})
        if self._waits(response, part, told):
            shown.part = ""
            return Heard(told=self._going_on())
        self._shown, self._changed = None, False
        if part == shown.response.get("id") and len(shown.output) == len(told):
            return Heard([event])
        whole = {**response, "id": shown.response.get("id"), "output": shown.output, "usage": shown.usage or None}
        whole["metadata"] = shown.response.get("metadata")
        return Heard([{**event, "response": whole}])

    def _waits(self, response: Event, part: str, told: list[object]) -> bool:
        """Whether a response that ended goes on: it called our tools, and none of the client's."""
        items = [as_object(item) or {} for item in told]
        ours = part in self._running.values() or any(self._is_ours(item) for item in items)
        theirs = any(item.get("type") == "function_call" and not self._is_ours(item) for item in items)
        return response.get("status") == "completed" and ours and not theirs

    def _ended(self, shown: _Shown, status: str, reason: str) -> list[Event]:
        self._shown, self._changed = None, False
        response = {
            **shown.response,
            "status": status,
            "status_details": {"type": status, "reason": reason},
            "output": shown.output,
            "usage": shown.usage or None,
        }
        return [{"type": "response.done", "event_id": f"{shown.response.get('id')}_ended", "response": response}]


def _sum(one: Event, other: Event) -> Event:
    """Add what two parts of a response used."""
    added: Event = {**one}
    for name, value in other.items():
        nested, before = as_object(value), added.get(name)
        if nested is not None:
            added[name] = _sum(as_object(before) or {}, nested)
        elif isinstance(value, int) and isinstance(before, int):
            added[name] = before + value
        else:
            added[name] = value
    return added
