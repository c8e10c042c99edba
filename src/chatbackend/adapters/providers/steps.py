"""What happens to the events of an answer between a dialect's reader and us: steps that may hold some back."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from chatbackend.adapters.providers.codec import Place, Reader
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.events import ModelEvent


class Step(Protocol):
    """Takes every event of one answer, in order. What it holds goes with an answer that fails."""

    def take(self, events: Iterable[ModelEvent]) -> list[ModelEvent]:
        """Return what these events become; nothing is held once `Finished` came.

        Raises: UpstreamError for an answer that is not what was asked for.
        """
        ...


def through(events: list[ModelEvent], steps: Iterable[Step]) -> list[ModelEvent]:
    """Return the events as they come out of the last step."""
    for step in steps:
        events = step.take(events)
    return events


class SteppedReader:
    """`Reader` whose events go through steps."""

    def __init__(self, reader: Reader, steps: Sequence[Step]) -> None:
        self.done = False
        self._reader = reader
        self._steps = steps

    @property
    def place(self) -> Place | None:
        """See `codec.Reader`."""
        return self._reader.place

    def feed(self, event: SseEvent) -> list[ModelEvent]:
        """Return what one event says; see `codec.Reader`."""
        events = through(self._reader.feed(event), self._steps)
        self.done = self._reader.done
        return events

    def end(self) -> list[ModelEvent]:
        """Return what is still held back; see `codec.Reader`."""
        events = through(self._reader.end(), self._steps)
        self.done = True
        return events
