"""Jobs in the truth: added in the transaction of what they are for, claimed and finished by a worker."""

from typing import cast

from sqlalchemy import bindparam, delete, func, null, select, update

from chatbackend.domain.jobs import Job, JobKind
from chatbackend.infra.db.servers import may_judge, ownerless
from chatbackend.infra.db.tables.files import JOBS
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.ports import Clock

_ADD = adding(JOBS, omit=("failures", "deaths", "leased_at", "error", "fence")).returning(JOBS.c.id)
_DUE = (
    select(JOBS)
    .where(JOBS.c.state == "queued", JOBS.c.run_after <= bindparam("now"))
    .order_by(JOBS.c.run_after, JOBS.c.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_CLAIM = (
    update(JOBS)
    .where(JOBS.c.id == bindparam("id_"))
    .values(state="running", leased_at=bindparam("now_"), fence=bindparam("fence_"))
)
_HELD = (JOBS.c.id == bindparam("id_"), JOBS.c.state == "running", JOBS.c.fence == bindparam("fence_"))
_NEXT = select(func.min(JOBS.c.run_after).label("at")).where(JOBS.c.state == "queued")
_FINISH = delete(JOBS).where(JOBS.c.id == bindparam("id_"))
_FAIL = (
    update(JOBS)
    .where(*_HELD)
    .values(
        state=bindparam("state_"),
        failures=JOBS.c.failures + 1,
        run_after=bindparam("run_after_"),
        leased_at=null(),
        error=bindparam("error_"),
    )
)
_RELEASE = update(JOBS).where(*_HELD).values(state="queued", leased_at=null())
_RECLAIM = (
    update(JOBS)
    .where(JOBS.c.state == "running", ownerless(JOBS.c.fence), may_judge())
    .values(state="queued", leased_at=null(), deaths=JOBS.c.deaths + 1)
)


async def add(
    tx: Transaction, kind: JobKind, *, tenant: str, owner: str, subject: str, now: int, run_after: int = 0
) -> Job:
    """Add a job and return it. Times are in microseconds; by default it is due, whatever a clock will say."""
    row = {
        "tenant": tenant,
        "owner": owner,
        "kind": kind,
        "subject": subject,
        "state": "queued",
        "run_after": run_after,
        "created_at": now,
    }
    added = await tx.rows(_ADD, row)
    return Job(added[0]["id"], kind, tenant, owner, subject)


class StoredJobs:
    """What a worker does with stored jobs. Every method is one transaction.

    `fence` is its server's; `judge` as well where there are others, and 0 where it is alone.
    """

    def __init__(self, database: Database, clock: Clock, *, fence: int = 0, judge: int = 0) -> None:
        self._database = database
        self._clock = clock
        self._fence = fence
        self._judge = judge

    async def reclaim(self) -> int:
        """Take back what dead servers held; return how many."""

        async def work(tx: Transaction) -> int:
            return await tx.execute(_RECLAIM, {"judge": self._judge})

        return await self._database.write(work)

    async def claim(self) -> Job | None:
        """Lease the job that has been due longest, None when none is due."""
        now = self._micros()

        async def work(tx: Transaction) -> Job | None:
            row = await one(tx, _DUE, {"now": now})
            if row is None:
                return None
            await tx.execute(_CLAIM, {"id_": row["id"], "now_": now, "fence_": self._fence})
            return _job(row)

        return await self._database.write(work)

    async def next_due_s(self) -> float | None:
        """Return in how many seconds the next job is due (0: now), None when none is waiting."""

        async def work(tx: Transaction) -> int | None:
            row = await one(tx, _NEXT)
            return None if row is None else row["at"]

        at = await self._database.read(work)
        return None if at is None else max(0.0, (at - self._micros()) / MICROS)

    async def finish(self, job: Job) -> None:
        """Forget a job that is done."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_FINISH, {"id_": job.id})

        await self._database.write(work)

    async def release(self, job: Job) -> None:
        """Give a job back untried, for the next owner; one that was taken back is left to whoever has it."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_RELEASE, {"id_": job.id, "fence_": self._fence})

        await self._database.write(work)

    async def fail(self, job: Job, error: str, *, give_up: bool) -> None:
        """Note a failure: tried again after `job.retry_after_s`, or kept as `given_up` for the operators."""
        failed = {
            "id_": job.id,
            "fence_": self._fence,
            "state_": "given_up" if give_up else "queued",
            "run_after_": self._micros() + int(job.retry_after_s * MICROS),
            "error_": error.replace("\0", ""),  # whatever a parser said: PostgreSQL keeps no NUL
        }

        async def work(tx: Transaction) -> None:
            await tx.execute(_FAIL, failed)

        await self._database.write(work)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


def _job(row: Row) -> Job:
    kind = cast(JobKind, row["kind"])
    return Job(row["id"], kind, row["tenant"], row["owner"], row["subject"], row["failures"], row["deaths"])
