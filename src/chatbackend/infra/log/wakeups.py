"""In-process wake-ups of those who wait: they carry only "something moved"."""

import asyncio
from weakref import WeakValueDictionary

import anyio

from chatbackend.usecases.replica_ports import Topic


class Wakeups:
    """`Changes` of this process: one broadcast per name. Only names that somebody waits for are kept."""

    def __init__(self) -> None:
        self._events: WeakValueDictionary[str, anyio.Event] = WeakValueDictionary()
        self._waiters: dict[str, list[asyncio.Future[bool]]] = {}

    async def wait(self, name: str, timeout_s: float) -> bool:
        """Wait for the next wake-up of a name; False when time ran out. A third of what waiting for `event` costs."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        waiters = self._waiters.setdefault(name, [])
        waiters.append(waiter)
        timer = loop.call_later(timeout_s, _end, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()
            if self._waiters.get(name) is waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[name]

    def event(self, name: str, /) -> anyio.Event:
        """See `Changes.event`."""
        return self._events.setdefault(name, anyio.Event())

    def wake(self, name: str, /) -> None:
        """See `Changes.wake`."""
        event = self._events.pop(name, None) if self._events else None
        if event is not None:
            event.set()
        for waiter in self._waiters.pop(name, ()):
            _end(waiter, True)

    def wake_all(self) -> None:
        """Wake everybody: whatever they wait for may have moved."""
        for name in {*self._events, *self._waiters}:
            self.wake(name)


def _end(waiter: asyncio.Future[bool], woken: bool) -> None:  # noqa: FBT001 - what it ends with
    if not waiter.done():
        waiter.set_result(woken)


class LocalSignals:
    """`Signals` where there is one process."""

    def __init__(self) -> None:
        self._topics: dict[Topic, Wakeups] = {}

    def topic(self, topic: Topic, /) -> Wakeups:
        """See `Signals.topic`."""
        return self._topics.setdefault(topic, Wakeups())
