"""Jobs are leased one at a time, in order, and come back until they are done or given up."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatbackend.domain.jobs import Job, JobKind
from chatbackend.infra.db import jobs
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.servers import Servers
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Transaction
from tests.infra.db.file_world import World, open_world
from tests.support.truths import KINDS

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with open_world(tmp_path, request.param) as world:
        yield world


async def add(world: World, kind: JobKind, subject: str, *, in_s: float | None = None) -> Job:
    now = int(world.clock.time * MICROS)
    run_after = 0 if in_s is None else now + int(in_s * MICROS)

    async def work(tx: Transaction) -> Job:
        return await jobs.add(tx, kind, tenant="t", owner="o", subject=subject, now=now, run_after=run_after)

    return await world.database.write(work)


async def claimed(world: World) -> str | None:
    job = await world.jobs.claim()
    return job and job.subject


async def test_jobs_are_claimed_once_in_the_order_they_fell_due(world: World) -> None:
    await add(world, "index", "later", in_s=5)
    await add(world, "index", "1")
    await add(world, "index", "2")
    assert [await claimed(world) for _ in range(3)] == ["1", "2", None]
    assert await world.jobs.next_due_s() == pytest.approx(5)
    world.clock.time += 5
    assert await world.jobs.next_due_s() == 0
    assert await claimed(world) == "later"
    assert await world.jobs.next_due_s() is None


async def test_whatever_a_failure_says_is_kept(world: World) -> None:
    await add(world, "index", "1")
    job = await world.jobs.claim()
    assert job is not None
    await world.jobs.fail(job, "bad byte \0 in it", give_up=True)
    assert (await world.rows("SELECT state, error FROM jobs"))[0] == {"state": "given_up", "error": "bad byte  in it"}


async def test_a_new_job_is_due_even_if_the_clock_goes_back(world: World) -> None:
    await add(world, "index", "1")
    world.clock.time -= 3600
    assert await claimed(world) == "1"


async def test_a_finished_job_is_forgotten(world: World) -> None:
    job = await add(world, "index", "1")
    await world.jobs.finish(job)
    assert await claimed(world) is None


async def test_a_failed_job_comes_back_later_and_later(world: World) -> None:
    await add(world, "index", "1")
    waits: list[float] = []
    for _ in range(3):
        job = await world.jobs.claim()
        assert job is not None
        await world.jobs.fail(job, "it failed", give_up=False)
        due = await world.jobs.next_due_s()
        assert due is not None
        waits.append(due)
        world.clock.time += due
    assert waits == sorted(set(waits))
    job = await world.jobs.claim()
    assert job is not None
    assert job.failures == 3


async def test_a_job_that_is_given_up_stays_for_the_operators(world: World) -> None:
    await add(world, "index", "1")
    job = await world.jobs.claim()
    assert job is not None
    await world.jobs.fail(job, "it failed", give_up=True)
    world.clock.time += 10_000
    assert await claimed(world) is None
    assert (await world.rows("SELECT state, error FROM jobs")) == [{"state": "given_up", "error": "it failed"}]


async def test_a_job_given_back_is_due_at_once_and_has_not_failed(world: World) -> None:
    await add(world, "index", "1")
    job = await world.jobs.claim()
    assert job is not None
    await world.jobs.release(job)
    assert await world.jobs.claim() == job


async def test_jobs_of_dead_owners_are_taken_back(world: World) -> None:
    await add(world, "index", "1")
    await add(world, "index", "2")
    await world.jobs.claim()
    assert await world.jobs.reclaim() == 1
    job = await world.jobs.claim()
    assert job is not None
    assert (job.subject, job.deaths, job.failures) == ("1", 1, 0)


async def test_a_job_is_taken_back_from_a_dead_server_only_and_then_that_one_has_no_say_in_it(world: World) -> None:
    dead, living = (Servers(world.database, name, lease_s=lease_s) for name, lease_s in (("dead", 0), ("living", 99)))
    theirs = StoredJobs(world.database, world.clock, fence=await dead.draw(""))
    mine = StoredJobs(world.database, world.clock, fence=await living.draw(""))
    await add(world, "index", "1")
    job = await theirs.claim()
    assert job is not None
    assert await mine.reclaim() == 1
    again = await mine.claim()
    assert again is not None
    assert (again.id, again.deaths) == (job.id, 1)
    await theirs.release(job)
    await theirs.fail(job, "late", give_up=True)
    assert await theirs.reclaim() == 0
    assert await world.rows("SELECT state, failures FROM jobs") == [{"state": "running", "failures": 0}]
