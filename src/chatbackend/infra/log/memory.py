"""The event log of unstored responses: in memory, on this process, forgotten some time after the end."""

from collections.abc import Callable, Sequence

from chatbackend.domain.errors import Gone
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Behind, Extent, Fenced, LogEvent


class _Stream:
    __slots__ = ("ended", "events", "fence")

    def __init__(self, fence: int) -> None:
        self.fence = fence
        self.events: list[LogEvent] = []
        self.ended = False


class MemoryEventLog:
    """`EventLog` in a dictionary. `monotonic` gives seconds; ended streams older than `keep_s` are dropped."""

    def __init__(self, monotonic: Callable[[], float], *, keep_s: float = 120.0) -> None:
        self.prompt = True
        self._monotonic = monotonic
        self._keep_s = keep_s
        self._streams: dict[str, _Stream] = {}
        self._ended: dict[str, float] = {}  # when, in the order of ending
        self._wakeups = Wakeups()

    async def open(self, response_id: str, *, fence: int, fresh: bool = False) -> int:
        """See `EventLog.open`."""
        self._forget_old()
        stream = self._streams.setdefault(response_id, _Stream(fence))
        if stream.fence > fence:
            raise Fenced
        stream.fence = fence
        return _next(stream)

    async def append(
        self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent], ended: bool
    ) -> None:
        """See `EventLog.append`."""
        stream = self._streams.get(response_id)
        if stream is None:
            raise Gone("This response was deleted.")
        if stream.fence > fence:
            raise Fenced
        if stream.fence < fence or _next(stream) < expected:
            raise Behind(_next(stream))
        added = _missing(stream, expected, events)
        stream.events.extend(added)
        if ended and added:
            stream.ended = True
            self._ended[response_id] = self._monotonic()
        self._wakeups.wake(response_id)

    def take(self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent]) -> bool:
        """See `EventLog.take`."""
        stream = self._streams.get(response_id)
        if stream is None or stream.ended or stream.fence != fence or _next(stream) != expected:
            return False
        stream.events.extend(events)
        self._wakeups.wake(response_id)
        return True

    async def read(self, response_id: str, *, after: int, limit: int) -> Sequence[LogEvent]:
        """See `EventLog.read`."""
        stream = self._streams.get(response_id)
        if stream is None:
            return ()
        if after + 1 < len(stream.events) and stream.events[after + 1].number == after + 1:
            return stream.events[after + 1 : after + 1 + limit]
        return [event for event in stream.events if event.number > after][:limit]

    async def extent(self, response_id: str) -> Extent | None:
        """See `EventLog.extent`."""
        self._forget_old()
        stream = self._streams.get(response_id)
        return None if stream is None else Extent(0, _next(stream), stream.ended)

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        """See `EventLog.moved`. A stream that is not there yet is waited for: returning at once would spin."""
        stream = self._streams.get(response_id)
        if stream is not None and _next(stream) > after + 1:
            return True
        return await self._wakeups.wait(response_id, timeout_s)

    async def delete(self, response_id: str) -> None:
        """See `EventLog.delete`."""
        self._streams.pop(response_id, None)
        self._ended.pop(response_id, None)
        self._wakeups.wake(response_id)

    def _forget_old(self) -> None:
        limit = self._monotonic() - self._keep_s
        while self._ended and self._ended[oldest := next(iter(self._ended))] < limit:
            del self._ended[oldest], self._streams[oldest]


def _missing(stream: _Stream, expected: int, events: Sequence[LogEvent]) -> Sequence[LogEvent]:
    """Return the events that the stream does not hold yet. Raises: Fenced where it holds others in their place."""
    if _next(stream) == expected and not stream.ended:
        return events
    held = [event for event in stream.events if event.number >= expected][: len(events)]
    if held != list(events[: len(held)]) or (stream.ended and len(held) < len(events)):
        raise Fenced
    return events[len(held) :]


def _next(stream: _Stream) -> int:
    return stream.events[-1].number + 1 if stream.events else 0
