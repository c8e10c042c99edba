"""`LogWriter` numbers the events of a stream and brings them into its log, in order; `Journal` renders a response's.

A log that needs no waiting takes events on the spot. With any other a flush starts when the last one ends: a lone event
goes out at once, a burst shares an append. Nothing is shown to anyone before it is in the log.

A log that comes back without events which it had taken gets them again, out of a bounded copy. Where the copy does
not reach back so far, nothing but the terminal event follows, under a number that was never used.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from chatbackend.domain.answer import AnswerEvent
from chatbackend.domain.responses import NUMBERS_PER_BLOCK, Response
from chatbackend.usecases.ports import Behind, EventLog, LogEvent, Renderer

BACKLOG_EVENTS = 512  # more unwritten events than this hold the generation back
COPY_BYTES = 1024 * 1024  # of the newest events of a response, for a log that lost them


class LogWriter:
    """Writes one stream's log under a fence. `reserve(n)` commits that numbers below n may be used."""

    def __init__(
        self, log: EventLog, stream_id: str, *, fence: int, reserve: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        self._log = log
        self._stream_id = stream_id
        self._fence = fence
        self._reserve = reserve
        self._room = 1 if log.prompt else BACKLOG_EVENTS
        self._reserved = NUMBERS_PER_BLOCK
        self._next = 0  # the number of the next event to be rendered
        self._written = 0  # the number that the log expects next
        self._waiting: list[LogEvent] = []
        self._copy: deque[LogEvent] = deque()  # what was written last
        self._copied_bytes = 0
        self._lost = False  # the log lacks events that the copy lacks, too
        self._wanted: anyio.Event | None = None  # set by what must be flushed; there while `pump` waits
        self._flushing = anyio.Lock(fast_acquire=True)

    async def open(self, *, fresh: bool = False) -> int:
        """Take the stream over; return how many numbers it holds already. `fresh`: nobody had it before."""
        self._next = self._written = await self._log.open(self._stream_id, fence=self._fence, fresh=fresh)
        return self._next

    def add(self, kind: str, data: bytes) -> None:
        """Add an event."""
        self._add(LogEvent(self._next, kind, data))
        self._push()

    def _add(self, event: LogEvent) -> None:
        self._waiting.append(event)
        self._next += 1

    def _push(self) -> None:
        """Write what waits on the spot, where that can be done; else `pump` does it, and meets what is in the way."""
        batch = self._waiting
        if (
            not self._lost
            and batch[-1].number < self._reserved
            and not self._flushing.locked()
            and self._log.take(self._stream_id, fence=self._fence, expected=self._written, events=batch)
        ):
            self._waiting = []
            self._written = self._next
            self._copy.clear()  # such a log loses nothing, and a copy must have no gap
            self._copied_bytes = 0
        elif self._wanted is not None:
            self._wanted.set()

    @property
    def full(self) -> bool:
        """Whether the generation should wait (`flush`): the log lags far behind, or nothing is pumped into it."""
        return len(self._waiting) >= self._room

    @property
    def pumped(self) -> bool:
        """Whether somebody must `pump`."""
        return not self._log.prompt

    async def pump(self) -> None:
        """Flush whenever something waits, until cancelled. Needless where `flush` is called whenever it is `full`."""
        while True:
            if not self._waiting:
                self._wanted = anyio.Event()
                await self._wanted.wait()
                self._wanted = None
            await self.flush()

    async def flush(self) -> None:
        """Bring everything that waits into the log. Raises: Fenced, Gone, Unavailable (nothing is dropped then)."""
        async with self._flushing:
            batch, self._waiting = self._waiting, []
            if not batch:
                return
            try:
                await self._reserve_up_to(batch[-1].number)
                await self._append(batch, ended=False)
            except BaseException:
                self._waiting = batch + self._waiting
                raise

    async def close(self, kind: str, data: bytes, *, at_least: int = 0) -> None:
        """Append the terminal event, with this number or a higher one.

        Raises: Fenced, Gone, Unavailable (it may be tried again).
        """
        await self._close(lambda number: LogEvent(number, kind, data), at_least=at_least)

    async def _close(self, terminal: Callable[[int], LogEvent], *, at_least: int) -> None:
        await self.flush()
        at = max(at_least, self._next)
        await self._reserve_up_to(at)
        await self._append([terminal(at)], ended=True)

    async def _append(self, batch: list[LogEvent], *, ended: bool) -> None:
        expected, events = self._written, batch
        while not self._lost or self._goes_on_without(ended=ended):
            try:
                await self._log.append(
                    self._stream_id, fence=self._fence, expected=expected, events=events, ended=ended
                )
            except Behind:
                expected, events = await self._reopen(batch)
            else:
                self._written = batch[-1].number + 1
                self._remember(batch)
                return

    def _goes_on_without(self, *, ended: bool) -> bool:
        """Whether these events are appended to a log that lacks some before them: the terminal one, which says all."""
        return ended

    async def _check_owner(self) -> None:
        """Ask the truth whether this is still the owner: a log that forgot events forgot fences. Raises: Fenced."""
        if self._reserve is not None:
            await self._reserve(self._reserved)

    async def _reopen(self, batch: list[LogEvent]) -> tuple[int, list[LogEvent]]:
        """Take the stream again; return from which number on to append what. Raises: Fenced, Unavailable."""
        await self._check_owner()
        following = await self._log.open(self._stream_id, fence=self._fence)
        first = self._copy[0].number if self._copy else batch[0].number
        self._lost = self._lost or following < first
        if self._lost:
            self._written = following
            return following, batch
        return first, [*self._copy, *batch]  # all of it: the log looks whether what it holds is ours

    def _remember(self, batch: list[LogEvent]) -> None:
        """Keep the newest events at hand."""
        self._copy += batch
        self._copied_bytes += sum(len(event.data) for event in batch)
        while self._copied_bytes > COPY_BYTES:
            self._copied_bytes -= len(self._copy.popleft().data)

    async def _reserve_up_to(self, number: int) -> None:
        """Commit a further block before a number of it is used."""
        while self._reserve is not None and number >= self._reserved:
            await self._reserve(self._reserved + NUMBERS_PER_BLOCK)
            self._reserved += NUMBERS_PER_BLOCK


class Journal(LogWriter):
    """Writes one response's log."""

    def __init__(
        self,
        log: EventLog,
        renderer: Renderer,
        response: Response,
        *,
        fence: int,
        reserve: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        super().__init__(log, response.id, fence=fence, reserve=reserve)
        self._renderer = renderer
        self._response = response

    def lifecycle(self, kind: str) -> None:
        """Add a lifecycle event that shows the response as it is now."""
        self._add(self._renderer.lifecycle(kind, self._response, self._next))
        self._push()

    def created(self) -> None:
        """Add event 0 as it was when the response began, whatever it has become since."""
        began = replace(self._response, status="queued", output=[], usage=None, failure=None, completed_at=None)
        began.incomplete_reason = began.detail = None
        self._add(self._renderer.lifecycle("response.created", began, self._next))
        self._push()

    def steps(self, events: list[AnswerEvent]) -> None:
        """Add the steps of an answer."""
        for event in events:
            self._add(self._renderer.step(event, self._next))
        if events:
            self._push()

    async def end(self, kind: str, *, number: int | None = None) -> None:
        """Append the terminal event, as number `number` where the log lost its tail.

        Raises: Fenced, Gone, Unavailable (it may be tried again).
        """
        await self._close(lambda at: self._renderer.lifecycle(kind, self._response, at), at_least=number or 0)
