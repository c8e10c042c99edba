"""Which event log is known to hold everything that this server has written.

A log that came back under another name may have lacked events until their owners appended them again. So the new name
is believed only once whatever was running when it was first seen has ended, and no end is missing: whoever takes over
what this server leaves goes by it.
"""

from chatbackend.usecases.live import Live


class KnownLog:
    """The identity of the log. `name` is the one to go by, "" before the first look."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.name = ""
        self._other = ""
        self._older: set[str] = set()

    def begin(self, name: str) -> None:
        """Go by this name: nothing was written yet."""
        self.name = name

    def seen(self, name: str, *, ends_missing: bool) -> None:
        """Take note of what the log is called now, and whether it lacks an end that this server has told."""
        running = {entry.response.id for entry in self._live.all_running()}
        if name not in (self.name, self._other):
            self._other, self._older = name, running
        self._older &= running
        if name == self._other and not self._older and not ends_missing:
            self.name = name
