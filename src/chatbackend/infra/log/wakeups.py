"""In-process wake-ups of cursor loops: they carry only "something moved"."""

import anyio


class Wakeups:
    """One broadcast per response id. Waiters register before they look, so that nothing is missed."""

    def __init__(self) -> None:
        self._events: dict[str, anyio.Event] = {}

    def event(self, response_id: str) -> anyio.Event:
        """Return the event that the next `wake` of this id sets."""
        return self._events.setdefault(response_id, anyio.Event())

    def wake(self, response_id: str) -> None:
        """Wake whoever waits for this id."""
        event = self._events.pop(response_id, None)
        if event is not None:
            event.set()
