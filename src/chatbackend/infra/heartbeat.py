"""What a server among others does by the clock: hold its fences, and take over what the dead have left."""

import random
from collections.abc import Awaitable, Callable, Sequence

import anyio

from chatbackend.infra.db.servers import BEAT_S, Servers
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.ports import Report

AGAIN_S = 0.5  # after a heartbeat that failed
SWEEP_S = 2.0


class Heartbeat:
    """Renews the leases of a server, until cancelled."""

    def __init__(
        self, servers: Servers, known: KnownLog, report: Report, *, beat_s: float = BEAT_S, again_s: float = AGAIN_S
    ) -> None:
        self._servers = servers
        self._known = known
        self._report = report
        self._beat_s = beat_s
        self._again_s = again_s

    async def run(self) -> None:
        """Beat. A database that is away is asked again and again: who is first to renew loses nothing."""
        told = False
        while True:
            try:
                await self._servers.renew(self._known.name)
            except Exception as error:  # whatever it is: without heartbeats this server would be taken for dead
                if not told:
                    self._report("the lease of this server cannot be renewed", error)
                told = True
                await anyio.sleep(self._again_s)
            else:
                told = False
                await anyio.sleep(self._beat_s)


class Reaper:
    """Sweeps while this server may take others for dead; what fails is put off to the next time.

    `at_once` are those of the sweeps that may also see to what servers have let go, which nobody has to judge.
    """

    def __init__(
        self,
        servers: Servers,
        sweeps: Sequence[Callable[[], Awaitable[object]]],
        report: Report,
        *,
        at_once: Sequence[Callable[[], Awaitable[object]]] = (),
        every_s: float = SWEEP_S,
    ) -> None:
        self._servers = servers
        self._sweeps = sweeps
        self._at_once = at_once
        self._report = report
        self._every_s = every_s

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await anyio.sleep(self._every_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas, guards nothing
            for sweep in self._sweeps:
                await self._try(sweep)

    async def _try(self, sweep: Callable[[], Awaitable[object]]) -> None:
        try:
            if await self._servers.may_judge() or (sweep in self._at_once and await self._servers.some_left()):
                await sweep()
        except Exception as error:  # the edge of the loop: what others left must not stay for one of them
            self._report("what other servers left is taken over later", error)
