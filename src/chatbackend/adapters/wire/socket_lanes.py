"""The lanes of one Responses socket: first in, first out within a lane, lanes side by side, all of it bounded.

Source: OpenAI's guide "WebSocket mode" (parallel conversations, limits of a connection, connection-local cache).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from chatbackend.adapters.api import items as wire
from chatbackend.domain.errors import InvalidRequest, RateLimited
from chatbackend.domain.items import Item
from chatbackend.domain.responses import Ask

MAX_ACTIVE = 16  # responses at work; more wait
MAX_NAMED = 32  # names of lanes in a connection's life
MAX_WAITING = 256
MAX_WAITING_CHARACTERS = 8 * 2**20  # a lone larger command still waits
MAX_KEPT_BYTES = 32 * 2**20  # contexts of unstored responses, by the size of their items' JSON

Lane = str | None  # None is the unnamed lane


@dataclass(frozen=True, slots=True, eq=False)
class Create:
    """A `response.create` as it came; its text is read when its turn comes."""

    lane: Lane
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Follow:
    """A known response to be sent from the event after `after`; it takes its turn in its lane like a new one."""

    lane: Lane
    response_id: str
    after: int
    text: str = ""


Job = Create | Follow


@dataclass(frozen=True, slots=True)
class Kept:
    """What an unstored response of this connection leaves behind: its whole context and its output."""

    response_id: str
    items: list[Item]
    size: int


class Lanes:
    """Says which jobs may start. The caller starts them, and tells of every end."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, deque[Job]] = {}
        self._named: set[str] = set()
        self._busy: set[Lane] = set()
        self._ready: deque[Lane] = deque()  # lanes that are free and have work, in the order they became so
        self._waiting_jobs = 0
        self._waiting_characters = 0
        self._kept: dict[Lane, Kept] = {}  # least recently kept first
        self._kept_bytes = 0

    @property
    def active(self) -> int:
        """How many jobs are at work."""
        return len(self._busy)

    def admit(self, lane: Lane) -> None:
        """Let a name be used. Raises: InvalidRequest `websocket_stream_limit_reached`."""
        if lane is None or lane in self._named:
            return
        if len(self._named) >= MAX_NAMED:
            message = f"This connection has used {MAX_NAMED} different stream_ids; reuse one or open a new connection."
            raise InvalidRequest(message, param="stream_id", code="websocket_stream_limit_reached")
        self._named.add(lane)

    def add(self, job: Job) -> list[Job]:
        """Queue a job; return those that start now.

        Raises: RateLimited `websocket_queue_full`, InvalidRequest as `admit`.
        """
        self.admit(job.lane)
        full = self._waiting_jobs >= MAX_WAITING
        heavy = self._waiting_characters + len(job.text) > MAX_WAITING_CHARACTERS
        if full or (heavy and self._waiting_jobs):
            message = "Too many commands wait on this connection; wait until one of its responses has ended."
            raise RateLimited(message, retry_after_s=1.0, code="websocket_queue_full")
        self._waiting_jobs += 1
        self._waiting_characters += len(job.text)
        queue = self._waiting.setdefault(job.lane, deque())
        queue.append(job)
        if len(queue) == 1 and job.lane not in self._busy:
            self._ready.append(job.lane)
        return self._started()

    def ended(self, job: Job) -> list[Job]:
        """Free a job's lane; return those that start now."""
        self._busy.remove(job.lane)
        if job.lane in self._waiting:
            self._ready.append(job.lane)
        return self._started()

    def _started(self) -> list[Job]:
        started: list[Job] = []
        while self._ready and len(self._busy) < MAX_ACTIVE:
            lane = self._ready.popleft()
            queue = self._waiting[lane]
            job = queue.popleft()
            if not queue:
                del self._waiting[lane]
            self._busy.add(lane)
            self._waiting_jobs -= 1
            self._waiting_characters -= len(job.text)
            started.append(job)
        return started

    def kept(self, response_id: str | None) -> Kept | None:
        """Return the context that an unstored response left here."""
        found = (kept for kept in self._kept.values() if kept.response_id == response_id)
        return next(found, None)

    def keep(self, lane: Lane, kept: Kept) -> None:
        """Keep the context of a lane's newest response; the lane's earlier one goes, and old ones over the bound."""
        self.forget(lane)
        self._kept[lane] = kept
        self._kept_bytes += kept.size
        while self._kept_bytes > MAX_KEPT_BYTES:
            self.forget(next(iter(self._kept)))

    def forget(self, lane: Lane, response_id: str | None = None) -> None:
        """Drop what a lane has kept; with a `response_id` only if it is that response's."""
        kept = self._kept.get(lane)
        if kept is not None and response_id in (None, kept.response_id):
            del self._kept[lane]
            self._kept_bytes -= kept.size


def continue_from(ask: Ask, kept: Kept) -> None:
    """Let a request go on from an unstored response.

    A stored one takes that context as its own input: nothing else would know it after this connection.
    """
    if ask.store:
        ask.items = [*kept.items, *ask.items]
        ask.local_context = []
    else:
        ask.local_context = kept.items


def left_behind(response_id: str, *, context: list[Item], added: Iterable[Item], parent: Kept | None) -> Kept:
    """Return what an ended unstored response leaves; `added` is its own input and output, `parent` gave the context."""
    known = list(added)
    before = parent.size if parent is not None else _size(context)
    return Kept(response_id, [*context, *known], before + _size(known))


def _size(items: Iterable[Item]) -> int:
    return sum(len(wire.encode(item)) for item in items)
