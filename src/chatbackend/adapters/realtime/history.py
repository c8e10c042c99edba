"""What a session is given of the conversation that it is bound to: the newest items that fit, as text.

A provider takes ids of at most 32 characters, of items and of calls. Longer ones have another there, which nobody but
the provider sees.

Source: the `openai` package, types/realtime/conversation_item_create_event.py; for the ids its API's
refusals ("Invalid 'item.id': string too long. Expected a string with maximum length 32"; so, too, 'item.call_id').
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from chatbackend.adapters.realtime.frames import Event, as_list, as_object
from chatbackend.domain.compaction import expanded
from chatbackend.domain.context import characters
from chatbackend.domain.items import (
    Compaction,
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Part,
    Refusal,
)

MAX_ITEMS = 500
MAX_CHARACTERS = 64_000
LONGEST_ID = 32
GIVEN = "event_chatbackend_history"  # what the ids of events begin with that give a provider an item
_NAMED = ("item_id", "previous_item_id", "call_id", "id")


def fitting(items: Sequence[Item], *, awaits: bool = False) -> list[Item]:
    """Return the newest items that a session has room for, as text, oldest first.

    A call without its output is left out, unless somebody still `awaits` that.
    """
    kept: list[Item] = []
    room = MAX_CHARACTERS
    for item in reversed([plain for each in items if (plain := _plain(each)) is not None][-MAX_ITEMS:]):
        room -= characters([item])
        if room < 0:
            break
        kept.insert(0, item)
    calls = {item.call_id for item in kept if isinstance(item, FunctionCall)}
    answered = calls if awaits else {item.call_id for item in kept if isinstance(item, FunctionCallOutput)} & calls
    return [item for item in kept if isinstance(item, Message) or _call_id(item) in answered]


class Arrivals:
    """What others say while a session is open, as text: a call is given once its output is there."""

    def __init__(self) -> None:
        self._calls: dict[str, FunctionCall] = {}

    def take(self, item: Item) -> list[Item]:
        """Return what is to be given now."""
        match _plain(item):
            case FunctionCall() as call:
                self._calls[call.call_id] = call
                return []
            case FunctionCallOutput(call_id=call_id) as output:
                call = self._calls.pop(call_id, None)
                return [] if call is None else [call, output]
            case None:
                return []
            case said:
                return [said]


def created(item: Item) -> Event | None:
    """Return an item that fits as GA's clients create it; None for what no text stands for."""
    match item:
        case Message(role=role, content=content):
            kind = "output_text" if role == "assistant" else "input_text"
            words = [{"type": kind, "text": _text(part)} for part in content]
            return {"id": item.id, "type": "message", "role": role, "content": words}
        case FunctionCall(call_id=call_id, name=name, arguments=arguments):
            call: Event = {"call_id": call_id, "name": name, "arguments": arguments}
            return {"id": item.id, "type": "function_call", **call}
        case FunctionCallOutput(call_id=call_id, output=output):
            return {"id": item.id, "type": "function_call_output", "call_id": call_id, "output": output}
        case _:
            return None


class Names:
    """What the provider calls items and calls whose ids are too long for it."""

    def __init__(self) -> None:
        self._theirs: dict[object, str] = {}
        self._ours: dict[object, str] = {}

    def add(self, name: str) -> None:
        """Give an id another at the provider, where it has to have one."""
        if len(name) > LONGEST_ID and name not in self._theirs:
            short = f"chatbackend_{len(self._theirs)}"
            self._theirs[name], self._ours[short] = short, name

    def told(self, event: Event) -> Event:
        """Return an event as the provider is told of it; the same object where nothing in it has another name."""
        return _renamed(event, self._theirs)

    def shown(self, event: Event) -> Event:
        """Return an event as the client is shown it; the same object where nothing in it has another name."""
        return _renamed(event, self._ours)


def _renamed(event: Event, names: dict[object, str]) -> Event:
    changed: Event = {
        name: names[value] for name in _NAMED if isinstance(value := event.get(name), str) and value in names
    }
    for name in ("item", "response"):
        inner = as_object(event.get(name))
        if inner is not None and (other := _renamed(inner, names)) is not inner:
            changed[name] = other
    items = as_list(event.get("input"))
    if items is not None:
        others = [_renamed(inner, names) if (inner := as_object(each)) is not None else each for each in items]
        if any(one is not other for one, other in zip(items, others, strict=True)):
            changed["input"] = others
    return {**event, **changed} if changed else event


def _plain(item: Item) -> Item | None:
    """Return an item as text, None where none stands for it."""
    match item:
        case Compaction():
            return expanded(item)
        case Message(role=role, content=content):
            texts = [text for part in content if (text := _text(part))]
            if role == "assistant":
                return replace(item, content=[OutputText(text) for text in texts]) if texts else None
            given = "user" if role == "user" else "system"
            return replace(item, role=given, content=[InputText(text) for text in texts]) if texts else None
        case FunctionCallOutput(output=list(parts)):
            return replace(item, output="\n".join(_text(part) for part in parts))
        case FunctionCall(status="completed") | FunctionCallOutput():
            return item
        case _:
            return None


def _call_id(item: Item) -> str:
    return item.call_id if isinstance(item, FunctionCall | FunctionCallOutput) else ""


def _text(part: Part) -> str:
    match part:
        case InputText(text=text) | OutputText(text=text):
            return text
        case Refusal(refusal=text):
            return text
        case InputImage():
            return "[image]"
        case InputFile(filename=name):
            return f"[file {name}]" if name else "[file]"
        case _:
            assert_never(part)
