"""What of each output item of a Responses answer has come: at its end nothing is missing, and nothing came twice.

Some servers send deltas, some only whole items, some both with other ids: whatever is told again is compared with
what was said, and only its rest is said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chatbackend.adapters.providers.chat.shapes import TokenProbability
from chatbackend.adapters.providers.responses.seal import seal
from chatbackend.adapters.providers.responses.shapes import Annotation, Event, Item, Part
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import (
    Cited,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from chatbackend.domain.items import UrlCitation

_CALL, _MESSAGE, _REASONING = "function_call", "message", "reasoning"
# The kinds of text, and the item that each belongs to.
_HOLDER = {"text": _MESSAGE, "refusal": _MESSAGE, "summary": _REASONING, "reasoning": _REASONING}
_Key = tuple[str, int]  # of a text within its item: its kind, and the provider's number
_BETWEEN_PARAGRAPHS = "\n\n"  # a reasoning item is one block of ours, so its paragraphs become one text


@dataclass(slots=True)
class _Text:
    """A text that grows; `index` is that of its block among our events."""

    index: int
    pieces: list[str] = field(default_factory=list[str])
    length: int = 0
    logprobs: int = 0  # how many came
    cited: list[UrlCitation] = field(default_factory=list[UrlCitation])

    def add(self, piece: str) -> None:
        self.pieces.append(piece)
        self.length += len(piece)

    def rest_of(self, whole: str) -> str:
        """Return what of the whole text has not come, "" where it contradicts what came."""
        if len(whole) <= self.length or not whole.startswith("".join(self.pieces)):
            return ""
        return whole[self.length :]


@dataclass(slots=True)
class _Item:
    """An output item; `name` is what the provider tells it by. A call's arguments are its only text."""

    kind: str
    name: str
    index: int
    texts: dict[_Key, _Text] = field(default_factory=dict[_Key, _Text])
    arguments: _Text | None = None  # of a call that has started
    sealed: bool = False
    done: bool = False

    def is_paragraph_next(self, kind: str) -> bool:
        return any(known == kind and text.length for (known, _), text in self.texts.items())

    def has_said(self, kind: str, whole: str) -> bool:
        return any(known == kind and "".join(text.pieces) == whole for (known, _), text in self.texts.items())


class Output:
    """The output of one answer as it grows."""

    def __init__(self) -> None:
        self._items: list[_Item] = []
        self._places: dict[tuple[str, int | str | None], _Item] = {}
        self._next = 0
        self._last: _Text | None = None  # what citations belong to now
        self._calls_from = 0  # calls of a lower index are over: something else was said after them

    @property
    def has_calls(self) -> bool:
        """Whether a function was called."""
        return any(item.arguments for item in self._items)

    def grow(self, kind: str, told: Event) -> list[ModelEvent]:
        """Take a delta of a text; `kind` is `text`, `refusal`, `summary` or `reasoning`."""
        item = self._find(_HOLDER[kind], told)
        return self._say(item, _key(kind, told), told.delta or "", told.logprobs or ())

    def finish(self, kind: str, told: Event) -> list[ModelEvent]:
        """Take a whole text."""
        part = Part(text=told.text or told.refusal, logprobs=told.logprobs)
        return self._complete_text(self._find(_HOLDER[kind], told), _key(kind, told), part)

    def cite(self, told: Event) -> list[ModelEvent]:
        """Take a citation."""
        text = self._find(_MESSAGE, told).texts.get(_key("text", told))
        return self._cite(text, [told.annotation]) if text and told.annotation else []

    def argue(self, told: Event) -> list[ModelEvent]:
        """Take a delta of a call's arguments, or all of them."""
        item = self._find(_CALL, told)
        if told.delta is not None and item.arguments:
            item.arguments.add(told.delta)
            return [ToolCallDelta(told.delta, item.index)] if told.delta else []
        return self._complete_arguments(item, told.arguments or "")

    def begin(self, told: Event, given: Item) -> list[ModelEvent]:
        """Take the beginning of an item."""
        place = (given.type, _place(told, given.id))
        item, name = self._places.get(place), _name(given)
        if item is None or item.done or (given.type == _CALL and item.name != name):  # an index may be used again
            item = self._open(place, name)
        return self._start(item, given) if given.type == _CALL else []

    def complete(self, told: Event, given: Item) -> list[ModelEvent]:
        """Take a whole item."""
        item = self._find(given.type, told, given)
        if item.done and item.name != _name(given):
            item = self._open((given.type, _place(told, given.id)), _name(given))
        return self._complete(item, given)

    def settle(self, items: Iterable[Item]) -> list[ModelEvent]:
        """Take the whole output, which repeats what came, perhaps with other ids or without its beginning.

        Raises: UpstreamError for a call that never got a name.
        """
        items = list(items)
        named = {(item.kind, item.name): item for item in self._items if item.name}
        repeated = {(given.type, name) for given in items if (name := _name(given))}
        unnamed = {
            kind: iter([item for item in self._items if item.kind == kind and (kind, item.name) not in repeated])
            for kind in (_CALL, _MESSAGE, _REASONING)
        }
        events: list[ModelEvent] = []
        for given in items:
            place = (given.type, _name(given))
            known = named.get(place) or next(unnamed[given.type], None) or self._open(place, place[1])
            events += self._complete(known, given)
        return events + self._settle_calls()

    def _settle_calls(self) -> list[ModelEvent]:
        calls = [item for item in self._items if item.kind == _CALL]
        if not all(item.arguments for item in calls):
            raise UpstreamError("The provider began a tool call without a name.")
        return [event for item in calls for event in self._complete_arguments(item, "{}")]

    def _find(self, kind: str, told: Event, given: Item | None = None) -> _Item:
        """Return the item that an event tells of; a new one where none was begun."""
        given_id = given.id if given else told.item_id
        place = (kind, _place(told, given_id))
        known = self._places.get(place)
        if known is None and told.output_index is None:
            known = next((item for item in reversed(self._items) if item.kind == kind and not item.done), None)
        return known or self._open(place, _name(given) if given else given_id or "")

    def _open(self, place: tuple[str, int | str | None], name: str) -> _Item:
        index = self._new_index() if place[0] == _REASONING else -1  # others take one for each part, or as they start
        item = self._places[place] = _Item(place[0], name, index)
        self._items.append(item)
        return item

    def _new_index(self) -> int:
        self._next += 1
        return self._next - 1

    def _say(self, item: _Item, key: _Key, text: str, logprobs: Sequence[TokenProbability]) -> list[ModelEvent]:
        if not text and not logprobs:
            return []
        kind, said, between = key[0], item.texts.get(key), ""
        if said is None:
            between = _BETWEEN_PARAGRAPHS if item.is_paragraph_next(kind) else ""
            index = self._new_index() if item.kind == _MESSAGE else item.index
            said = item.texts[key] = _Text(index)
        said.add(text)
        said.logprobs += len(logprobs)
        self._last, self._calls_from = said, self._next
        match kind:
            case "text":
                return [TextDelta(text, said.index, [each.to_domain() for each in logprobs] or None)]
            case "refusal":
                return [RefusalDelta(text, said.index)]
            case _:
                return [ReasoningDelta(between + text, said.index, summary=kind == "summary")]

    def _cite(self, text: _Text, annotations: Iterable[Annotation]) -> list[ModelEvent]:
        """Return the new citations; none once another text has begun, which they would fall to."""
        events: list[ModelEvent] = []
        for annotation in annotations if text is self._last else ():
            citation = annotation.to_domain()
            if citation and citation not in text.cited:
                text.cited.append(citation)
                events.append(Cited(citation, text.index))
        return events

    def _start(self, item: _Item, given: Item) -> list[ModelEvent]:
        if item.arguments or not given.name:  # without a name: the whole call may still follow
            return []
        item.name, item.index = _name(given) or item.name, self._new_index()  # deltas before it told another id
        item.arguments = _Text(item.index)
        events: list[ModelEvent] = [ToolCallStarted(item.name or f"call_{item.index}", given.name, item.index)]
        return events + self._complete_arguments(item, given.arguments or "")

    def _complete(self, item: _Item, given: Item) -> list[ModelEvent]:
        item.done = True
        events: list[ModelEvent] = []
        match given.type:
            case "message":
                for number, part in enumerate(given.content or ()):
                    events += self._complete_text(item, ("refusal" if part.refusal else "text", number), part)
            case "reasoning":
                for number, part in enumerate(given.summary or ()):
                    events += self._complete_text(item, ("summary", number), part)
                for number, part in enumerate(given.content or ()):
                    events += self._complete_text(item, ("reasoning", number), part)
                events += self._seal(item, given.encrypted_content)
            case _:
                events += self._start(item, given)
                events += self._complete_arguments(item, given.arguments or "{}")
        return events

    def _complete_text(self, item: _Item, key: _Key, part: Part) -> list[ModelEvent]:
        whole, logprobs = part.refusal or part.text or "", part.logprobs or []
        said = item.texts.get(key)
        if said is not None:
            events = self._say(item, key, said.rest_of(whole), logprobs[said.logprobs :])
        elif not item.has_said(key[0], whole):  # not under another number either
            events = self._say(item, key, whole, logprobs)
        else:
            return []
        text = item.texts.get(key)
        return events + self._cite(text, part.annotations or ()) if text else events

    def _complete_arguments(self, item: _Item, whole: str) -> list[ModelEvent]:
        """Return the rest of a call's arguments, unless the call has not begun or is over."""
        if item.arguments is None or item.index < self._calls_from:
            return []
        rest = item.arguments.rest_of(whole)
        item.arguments.add(rest)
        return [ToolCallDelta(rest, item.index)] if rest else []

    def _seal(self, item: _Item, encrypted_content: str | None) -> list[ModelEvent]:
        if item.sealed or not encrypted_content:
            return []
        item.sealed = True
        self._calls_from = self._next
        return [ReasoningSeal(seal(encrypted_content), item.index)]


def _place(told: Event, item_id: str | None) -> int | str | None:
    return item_id if told.output_index is None else told.output_index


def _name(given: Item) -> str:
    return given.call_id or given.id or ""


def _key(kind: str, told: Event) -> _Key:
    return kind, (told.summary_index if kind == "summary" else told.content_index) or 0
