"""The end of the server, as its open streams and sockets are told of it: first that it begins, then that it is over."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chatbackend.domain.errors import Unavailable


@dataclass(eq=False, slots=True)
class Told:
    """Someone to tell; neither call may block or raise."""

    begins: Callable[[], object]
    over: Callable[[], object]


@dataclass(slots=True)
class Draining:
    """Whether the server stops, and who is to be told. `seconds`: how long what runs may still take.

    `elsewhere`: others go on meanwhile, so that whoever has nothing to wait for here is better off with them.
    `working`: how many answers are given over sockets that belong to these alone.
    """

    elsewhere: bool = False
    begun: bool = False
    seconds: float = 0.0
    working: int = 0
    _open: dict[Told, None] = field(default_factory=dict[Told, None])  # in the order that they came

    def refuse(self, method: str, pattern: str) -> None:
        """Refuse new work while the server stops; what exists can be read, cancelled and deleted. Raises: Unavailable.

        A stream of events begins, and ends at once: its client comes back, to another server.
        """
        if self.begun and (
            method == "WEBSOCKET" or (method == "POST" and not pattern.endswith(("/cancel", "/hangup")))
        ):
            raise Unavailable("The server is stopping.", code="stopping")

    @contextmanager
    def telling(self, begins: Callable[[], object], over: Callable[[], object] = lambda: None) -> Generator[None]:
        """Tell of the beginning (at once where it was) and of the end while this context is open."""
        told = Told(begins, over)
        self._open[told] = None
        try:
            if self.begun:
                begins()
            yield
        finally:
            del self._open[told]

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Let the server wait, as long as it waits for anything, for what is done in this context."""
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    def begin(self, seconds: float) -> None:
        """Say that the server stops: nothing new is taken."""
        self.begun, self.seconds = True, seconds
        for told in list(self._open):
            told.begins()

    def end(self) -> None:
        """Say that what ran has ended, or was ended: now everybody goes."""
        for told in list(self._open):
            told.over()
