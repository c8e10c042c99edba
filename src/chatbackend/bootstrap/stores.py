"""The stores that a server writes to under its fence, alone or among others, and how these tell each other what moved.

What speaks to Redis is imported where it is asked for, as what speaks to PostgreSQL.
"""

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.to_thread

from chatbackend.bootstrap.spools import spool_at
from chatbackend.bootstrap.truth import open_truth
from chatbackend.config import BadSetting, Settings
from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db import facts, migrate
from chatbackend.infra.db.servers import LEASE_S, Servers
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.log.unwritten import HALF_BYTES
from chatbackend.infra.log.wakeups import LocalSignals
from chatbackend.infra.system import DataLock, SystemClock, boot_id, report
from chatbackend.usecases.ports import LastingLog
from chatbackend.usecases.replica_ports import Signals

LEAVE_S = 2.0  # to tell the others that they need not wait for the lease


@dataclass(frozen=True, slots=True)
class Stores:
    """Open stores. `fence` is what this server writes under, and `log_name` the log's identity when it was drawn.

    `signals` say what has moved. `local_log`: the log, where it is this server's own. Without it others share all.
    """

    truth: Database
    log: LastingLog
    servers: Servers
    fence: int
    log_name: str
    signals: Signals
    local_log: SqliteEventLog | None

    @property
    def alone(self) -> bool:
        """Whether no other server may write to these stores."""
        return self.local_log is not None

    @property
    def judge(self) -> int:
        """The fence by which this server judges whether others are dead, 0 where it is alone."""
        return 0 if self.alone else self.fence


async def open_stores(settings: Settings, stack: AsyncExitStack, clock: SystemClock) -> Stores:
    """Take the data folder and open everything. Raises: AlreadyRunning, BadSetting."""
    redis = settings.redis()
    await anyio.to_thread.run_sync(_take_folder, settings, stack)
    truth = await open_truth(settings, stack)
    if redis is not None:
        return await _shared(settings, truth, stack)
    log = await _local_log(settings.chatbackend_data_dir, clock, stack)
    servers = Servers(truth, uuid4().hex, lease_s=0)  # nobody else judges whether it lives: the lock does
    if await servers.others_live():
        raise BadSetting(
            "DATABASE_URL: servers with REDIS_URL are running on this database, or were until 15 s ago. "
            "Stop them, or set REDIS_URL."
        )
    name = await log.identity()
    return Stores(truth, log, servers, await servers.draw(name), name, LocalSignals(), log)


async def _local_log(folder: Path, clock: SystemClock, stack: AsyncExitStack) -> SqliteEventLog:
    database = await stack.enter_async_context(SqliteDatabase(folder / "events.db", synchronous="NORMAL"))
    spool = await spool_at(folder / "events.spool", stack, HALF_BYTES)
    boot = await anyio.to_thread.run_sync(boot_id)
    return await stack.enter_async_context(SqliteEventLog(database, spool, clock.now, report, boot=boot))


async def _shared(settings: Settings, truth: Database, stack: AsyncExitStack) -> Stores:
    """Open what a server among others needs beside the truth; the others are told when it leaves."""
    from chatbackend.bootstrap import postgres, redis  # noqa: PLC0415  # as said above

    prefix = await facts.kept(truth, "log", f"cb{secrets.token_hex(6)}")  # other installations may be in this Redis
    log, signals = await redis.open_log(settings.redis() or "", prefix, stack)
    for_leases = await postgres.open_for_leases(settings.postgres() or "", stack)
    servers, name = Servers(for_leases, uuid4().hex, lease_s=LEASE_S), await log.identity()
    fence = await servers.draw(name)

    async def leave() -> None:
        with anyio.move_on_after(LEAVE_S, shield=True):
            try:
                await servers.leave()
            except Unavailable:
                return  # they will see the lease run out

    stack.push_async_callback(leave)
    return Stores(truth, log, servers, fence, name, signals, None)


def _take_folder(settings: Settings, stack: AsyncExitStack) -> None:
    folder, shared = settings.chatbackend_data_dir, settings.redis() is not None
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = DataLock(folder)
    lock.take(shared=shared)
    stack.callback(lock.close)
    if not shared:
        migrate.make_event_log(folder / "events.db")
