"""In-process wake-ups of those who wait: they carry only "something moved"."""

from weakref import WeakValueDictionary

import anyio

from chatbackend.usecases.replica_ports import Topic


class Wakeups:
    """`Changes` of this process: one broadcast per name. Only names that somebody waits for are kept."""

    def __init__(self) -> None:
        self._events: WeakValueDictionary[str, anyio.Event] = WeakValueDictionary()

    def event(self, name: str, /) -> anyio.Event:
        """See `Changes.event`."""
        return self._events.setdefault(name, anyio.Event())

    def wake(self, name: str, /) -> None:
        """See `Changes.wake`."""
        event = self._events.pop(name, None)
        if event is not None:
            event.set()

    def wake_all(self) -> None:
        """Wake everybody: whatever they wait for may have moved."""
        for name in list(self._events):
            self.wake(name)


class LocalSignals:
    """`Signals` where there is one process."""

    def __init__(self) -> None:
        self._topics: dict[Topic, Wakeups] = {}

    def topic(self, topic: Topic, /) -> Wakeups:
        """See `Signals.topic`."""
        return self._topics.setdefault(topic, Wakeups())
