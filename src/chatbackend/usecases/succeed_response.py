"""What becomes of the steering of a response that has ended: a successor takes it, or it waits, or it is given back.

The process does this, whoever watches. A successor is committed together with the steering that it takes: nothing
accepted is lost between the two, and nothing is taken twice, wherever a kill falls.
"""

from collections.abc import Awaitable, Callable

import anyio

from chatbackend.domain.errors import ChatError, Unavailable
from chatbackend.domain.items import Item
from chatbackend.domain.responses import Ask, Response
from chatbackend.domain.steering import fate, successor, successor_ask
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.patience import waits
from chatbackend.usecases.ports import Clock, NewId, Report, Spawn, Truth
from chatbackend.usecases.steer_ports import Steers

Run = Callable[[Entry], Awaitable[None]]


class Succeed:
    """Sees to the steering of ended responses. What it cannot do before the server stops, the next start does."""

    def __init__(
        self,
        truth: Truth,
        steers: Steers,
        *,
        live: Live,
        spawn: Spawn,
        clock: Clock,
        new_id: NewId,
        report: Report,
        fence: int,
    ) -> None:
        self._truth = truth
        self._steers = steers
        self._live = live
        self._spawn = spawn
        self._clock = clock
        self._new_id = new_id
        self._report = report
        self._fence = fence

    async def __call__(self, entry: Entry, run: Run) -> None:
        """See to an ended response's steering, however long the store refuses; `run` runs what is made."""
        pauses = waits()
        while not self._live.closed:
            try:
                return await self._settle(entry, run)
            except Unavailable as error:
                self._report("what a response was steered with could not be seen to yet", error)
                await anyio.sleep(next(pauses))
        entry.over = True
        _fail(entry)

    async def _settle(self, entry: Entry, run: Run) -> None:
        """Do what is due. Raises: Unavailable."""
        entry.over = True
        response, state = entry.response, fate(entry.response)
        if state == "queued":
            await self._create(entry, run)
        elif response.store:
            await self._steers.settle(response.id, state, "response_not_active" if state == "failed" else None)
        elif state == "failed":
            _fail(entry)
        else:
            for steer in entry.steers:
                steer.state = "waiting"

    async def _create(self, entry: Entry, run: Run) -> None:
        parent = entry.response
        if parent.store:
            known = await self._steers.of(parent.principal, parent.id)
            if not any(steer.state == "queued" for steer in known):
                return  # what was offered came too late
        made = successor(parent, self._new_id("resp"), at=int(self._clock.now()))
        made.fence = self._fence
        ask = successor_ask(entry.ask, parent, context=None if parent.store else await self._context(entry))
        try:
            await self._begin(entry, made, ask, run)
        except Unavailable:
            raise
        except ChatError as error:
            self._report("a steered response has no successor", error)
            if parent.store:
                await self._steers.settle(parent.id, "failed", "successor_creation_failed")
            _fail(entry, "successor_creation_failed")

    async def _begin(self, entry: Entry, made: Response, ask: Ask, run: Run) -> None:
        """Commit the successor and start it as one step."""
        with anyio.CancelScope(shield=True):
            if not made.store:
                ask.steering = None
            begun = await self._truth.begin(made, ask, None)
            ask.items = begun.steering or [item for steer in entry.steers for item in steer.items]
            for steer in entry.steers:
                steer.state, steer.successor_id = "taken", made.id
            started = self._live.add(made, ask)
            self._spawn(lambda: run(started), name=made.id)

    async def _context(self, entry: Entry) -> list[Item]:
        if entry.ask.local_context is not None:
            return entry.ask.local_context
        return await self._truth.context(entry.response)


def _fail(entry: Entry, failure: str = "response_not_active") -> None:
    """Give back what an unstored response was steered with."""
    for steer in entry.steers:
        steer.state, steer.failure = "failed", failure
