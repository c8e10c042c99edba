"""An event log of one process on its own files, as a server opens it."""

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db import migrate
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.log.unwritten import HALF_BYTES
from chatbackend.usecases.follow_response import FROM_THE_START
from chatbackend.usecases.ports import EventLog, LogEvent, Report

END = "response.completed"
T = TypeVar("T")


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


def now() -> float:
    """Tell the time of these logs."""
    return 1_000.0


def numbered(first: int, count: int, *, ended: bool = False) -> list[LogEvent]:
    """Return events with these numbers."""
    kinds = [*["response.output_text.delta"] * (count - 1), END if ended else "response.output_text.delta"]
    return [LogEvent(number, kind, b"\xff%d" % number) for number, kind in enumerate(kinds, first)]


async def put(log: EventLog, first: int, count: int, *, ended: bool = False, name: str = "r", fence: int = 1) -> None:
    """Append events with these numbers."""
    events = numbered(first, count, ended=ended)
    await log.append(name, fence=fence, expected=first, events=events, ended=ended)


async def numbers(log: EventLog, after: int = FROM_THE_START, limit: int = 10_000, name: str = "r") -> list[int]:
    """Return the numbers that can be read."""
    return [event.number for event in await log.read(name, after=after, limit=limit)]


class Gate:
    """A database whose writes wait before their work while it is shut, or are refused."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self._open = threading.Event()
        self._open.set()
        self.refused = 0
        self.refuses = False

    def shut(self) -> None:
        """Have writes wait."""
        self._open.clear()

    def open(self) -> None:
        """Let writes go on."""
        self._open.set()

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, touching: Collection[str] | None = None) -> T:
        """See `Database.write`."""

        async def gated(tx: Transaction) -> T:
            assert self._open.wait(20)
            return await work(tx)

        if self.refuses:
            self.refused += 1
            raise Unavailable("full", code="storage_unavailable")
        return await self._inner.write(gated, touching=touching)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """See `Database.read`."""
        return await self._inner.read(work)


@asynccontextmanager
async def gated(
    folder: Path, *, half_bytes: int = 1 << 16, reports: list[str] | None = None
) -> AsyncGenerator[tuple[SqliteEventLog, Gate]]:
    """Open a log whose database can be shut."""
    said: list[str] = [] if reports is None else reports

    def report(message: str, error: BaseException) -> None:
        said.append(message)

    async with events_database(folder) as database:
        gate = Gate(database)
        async with log_on(gate, folder, now, half_bytes=half_bytes, report=report) as log:
            try:
                yield log, gate
            finally:
                gate.refuses = False
                gate.open()
