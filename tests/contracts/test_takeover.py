"""What every `Truth` promises of owners: one at a time, by its fence, and another only when its lease is over."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.responses import CANCELLED, NUMBERS_PER_BLOCK, Response, end
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db import jobs
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.orphans import TAKEN_AT_ONCE
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.servers import BEAT_S, LEASE_S, Now, Servers
from chatbackend.infra.db.tables.servers import SERVERS
from chatbackend.infra.db.transaction import Transaction
from chatbackend.usecases.ports import Call, Ended, Fenced
from tests.support.truth_world import ME, World
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio
LONG_S = 3_600.0


class Owners(World):
    """A truth, and servers on it."""

    async def server(self, name: str, *, lease_s: float = LONG_S, log: str = "log") -> Servers:
        """Return a server that holds a fence; what begins from now on is under that one."""
        servers = Servers(self.database, name, lease_s=lease_s)
        self.fence = await servers.draw(log)
        return servers

    async def run(self, work: Callable[[Transaction], Awaitable[object]]) -> None:
        await self.database.write(work)

    async def age(self, seconds: float, *, late: bool, renewed_s: float = 0) -> None:
        """Let this server's heartbeats have come for so long, the last `renewed_s` ago; `late`: its lease is over."""
        left_s = -1 if late else LEASE_S - renewed_s
        times = {"steady_since": Now() - int(seconds * 1e6), "lease_until": Now() + int(left_s * 1e6)}
        statement = update(SERVERS).where(SERVERS.c.fence == self.fence).values(times)

        async def work(tx: Transaction) -> None:
            await tx.execute(statement)

        await self.run(work)

    async def known(self) -> dict[int, str]:
        """Return the fences that are written down, with their servers' names."""

        async def work(tx: Transaction) -> dict[int, str]:
            return {row["fence"]: row["name"] for row in await tx.rows(select(SERVERS))}

        return await self.database.read(work)

    async def taken(self) -> list[str]:
        return [orphan.response.id for orphan in await self.truth.take_over(fence=self.fence)]


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Owners, None]:
    async with truth(request.param, tmp_path) as database:
        yield Owners(database)


async def jobs_add(tx: Transaction) -> object:
    return await jobs.add(tx, "index", tenant="t", owner="o", subject="1", now=0)


async def left(world: Owners, *, log: str = "log") -> Response:
    """Return a response whose owner's lease is over."""
    await world.server("dead", lease_s=0, log=log)
    return await world.begun()


async def test_what_a_living_server_owns_is_nobodys_to_take(world: Owners) -> None:
    await world.server("living")
    await world.begun()
    await world.server("other")
    assert await world.truth.orphans() == 0
    assert await world.taken() == []


async def test_what_a_dead_server_left_is_taken_once_oldest_first(world: Owners) -> None:
    await world.server("dead", lease_s=0)
    await world.ended("done")
    first = await world.begun(background=True)
    world.time += 1
    second = await world.begun()
    await world.truth.start(second, Call("call_1", 1, "m"))
    await world.truth.reserve(second, numbers=3_000)
    assert await world.truth.orphans() == 2
    await world.server("other")
    found = await world.truth.take_over(fence=world.fence)
    assert [orphan.response.id for orphan in found] == [first.id, second.id]
    assert [(orphan.attempts, orphan.numbers_reserved) for orphan in found] == [(0, NUMBERS_PER_BLOCK), (1, 3_000)]
    assert [(orphan.response.status, orphan.response.fence) for orphan in found] == [
        ("queued", world.fence),
        ("in_progress", world.fence),
    ]
    again = shapes.read_stored(found[0].body)
    assert (again.model, again.background) == ("m", True)
    assert await world.taken() == []
    assert await world.truth.orphans() == 0


async def test_one_server_after_another_takes_many_in_turns_and_each_once(world: Owners) -> None:
    await world.server("dead", lease_s=0)
    made = [(await world.begun()).id for _ in range(TAKEN_AT_ONCE + 20)]
    await world.server("alone", lease_s=0)  # nobody judges whether it lives; what it has taken is not taken again
    first, second, third = [await world.taken() for _ in range(3)]
    assert (len(first), len(second), third) == (TAKEN_AT_ONCE, 20, [])
    assert sorted(first + second) == sorted(made)


async def test_a_takeover_tells_what_its_owner_knew_of_the_log_and_how_many_there_were(world: Owners) -> None:
    await left(world, log="first")
    await world.server("second", lease_s=0, log="other")
    [orphan] = await world.truth.take_over(fence=world.fence)
    assert (orphan.takeovers, orphan.log) == (1, "first")
    await world.server("third", log="third")
    [orphan] = await world.truth.take_over(fence=world.fence)
    assert (orphan.takeovers, orphan.log) == (2, "other")


async def test_a_server_that_nobody_has_heard_of_is_dead_and_so_is_its_log(world: Owners) -> None:
    world.fence = 77
    await world.begun()
    await world.server("other")
    [orphan] = await world.truth.take_over(fence=world.fence)
    assert orphan.log is None


async def test_whoever_lost_a_response_writes_nothing_more_to_it(world: Owners) -> None:
    made = await left(world)
    call = Call("call_1", 1, "m")
    await world.truth.start(made, call)
    await world.server("other")
    await world.taken()
    with pytest.raises(Fenced):
        await world.truth.start(made, Call("call_2", 2, "m"))
    with pytest.raises(Fenced):
        await world.truth.reserve(made, numbers=9_000)
    ended = replace(made)
    end(ended, CANCELLED, at=1)
    with pytest.raises(Fenced):
        await world.truth.finish(ended, call, Settlement(Usage(1, 2), "cancelled"))
    found = await world.truth.get(ME, made.id)
    assert found is not None
    assert (found.status, found.output) == ("in_progress", [])
    assert [(row["id"], row["status"]) for row in await world.ledger()] == [("call_1", "started")]
    await world.server("last")
    [again] = [orphan.numbers_reserved for orphan in await world.truth.take_over(fence=world.fence)] or [0]
    assert again == 0  # it has a living owner


async def test_whoever_lost_a_response_does_not_end_it_after_its_end_either(world: Owners) -> None:
    made = await left(world)
    await world.server("other")
    [orphan] = await world.truth.take_over(fence=world.fence)
    assert await world.finish(orphan.response, "theirs")
    with pytest.raises(Fenced):
        await world.truth.finish(made, None, None)
    found = await world.truth.get(ME, made.id)
    assert found == orphan.response


async def test_a_deleted_response_is_nobodys(world: Owners) -> None:
    made = await left(world)
    await world.truth.delete(ME, made.id)
    await world.truth.reserve(made, numbers=2_000)
    assert not await world.truth.finish(made, None, None)
    await world.server("other")
    assert await world.taken() == []


async def test_a_lease_is_renewed_and_given_back(world: Owners) -> None:
    servers = await world.server("dead", lease_s=0)
    await world.begun()
    assert await world.truth.orphans() == 1
    living = Servers(world.database, "dead", lease_s=LONG_S)
    living._held = servers._held  # pyright: ignore[reportPrivateUsage]  # the same server, with a longer lease
    await living.renew("log")
    assert await world.truth.orphans() == 0
    await living.leave()
    assert await world.truth.orphans() == 1


async def test_a_fence_that_is_dropped_is_not_renewed(world: Owners) -> None:
    servers = await world.server("one", lease_s=0)
    servers.drop(world.fence)
    assert world.fence not in servers.held
    await world.begun()
    await servers.renew("log")
    assert await world.truth.orphans() == 1


async def test_a_stray_is_left_to_whoever_takes_over(world: Owners) -> None:
    await world.server("living")
    mine, began = world.fence, world.time
    stray = await world.begun()
    await world.ended("done")
    await world.server("other")
    await world.begun()
    assert await world.truth.owned(fence=mine, before=began) == []
    assert await world.truth.owned(fence=mine, before=began + 1) == [stray.id]
    await world.truth.disown(stray.id, fence=world.fence, to=999)  # it is another's
    assert await world.truth.orphans() == 0
    await world.truth.disown(stray.id, fence=mine, to=999)
    with pytest.raises(Fenced):
        await world.truth.reserve(stray, numbers=2_000)
    [orphan] = await world.truth.take_over(fence=world.fence)
    assert (orphan.response.id, orphan.takeovers) == (stray.id, 1)


async def test_ends_are_told_from_what_runs_and_what_is_gone(world: Owners) -> None:
    await world.server("dead", lease_s=0)
    dead = world.fence
    lost, running, deleted = await world.ended("lost"), await world.begun(), await world.begun()
    await world.truth.delete(ME, deleted.id)
    await world.server("living")
    kept = await world.ended("kept")
    found = await world.truth.ended([lost.id, running.id, deleted.id, kept.id])
    assert sorted(found, key=lambda each: each.response_id) == sorted(
        [Ended(lost.id, dead, False), Ended(deleted.id, None, False), Ended(kept.id, world.fence, True)],
        key=lambda each: each.response_id,
    )
    assert await world.truth.ended([]) == []


async def test_an_end_is_taken_from_a_dead_owner_once(world: Owners) -> None:
    await world.server("dead", lease_s=0, log="theirs")
    made = await world.ended("done")
    await world.server("living")
    mine = world.fence
    found = await world.truth.take_end(made.id, fence=mine)
    assert found is not None
    assert (found.response.fence, found.log, found.attempts) == (mine, "theirs", 1)
    await world.server("other")
    assert await world.truth.take_end(made.id, fence=world.fence) is None
    again = await world.truth.take_end(made.id, fence=mine)
    assert again is not None
    assert (again.response, again.log) == (found.response, "log")
    assert await world.truth.take_end("resp_unknown", fence=mine) is None


async def test_an_end_that_is_not_there_is_not_taken(world: Owners) -> None:
    made = await left(world)
    await world.server("living")
    assert await world.truth.take_end(made.id, fence=world.fence) is None


async def test_calls_of_living_servers_are_not_settled_for_them(world: Owners) -> None:
    await world.server("living")
    await world.truth.start(await world.begun(store=False), Call("call_1", 1, "m"))
    await world.server("dead", lease_s=0)
    await world.truth.start(await world.begun(store=False), Call("call_2", 1, "m"))
    assert await world.truth.settle_abandoned() == 1
    assert {row["id"]: row["status"] for row in await world.ledger()} == {"call_1": "started", "call_2": "settled"}


async def test_only_who_has_renewed_its_lease_in_time_for_a_while_judges_others(world: Owners) -> None:
    await left(world)
    await world.server("other", lease_s=LEASE_S)
    judging = Responses(world.database, world, judge=world.fence)
    theirs = StoredJobs(world.database, world, fence=1)
    judges = StoredJobs(world.database, world, fence=world.fence, judge=world.fence)
    await world.run(jobs_add)
    await theirs.claim()
    for age_s, late in ((0, False), (LEASE_S - 1, False), (100, True)):
        await world.age(age_s, late=late)
        assert await judging.take_over(fence=world.fence) == []
        assert await judging.settle_abandoned() == 0
        assert await judges.reclaim() == 0
    await world.age(LEASE_S, late=False)
    assert await judges.reclaim() == 1
    assert len(await judging.take_over(fence=world.fence)) == 1


async def test_what_a_server_let_go_when_it_left_is_taken_without_judging_anybody(world: Owners) -> None:
    leaving = await world.server("leaving")
    made = await world.begun()
    await world.truth.start(await world.begun(store=False), Call("call_1", 1, "m"))
    await left(world)  # nobody may take this one for dead yet
    await world.server("fresh", lease_s=LEASE_S)
    fresh = Responses(world.database, world, judge=world.fence)
    assert await fresh.orphans() == 0
    await leaving.leave()
    assert await fresh.orphans() == 1
    assert [orphan.response.id for orphan in await fresh.take_over(fence=world.fence)] == [made.id]
    assert await fresh.settle_abandoned() == 1


@pytest.mark.parametrize(
    ("after_s", "steady"), [(1, True), (2 * BEAT_S - 1, True), (2 * BEAT_S + 1, False), (99, False)]
)
async def test_a_heartbeat_that_comes_late_begins_the_wait_anew(world: Owners, after_s: float, *, steady: bool) -> None:
    servers = await world.server("me", lease_s=LEASE_S)
    assert not await servers.may_judge()
    await world.age(60, late=False)
    assert await servers.may_judge()
    await world.age(60, late=False, renewed_s=after_s)
    await servers.renew("log")
    assert await servers.may_judge() is steady


async def test_what_nothing_points_to_is_forgotten(world: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.server("long dead", lease_s=-700)
    empty = world.fence
    for name in ("response", "call"):
        await world.server(f"left a {name}", lease_s=-700)
        made = await world.begun(store=name == "response")
        if name == "call":
            await world.truth.start(made, Call("call_1", 1, "m"))
    await world.server("dead", lease_s=0)
    servers = await world.server("living")
    spare = [await servers.draw("log") for _ in range(2)]
    kept = [fence for fence in await world.known() if fence not in (empty, spare[0])]
    await servers.tidy()
    assert list(await world.known()) == kept
    assert servers.held == {world.fence, spare[1]}  # the newest may be at work


async def test_a_server_that_was_forgotten_comes_back_by_its_heartbeat(world: Owners) -> None:
    servers = await world.server("slow", lease_s=-700)
    await (await world.server("other")).tidy()
    assert "slow" not in (await world.known()).values()
    await servers.renew("log")
    assert "slow" in (await world.known()).values()


async def test_a_server_knows_whether_others_live(world: Owners) -> None:
    servers = await world.server("one")
    await world.server("dead", lease_s=0)
    assert not await servers.others_live()
    await world.server("two")
    assert await servers.others_live()
