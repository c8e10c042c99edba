"""Heartbeats hold the leases of a server; the reaper sweeps as long as they come."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
import pytest
from sqlalchemy import select, update

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.servers import Servers
from chatbackend.infra.db.tables.servers import SERVERS
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.infra.heartbeat import Heartbeat, Reaper
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.live import Live
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio


class Cut(Servers):
    """A server whose database is away for some calls."""

    refusals = 0
    renewals = 0

    async def renew(self, log: str) -> None:
        self.renewals += 1
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("away")
        await super().renew(log)


class World:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.servers = Cut(database, "me", lease_s=3_600)
        self.reports: list[str] = []
        self.known = KnownLog(Live(lambda: 0.0, max_running=1))
        self.known.begin("log")
        self.heart = Heartbeat(self.servers, self.known, self.report, beat_s=0.001, again_s=0.001)

    def report(self, message: str, error: BaseException) -> None:
        self.reports.append(message)

    async def steady(self) -> None:
        """Let the heartbeats have come for a long time."""

        async def work(tx: Transaction) -> None:
            await tx.execute(update(SERVERS).values(steady_since=0))

        await self.database.write(work)

    async def lease(self) -> tuple[int, str]:
        async def work(tx: Transaction) -> tuple[int, str]:
            [row] = await tx.rows(select(SERVERS))
            return row["lease_until"], row["log"]

        return await self.database.read(work)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database)


async def until(enough: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not enough():  # noqa: ASYNC110 - what others do
            await anyio.sleep(0.001)


async def test_heartbeats_renew_the_lease_with_the_log_that_is_known(world: World) -> None:
    await world.servers.draw("log")
    before, _ = await world.lease()
    world.known.begin("another")
    async with anyio.create_task_group() as group:
        group.start_soon(world.heart.run)
        await until(lambda: world.servers.renewals > 2)
        group.cancel_scope.cancel()
    after, log = await world.lease()
    assert after > before
    assert log == "another"


async def test_a_heartbeat_that_fails_is_told_once_and_tried_again(world: World) -> None:
    await world.servers.draw("log")
    before, _ = await world.lease()
    world.servers.refusals = 5
    async with anyio.create_task_group() as group:
        group.start_soon(world.heart.run)
        await until(lambda: world.servers.renewals > 7)
        group.cancel_scope.cancel()
    assert world.reports == ["the lease of this server cannot be renewed"]
    assert (await world.lease())[0] > before


async def test_sweeps_wait_until_others_may_be_taken_for_dead_and_outlive_their_failures(world: World) -> None:
    swept: list[str] = []

    async def fails() -> None:
        swept.append("fails")
        raise Unavailable("away")

    async def works() -> None:
        swept.append("works")

    await world.servers.draw("log")
    reaper = Reaper(world.servers, (fails, works), world.report, every_s=0.001)
    async with anyio.create_task_group() as group:
        group.start_soon(reaper.run)
        await anyio.sleep(0.05)
        assert swept == []
        await world.steady()
        await until(lambda: len(swept) >= 4)
        group.cancel_scope.cancel()
    assert swept[:2] in (["fails", "works"], ["works", "fails"])
    assert set(world.reports) == {"what other servers left is taken over later"}


async def test_what_servers_let_go_is_swept_by_one_that_may_judge_nobody(world: World) -> None:
    swept: list[str] = []

    async def takes_over() -> None:
        swept.append("takes over")

    async def judges() -> None:
        swept.append("judges")

    await world.servers.draw("log")
    other = Servers(world.database, "other", lease_s=3_600)
    await other.draw("log")
    reaper = Reaper(world.servers, (judges, takes_over), world.report, at_once=(takes_over,), every_s=0.001)
    async with anyio.create_task_group() as group:
        group.start_soon(reaper.run)
        await anyio.sleep(0.05)
        assert swept == []
        await other.leave()
        await until(lambda: len(swept) >= 3)
        group.cancel_scope.cancel()
    assert set(swept) == {"takes over"}
