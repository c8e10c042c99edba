"""The worker of this process: woken at once, a few jobs at a time, patient with failures, tidy at the end."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from chatbackend.domain.jobs import MAX_DEATHS, MAX_FAILURES, Job
from chatbackend.infra.db import jobs
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.transaction import Transaction
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.infra.queues import embedded
from chatbackend.infra.queues.embedded import EmbeddedQueue
from tests.infra.db.file_world import World, open_world

pytestmark = pytest.mark.anyio


class Work:
    """Does jobs as the test says, and remembers."""

    def __init__(self, do: Callable[[Job], Awaitable[None]] | None = None) -> None:
        self.do = do
        self.done: list[str] = []
        self.given_up: list[str] = []
        self.running = 0
        self.most_running = 0

    async def __call__(self, job: Job) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.do is not None:
                await self.do(job)
            self.done.append(job.subject)
        finally:
            self.running -= 1

    async def give_up(self, job: Job) -> None:
        self.given_up.append(job.subject)


class Queue:
    """A queue on a real store."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reports: list[str] = []
        self.queue = EmbeddedQueue(world.jobs, lambda message, error: self.reports.append(f"{message}: {error!r}"))

    async def add_quietly(self, subject: str) -> None:
        async def work(tx: Transaction) -> Job:
            return await jobs.add(tx, "index", tenant="t", owner="o", subject=subject, now=0)

        await self.world.database.write(work)

    async def add(self, subject: str) -> None:
        await self.add_quietly(subject)
        self.queue.wake()

    async def states(self) -> list[str]:
        return [row["state"] for row in await self.world.rows("SELECT state FROM jobs ORDER BY id")]

    async def until(self, states: list[str]) -> None:
        with anyio.fail_after(10):
            while await self.states() != states:  # noqa: ASYNC110 - what it waits for is in the database
                await anyio.sleep(0.005)

    async def until_put_off(self) -> None:
        """Wait until the next job is due later only."""
        with anyio.fail_after(10):
            while await self.world.jobs.next_due_s() in (None, 0):  # noqa: ASYNC110 - the same
                await anyio.sleep(0.005)

    @asynccontextmanager
    async def working(self, work: Work) -> AsyncGenerator[None, None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.queue.run, work)
            yield
            group.cancel_scope.cancel()


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncGenerator[Queue, None]:
    async with open_world(tmp_path) as world:
        yield Queue(world)


async def test_jobs_that_wait_and_jobs_that_come_are_done(queue: Queue) -> None:
    work = Work()
    await queue.add("1")
    async with queue.working(work):
        await queue.until([])
        await queue.add("2")
        await queue.until([])
    assert work.done == ["1", "2"]


async def test_no_more_jobs_run_than_there_are_workers(queue: Queue) -> None:
    let_go = anyio.Event()
    work = Work(lambda job: let_go.wait())
    for n in range(6):
        await queue.add(str(n))
    async with queue.working(work):
        await queue.until(["running"] * 2 + ["queued"] * 4)
        let_go.set()
        await queue.until([])
    assert (work.most_running, sorted(work.done)) == (2, [str(n) for n in range(6)])


async def test_a_failed_job_is_tried_again_when_its_time_has_come(queue: Queue) -> None:
    failures = iter([ValueError("once")])

    async def fails_once(job: Job) -> None:
        for failure in failures:
            raise failure

    work = Work(fails_once)
    await queue.add("1")
    async with queue.working(work):
        await queue.until_put_off()
        assert work.done == []
        queue.world.clock.time += 1000
        queue.queue.wake()
        await queue.until([])
    assert work.done == ["1"]
    assert "once" in queue.reports[0]


async def test_a_job_that_always_fails_is_given_up(queue: Queue) -> None:
    async def fails(job: Job) -> None:
        raise ValueError

    work = Work(fails)
    await queue.add("1")
    async with queue.working(work):
        for _ in range(MAX_FAILURES - 1):
            await queue.until_put_off()
            queue.world.clock.time += 1000
            queue.queue.wake()
        await queue.until(["given_up"])
    assert work.given_up == ["1"]
    assert len(queue.reports) == MAX_FAILURES


async def test_a_job_that_killed_many_owners_is_given_up_untried(queue: Queue) -> None:
    work = Work()
    await queue.add("1")
    for _ in range(MAX_DEATHS):
        await queue.world.jobs.claim()
        await queue.world.jobs.reclaim()
    async with queue.working(work):
        await queue.until(["given_up"])
    assert (work.done, work.given_up) == ([], ["1"])


async def test_a_job_that_is_cut_short_is_given_back(queue: Queue) -> None:
    began = anyio.Event()

    async def stays(job: Job) -> None:
        began.set()
        await anyio.sleep_forever()

    await queue.add("1")
    async with queue.working(Work(stays)):
        await began.wait()
    assert await queue.states() == ["queued"]
    assert await queue.world.rows("SELECT failures, deaths FROM jobs") == [{"failures": 0, "deaths": 0}]


async def test_a_drain_lets_running_jobs_end_and_starts_no_new_ones(queue: Queue) -> None:
    began, let_go = anyio.Event(), anyio.Event()

    async def waits(job: Job) -> None:
        began.set()
        await let_go.wait()

    work = Work(waits)
    await queue.add("1")
    async with anyio.create_task_group() as group:
        group.start_soon(queue.queue.run, work)
        await began.wait()
        group.start_soon(queue.queue.drain, 10)
        await anyio.lowlevel.checkpoint()
        await queue.add("2")
        let_go.set()
    assert work.done == ["1"]
    assert await queue.states() == ["queued"]


async def test_a_drain_does_not_wait_for_ever(queue: Queue) -> None:
    began = anyio.Event()

    async def stays(job: Job) -> None:
        began.set()
        await anyio.sleep_forever()

    await queue.add("1")
    async with queue.working(Work(stays)):
        await began.wait()
        with anyio.fail_after(5):
            await queue.queue.drain(0.01)


async def test_what_an_earlier_owner_held_is_done(queue: Queue) -> None:
    await queue.add("1")
    await queue.world.jobs.claim()
    work = Work()
    async with queue.working(work):
        await queue.until([])
    assert work.done == ["1"]


async def test_a_store_that_fails_for_a_while_loses_no_job(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STORE_WAIT_S", 0.01)

    class Flaky(StoredJobs):
        refusals = 4

        async def claim(self) -> Job | None:
            Flaky.refusals -= 1
            if Flaky.refusals > 0:
                raise OSError("the disk is full")
            return await super().claim()

    queue.queue = EmbeddedQueue(
        Flaky(queue.world.database, queue.world.clock), lambda message, error: queue.reports.append(message)
    )
    work = Work()
    await queue.add("1")
    async with queue.working(work):
        await queue.until([])
    assert work.done == ["1"]
    assert len(queue.reports) == 3


async def test_a_job_that_another_process_added_is_done_at_once(queue: Queue) -> None:
    changes, work = Wakeups(), Work()
    elsewhere = EmbeddedQueue(queue.world.jobs, lambda message, error: None, changes=changes)
    queue.queue = EmbeddedQueue(queue.world.jobs, lambda message, error: None, changes=changes)
    async with anyio.create_task_group() as group:
        group.start_soon(queue.queue.run, work)
        await anyio.wait_all_tasks_blocked()
        for n in range(3):
            await queue.add_quietly(f"{n}")
            elsewhere.wake()
            await queue.until([])
        await queue.queue.drain(5)  # and it ends, though it still listens
    assert work.done == ["0", "1", "2"]
