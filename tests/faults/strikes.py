"""What befalls a cluster in a storm: several servers at a time, and now and then a store."""

import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from tests.faults.history import History, Outage
from tests.support.cluster import Cluster, Replica

How = Literal["killed", "stopped", "frozen"]


@dataclass(frozen=True, slots=True)
class Weather:
    """How often and how long. One server is spared for a while, then another: somebody must live to judge the dead.

    A server that is frozen for `longest_freeze_s` has lost its lease. `empties` says that Redis may come back with
    nothing. Stores are away for at most `longest_absence_s`, once in each `store_every_s` or so.
    """

    strikes: int
    longest_peace_s: float = 2.5
    longest_freeze_s: float = 22.0
    longest_absence_s: float = 6.0
    store_every_s: float = 12.0
    spared_s: float = 20.0
    empties: bool = False


class Strikes:
    """Carries it out on a cluster."""

    def __init__(self, stands: Cluster, weather: Weather, history: History, chance: random.Random) -> None:
        self._stands = stands
        self._weather = weather
        self._history = history
        self._chance = chance
        self._away: set[int] = set()
        self._stores_up = anyio.Event()
        self._stores_up.set()
        self._spared = 0

    async def storm(self) -> None:
        """Strike, and return when everything is up again."""
        async with anyio.create_task_group() as group, anyio.create_task_group() as stores:
            stores.start_soon(self._strike_stores, group)
            spared_until = 0.0
            struck = 0
            while struck < self._weather.strikes:
                if time.monotonic() > spared_until:
                    self._spared = self._chance.randrange(len(self._stands.servers))
                    spared_until = time.monotonic() + self._weather.spared_s
                await anyio.sleep(self._chance.uniform(0.2, self._weather.longest_peace_s))
                struck += self._strike_one(group, self._chance.choices(("killed", "stopped", "frozen"), (12, 1, 1))[0])
            stores.cancel_scope.cancel()

    def _strike_one(self, group: TaskGroup, how: How) -> bool:
        """Strike a server that is up and not spared; return whether there is one."""
        numbers = range(len(self._stands.servers))
        up = [number for number in numbers if number != self._spared and number not in self._away]
        if up:
            number = self._chance.choice(up)
            self._away.add(number)
            group.start_soon(self._strike, number, how)
        return bool(up)

    async def _strike(self, number: int, how: How) -> None:
        server = self._stands.servers[number]
        with self._outage(server.url, how):
            if how == "frozen":
                await _away(server.freeze, server.thaw, self._chance.uniform(0.5, self._weather.longest_freeze_s))
            else:
                await anyio.to_thread.run_sync(server.kill if how == "killed" else server.stop)
                await anyio.sleep(self._chance.uniform(0, 1))
                await self._start(server)
        self._away.remove(number)

    async def _start(self, server: Replica) -> None:
        """Start it, as whoever watches over processes does: again where a store was away, which ends a start."""
        while True:
            await self._stores_up.wait()
            stores_up = self._stores_up
            try:
                took_s = await anyio.to_thread.run_sync(server.start)
            except AssertionError:
                if stores_up is self._stores_up:
                    raise
                await anyio.to_thread.run_sync(server.kill)
            else:
                if stores_up is self._stores_up:
                    self._history.restarts_s.append(took_s)
                return

    async def _strike_stores(self, group: TaskGroup) -> None:
        while True:
            await anyio.sleep(self._chance.uniform(0.3, 1.7) * self._weather.store_every_s)
            store, how, begin, finish = self._chance.choice(self._faults())
            self._stores_up = anyio.Event()
            with anyio.CancelScope(shield=True), self._outage(store, how):
                self._strike_later(group)
                await _away(begin, finish, self._chance.uniform(0.2, self._weather.longest_absence_s))
            self._stores_up.set()

    def _strike_later(self, group: TaskGroup) -> None:
        """Kill a server while the store is away."""

        async def later() -> None:
            await anyio.sleep(self._chance.uniform(0.1, 1))
            self._strike_one(group, "killed")

        group.start_soon(later)

    def _faults(self) -> list[tuple[str, str, Callable[[], object], Callable[[], object]]]:
        postgres, redis = self._stands.postgres, self._stands.redis
        found: list[tuple[str, str, Callable[[], object], Callable[[], object]]] = [
            ("postgresql", "killed", postgres.crash, postgres.start),
            ("postgresql", "restarted", postgres.stop, postgres.start),
            ("postgresql", "frozen", postgres.freeze, postgres.thaw),
            ("redis", "killed", redis.kill, redis.start),
            ("redis", "restarted", redis.stop, redis.start),
            ("redis", "frozen", redis.freeze, redis.thaw),
        ]

        def emptied() -> None:
            redis.kill()
            redis.lose()

        return [*found, ("redis", "emptied", emptied, redis.start)] if self._weather.empties else found

    @contextmanager
    def _outage(self, what: str, how: str) -> Generator[None]:
        outage = Outage(what, how, time.monotonic())
        self._history.outages.append(outage)
        yield
        outage.ended = time.monotonic()


async def _away(begin: Callable[[], object], finish: Callable[[], object], seconds: float) -> None:
    await anyio.to_thread.run_sync(begin)
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)
        await anyio.to_thread.run_sync(finish)
