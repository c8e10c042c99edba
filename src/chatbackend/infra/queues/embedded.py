"""The worker of this process: stored jobs, at least once, a few at a time, woken at once by a new one.

Jobs of dead servers are taken back: at the start, and whenever somebody calls `reclaim`.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio
from anyio.abc import TaskGroup

from chatbackend.domain.jobs import Job
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.ports import Report

T = TypeVar("T")
IDLE_S = 3600.0  # nothing wakes it but a job; this only bounds the wait
STORE_WAIT_S = 1.0  # after the store itself failed
GIVE_BACK_S = 5.0
NEW_JOB = "new"


class Hopeless(Exception):
    """Too many owners died with this job."""


class Work(Protocol):
    """What is done with a job."""

    async def __call__(self, job: Job) -> None:
        """Do it; an exception is a failure."""
        ...

    async def give_up(self, job: Job) -> None:
        """Show that it will not be done."""
        ...


class EmbeddedQueue:
    """`Jobs` and their worker. `run` works until it is cancelled; a job that was cut short is given back.

    `changes`, where other processes work on the same jobs: a new job wakes their workers, too. `idle_s`: how long it
    sleeps at most, where nobody wakes it.
    """

    def __init__(
        self,
        jobs: StoredJobs,
        report: Report,
        *,
        changes: Changes | None = None,
        workers: int = 2,
        idle_s: float = IDLE_S,
    ) -> None:
        self._jobs = jobs
        self._report = report
        self._changes = changes
        self._workers = workers
        self._idle_s = idle_s
        self._running = 0
        self._moved = anyio.Event()
        self._stopping = False

    async def finish(self, job: Job) -> None:
        """See `Jobs.finish`."""
        await self._jobs.finish(job)

    def wake(self) -> None:
        """See `Jobs.wake`."""
        self._look_again()
        if self._changes is not None:
            self._changes.wake(NEW_JOB)

    def _look_again(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    async def _hear(self, changes: Changes) -> None:
        while True:
            await changes.event(NEW_JOB).wait()
            self._look_again()

    async def reclaim(self) -> None:
        """Take back what dead servers had claimed."""
        if await self._jobs.reclaim():
            self._look_again()

    async def run(self, work: Work) -> None:
        """Take back what dead servers left, then work until cancelled or `drain`."""
        await self._patiently(self._jobs.reclaim)
        async with anyio.create_task_group() as listening:
            if self._changes is not None:
                listening.start_soon(self._hear, self._changes)
            async with anyio.create_task_group() as group:
                while not self._stopping:
                    moved = self._moved
                    wait_s = await self._patiently(lambda: self._fill(group, work))
                    with anyio.move_on_after(wait_s):
                        await moved.wait()
            listening.cancel_scope.cancel()

    async def drain(self, seconds: float) -> None:
        """Claim nothing more, and let running jobs end for `seconds`."""
        self._stopping = True
        self._look_again()
        with anyio.move_on_after(seconds):
            while self._running:
                await self._moved.wait()

    async def _fill(self, group: TaskGroup, work: Work) -> float:
        """Start what is due; return how long there will be nothing more to start."""
        while self._running < self._workers:
            job = await self._claim()
            if job is None:
                due_s = await self._jobs.next_due_s()
                return self._idle_s if due_s is None else min(due_s, self._idle_s)
            self._running += 1
            group.start_soon(self._do, job, work, name=f"{job.kind} {job.subject}")
        return math.inf  # the end of a running job wakes this

    async def _claim(self) -> Job | None:
        with anyio.CancelScope(shield=True):  # a claim that is committed must be known here
            return await self._jobs.claim()
        raise AssertionError("a shielded scope swallows nothing")

    async def _do(self, job: Job, work: Work) -> None:
        try:
            await self._tried(job, work)
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(GIVE_BACK_S, shield=True):
                await self._jobs.release(job)
            raise
        finally:
            self._running -= 1
            self._look_again()

    async def _tried(self, job: Job, work: Work) -> None:
        try:
            if job.hopeless:
                raise Hopeless
            await work(job)
        except Exception as error:  # the edge of a job: tried again, and seen
            self._report(f"a job failed: {job.kind} {job.subject}", error)
            why = f"{type(error).__name__}: {error}"[:500]
            await self._patiently(lambda: self._failed(job, work, why))
        else:
            await self._patiently(lambda: self._jobs.finish(job))

    async def _failed(self, job: Job, work: Work, why: str) -> None:
        give_up = job.last_try or job.hopeless
        if give_up:
            await work.give_up(job)
        await self._jobs.fail(job, why, give_up=give_up)

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do what needs the store until the store takes it."""
        while True:
            try:
                return await step()
            except Exception as error:  # the disk is full, say: it is seen, and tried again
                self._report("the job queue cannot reach its store", error)
            await anyio.sleep(STORE_WAIT_S)
