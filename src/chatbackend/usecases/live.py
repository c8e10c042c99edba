"""The responses that this process runs, or keeps in memory for a while because they are not stored."""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import Ask, Outcome, Response


@dataclass(slots=True)
class Entry:
    """One running response. `stop` asks it to end with an outcome; `done` is set once nobody works on it any more.

    `saved` says that its end is committed: before that nothing may be told of it. `fenced`: another process has it.
    """

    response: Response
    ask: Ask
    outcome: Outcome | None = None
    saved: bool = False
    fenced: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    ended_at: float | None = None

    def stop(self, outcome: Outcome) -> None:
        """End the generation now; the first stop wins."""
        if self.outcome is None:
            self.outcome = outcome
            self.scope.cancel()


class Live:
    """Registry of entries by response id. `monotonic` gives seconds; ended unstored ones are kept `keep_s`."""

    def __init__(self, monotonic: Callable[[], float], *, max_running: int, keep_s: float = 120.0) -> None:
        self._monotonic = monotonic
        self._max_running = max_running
        self._keep_s = keep_s
        self.closed = False
        self._entries: dict[str, Entry] = {}
        self._kept: dict[str, Entry] = {}

    def check_room(self) -> None:
        """Refuse work before anything is acknowledged. Raises: Unavailable."""
        if self.closed:
            raise Unavailable("The server is stopping.", code="stopping")
        if len(self._entries) >= self._max_running:
            raise Unavailable("Too many responses are running; try again shortly.", code="overloaded")

    def close(self) -> None:
        """Let nothing new in."""
        self.closed = True

    def add(self, response: Response, ask: Ask) -> Entry:
        """Register a response that is about to run."""
        entry = self._entries[response.id] = Entry(response, ask)
        return entry

    def running(self, response_id: str) -> Entry | None:
        """Return the entry of a response that has not ended."""
        return self._entries.get(response_id)

    def all_running(self) -> list[Entry]:
        """Return every entry that has not ended."""
        return list(self._entries.values())

    def unstored(self, principal: Principal, response_id: str) -> Entry | None:
        """Return a caller's own unstored response, running or ended less than `keep_s` ago."""
        self._forget_old()
        entry = self._entries.get(response_id) or self._kept.get(response_id)
        if entry is None or entry.response.store:
            return None
        owner = entry.response.principal
        return entry if (owner.tenant, owner.owner) == (principal.tenant, principal.owner) else None

    def ended(self, entry: Entry) -> None:
        """Move an entry out of the running ones and wake who waits for it."""
        self._entries.pop(entry.response.id, None)
        if not entry.response.store:
            entry.ended_at = self._monotonic()
            self._kept[entry.response.id] = entry
            self._forget_old()
        entry.done.set()

    def _forget_old(self) -> None:
        limit = self._monotonic() - self._keep_s
        for response_id in list(self._kept):  # in the order of ending
            ended_at = self._kept[response_id].ended_at
            if ended_at is not None and ended_at >= limit:
                break
            del self._kept[response_id]
