"""Tool calls of a Chat Completions stream: which entry belongs to which call.

The specification numbers calls by `index` and sends each id and name once. Servers leave the index or the id out,
give every call index 0, repeat names, or send a call whole: an entry opens a new call only where it must.
"""

from dataclasses import dataclass, field

import msgspec

from chatbackend.adapters.providers.chat.shapes import Function, ToolCall
from chatbackend.adapters.providers.codec import GARBAGE
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import ModelEvent, ToolCallDelta, ToolCallStarted


@dataclass(slots=True)
class _Call:
    position: int
    name: str
    given_id: str | None
    arguments: list[str] = field(default_factory=list[str])

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON value."""
        try:
            msgspec.json.decode("".join(self.arguments))
        except GARBAGE:
            return False
        return True


class ToolCalls:
    """The calls of one answer, in the order in which they began; that position is our index."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def take(self, entry: ToolCall, answer_id: str | None) -> list[ModelEvent]:
        """Return what one entry says.

        Raises: UpstreamError for a call without a name.
        """
        function = entry.function or Function()
        name, arguments = function.name, _text(function.arguments)
        call = self._find(entry, name)
        events: list[ModelEvent] = []
        if call is None:
            if not (name or arguments or entry.id):
                return []
            call = self._open(entry, name, events, answer_id)
        if arguments:
            call.arguments.append(arguments)
            events.append(ToolCallDelta(arguments, call.position))
        return events

    def end(self) -> list[ModelEvent]:
        """Return the `{}` of calls that came without arguments, so that arguments are always JSON."""
        return [ToolCallDelta("{}", call.position) for call in self._calls if not call.arguments]

    def _find(self, entry: ToolCall, name: str | None) -> _Call | None:
        """Return the call that an entry continues, None when it opens one."""
        if entry.index is not None:
            known = self._by_index.get(entry.index)
        else:
            known = self._by_id.get(entry.id or "") or (self._calls[-1] if self._calls else None)
        if known is None or not name:
            return known
        if entry.id:
            return known if entry.id == known.given_id else self._by_id.get(entry.id)
        return None if name != known.name or known.is_whole() else known

    def _open(self, entry: ToolCall, name: str | None, events: list[ModelEvent], answer_id: str | None) -> _Call:
        if not name:
            raise UpstreamError("The provider began a tool call without a name.")
        call = _Call(len(self._calls), name, entry.id)
        self._calls.append(call)
        if entry.index is not None:
            self._by_index[entry.index] = call
        events.append(ToolCallStarted(self._new_call_id(call, answer_id), name, call.position))
        return call

    def _new_call_id(self, call: _Call, answer_id: str | None) -> str:
        """Return the given id, or, where none or a used one was given, one made of the answer's id and the position."""
        if call.given_id and call.given_id not in self._by_id:
            self._by_id[call.given_id] = call
            return call.given_id
        return "_".join(filter(None, ("call", answer_id, str(call.position))))


def _text(arguments: str | dict[str, object] | None) -> str:
    if isinstance(arguments, dict):
        return msgspec.json.encode(arguments).decode()
    return arguments or ""
