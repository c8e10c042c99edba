"""An event log of one process on its own files, as a server opens it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from chatbackend.infra.db import migrate
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.log.unwritten import HALF_BYTES
from chatbackend.usecases.ports import Report


def unreported(message: str, error: BaseException) -> None:
    """Fail: nothing is to be reported."""
    raise AssertionError(message) from error


@asynccontextmanager
async def events_database(folder: Path) -> AsyncGenerator[SqliteDatabase, None]:
    """Open the database of a log's events."""
    await anyio.to_thread.run_sync(migrate.make_event_log, folder / "events.db")
    async with SqliteDatabase(folder / "events.db", synchronous="NORMAL") as opened:
        yield opened


@asynccontextmanager
async def log_on(
    database: Database,
    folder: Path,
    now: Callable[[], float],
    *,
    half_bytes: int = HALF_BYTES,
    report: Report = unreported,
) -> AsyncGenerator[SqliteEventLog, None]:
    """Open a log on a database that may be anything."""
    spool = Spool(folder / "events.spool", half_bytes)
    await anyio.to_thread.run_sync(spool.open)
    try:
        async with SqliteEventLog(database, spool, now, report) as log:
            yield log
    finally:
        spool.close()


@asynccontextmanager
async def event_log(folder: Path, now: Callable[[], float]) -> AsyncGenerator[SqliteEventLog, None]:
    """Open a log on its files."""
    async with events_database(folder) as database, log_on(database, folder, now) as log:
        yield log
