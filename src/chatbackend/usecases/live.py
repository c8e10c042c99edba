"""What this process runs, and the responses that it keeps in memory for a while because they are not stored."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from chatbackend.domain.errors import ChatError, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.limits import PerUser
from chatbackend.domain.responses import TURNED, Ask, Outcome, Response
from chatbackend.domain.steering import Steer


@dataclass(slots=True)
class Entry:
    """One running response. `stop` asks it to end with an outcome; `done` is set once nobody works on it any more.

    `saved` says that its end is committed: before that nothing may be told of it. `shown`: there is output of it.
    `fenced`: another process has it, or will.
    `steered`: somebody offered it steering, which lies in `steers` where the response is not stored, and else in the
    truth; `turning`: some was accepted; `over`: it takes no more. `whole`: no item is half made, so that it may stop
    here.
    """

    response: Response
    ask: Ask
    outcome: Outcome | None = None
    saved: bool = False
    shown: bool = False
    fenced: bool = False
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)
    ended_at: float | None = None
    steered: bool = False
    steers: list[Steer] = field(default_factory=list[Steer])
    turning: bool = False
    over: bool = False
    whole: bool = True

    def steer(self) -> None:
        """Stop at the end of the item that is being made: at once where none is."""
        self.steered = self.turning = True
        if self.whole:
            self.stop(TURNED)

    @property
    def movable(self) -> bool:
        """Whether another process could still make it as if it had never begun here."""
        return self.response.store and not self.shown and self.outcome is None

    def leave(self) -> None:
        """Stop without a word: the response belongs to another process, or to whoever takes it over."""
        self.fenced = True
        self.scope.cancel()

    def stop(self, outcome: Outcome) -> None:
        """End the generation now; the first stop wins."""
        if self.outcome is None:
            self.outcome = outcome
            self.scope.cancel()


@dataclass(slots=True)
class Answering:
    """An answer under an Idempotency-Key that is being made for somebody.

    `opened` is set once its log has begun, or cannot begin because of `refused`.
    """

    id: str
    principal: Principal
    refused: ChatError | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    opened: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)

    def stop(self, outcome: Outcome) -> None:
        """End it now: whatever the outcome says, it is `interrupted`."""
        self.scope.cancel()


class Live:
    """Registry of entries by response id, and of answers under a key.

    `monotonic` gives seconds; ended unstored responses are kept `keep_s`.

    `max_running` is for all, `per_user` for each user (see `PerUser`). What goes on with something that was let in
    before (what is taken over, what steering makes) comes on top.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        max_running: int,
        per_user: int | None = None,
        keep_s: float = 120.0,
    ) -> None:
        self._monotonic = monotonic
        self._max_running = max_running
        self._per_user = PerUser(per_user, what="running responses", code="too_many_responses")
        self._keep_s = keep_s
        self.closed = False
        self.recovered = anyio.Event()  # what an earlier process left is taken over
        self._entries: dict[str, Entry] = {}
        self._kept: dict[str, Entry] = {}
        self._answers: dict[str, Answering] = {}
        self._coming = 0  # let in, and not running yet

    @contextmanager
    def room(self, principal: Principal) -> Generator[None]:
        """Let a response in before it is acknowledged: however many come at once, `add` it in this context.

        Raises: Unavailable, RateLimited.
        """
        self._check_room()
        with self._per_user.room(principal):
            self._coming += 1
            try:
                yield
            finally:
                self._coming -= 1

    def _check_room(self) -> None:
        if self.closed:
            raise Unavailable("The server is stopping.", code="stopping")
        if len(self._entries) + len(self._answers) + self._coming >= self._max_running:
            raise Unavailable("Too many responses are running; try again shortly.", code="overloaded")

    def close(self) -> None:
        """Let nothing new in."""
        self.closed = True

    def add(self, response: Response, ask: Ask) -> Entry:
        """Register a response that is about to run."""
        entry = self._entries[response.id] = Entry(response, ask)
        self._per_user.enter(response.principal)
        return entry

    def running(self, response_id: str) -> Entry | None:
        """Return the entry of a response that has not ended."""
        return self._entries.get(response_id)

    def all_running(self) -> list[Entry]:
        """Return every entry that has not ended."""
        return list(self._entries.values())

    def at_work(self) -> list[Entry | Answering]:
        """Return every response and answer that has not ended."""
        return [*self._entries.values(), *self._answers.values()]

    def enter(self, answering: Answering) -> None:
        """Register an answer that is about to be made. Raises: Unavailable, RateLimited."""
        with self.room(answering.principal):
            self._answers[answering.id] = answering
            self._per_user.enter(answering.principal)

    def answering(self, answer_id: str) -> Answering | None:
        """Return an answer that has not ended."""
        return self._answers.get(answer_id)

    def leave(self, answering: Answering) -> None:
        """Take an answer out, and wake who waits for it."""
        del self._answers[answering.id]
        self._per_user.leave(answering.principal)
        answering.done.set()

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
        self._per_user.leave(entry.response.principal)
        if not entry.response.store:
            entry.ended_at = self._monotonic()
            self._kept[entry.response.id] = entry
            self._forget_old()
        entry.done.set()

    def _forget_old(self) -> None:
        limit = self._monotonic() - self._keep_s
        while self._kept:
            oldest = next(iter(self._kept.values()))  # they stand in the order of ending
            if oldest.ended_at is not None and oldest.ended_at >= limit:
                break
            del self._kept[oldest.response.id]
