"""`Journal` numbers a response's events, renders them once and brings them into the log, in order.

A flush starts when the last one ends: a lone event goes out at once, a burst shares an append. Nothing is
shown to anyone before it is in the log.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from chatbackend.domain.answer import AnswerEvent
from chatbackend.domain.responses import NUMBERS_PER_BLOCK, Response
from chatbackend.usecases.ports import EventLog, LogEvent, Renderer

BACKLOG_EVENTS = 512  # more unwritten events than this hold the generation back


class Journal:
    """Writes one response's log under a fence. `reserve(n)` commits that numbers below n may be used."""

    def __init__(
        self,
        log: EventLog,
        renderer: Renderer,
        response: Response,
        *,
        fence: int,
        reserve: Callable[[int], Awaitable[None]] | None,
    ) -> None:
        self._log = log
        self._renderer = renderer
        self._response = response
        self._fence = fence
        self._reserve = reserve
        self._reserved = NUMBERS_PER_BLOCK
        self._next = 0  # the number of the next event to be rendered
        self._written = 0  # the number that the log expects next
        self._waiting: list[LogEvent] = []
        self._wanted = anyio.Event()
        self._flushing = anyio.Lock()

    async def open(self) -> int:
        """Take the stream over; return how many numbers it holds already."""
        self._next = self._written = await self._log.open(self._response.id, fence=self._fence)
        return self._next

    def lifecycle(self, kind: str) -> None:
        """Add a lifecycle event that shows the response as it is now."""
        self._add(self._renderer.lifecycle(kind, self._response, self._next))

    def created(self) -> None:
        """Add event 0 as it was when the response began, whatever it has become since."""
        began = replace(self._response, status="queued", output=[], usage=None, failure=None, completed_at=None)
        began.incomplete_reason = began.detail = None
        self._add(self._renderer.lifecycle("response.created", began, self._next))

    def steps(self, events: list[AnswerEvent]) -> None:
        """Add the steps of an answer."""
        for event in events:
            self._add(self._renderer.step(event, self._next))

    def _add(self, event: LogEvent) -> None:
        self._waiting.append(event)
        self._next += 1
        self._wanted.set()

    @property
    def full(self) -> bool:
        """Whether the log lags so far behind that the generation should wait (`flush`)."""
        return len(self._waiting) >= BACKLOG_EVENTS

    async def pump(self) -> None:
        """Flush whenever something waits, until cancelled."""
        while True:
            await self._wanted.wait()
            await self.flush()

    async def flush(self) -> None:
        """Bring everything that waits into the log. Raises: Fenced, Gone, Unavailable (nothing is dropped then)."""
        async with self._flushing:
            batch, self._waiting = self._waiting, []
            self._wanted = anyio.Event()
            if not batch:
                return
            try:
                await self._reserve_up_to(batch[-1].number)
                await self._append(batch, ended=False)
            except BaseException:
                self._waiting = batch + self._waiting
                raise

    async def end(self, kind: str, *, number: int | None = None) -> None:
        """Append the terminal event, as number `number` where the log lost its tail.

        Raises: Fenced, Gone, Unavailable (it may be tried again).
        """
        await self.flush()
        at = self._next if number is None else max(number, self._next)
        await self._reserve_up_to(at)
        await self._append([self._renderer.lifecycle(kind, self._response, at)], ended=True)

    async def _append(self, batch: list[LogEvent], *, ended: bool) -> None:
        await self._log.append(self._response.id, fence=self._fence, expected=self._written, events=batch, ended=ended)
        self._written = batch[-1].number + 1

    async def _reserve_up_to(self, number: int) -> None:
        """Commit a further block before a number of it is used."""
        while self._reserve is not None and number >= self._reserved:
            await self._reserve(self._reserved + NUMBERS_PER_BLOCK)
            self._reserved += NUMBERS_PER_BLOCK
