"""A gate inside a database's work: the work stands still there, its transaction open, until a test opens it."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from typing import Protocol

import anyio
from sqlalchemy import text

from chatbackend.infra.db.postgres.links import Connection, connect
from chatbackend.infra.db.transaction import Transaction

_numbers = count(1)
_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8::oid AND NOT granted"


class Gate(Protocol):
    """One gate."""

    async def wait(self, tx: Transaction) -> None:
        """Stand still; called by the work."""
        ...

    async def reached(self) -> None:
        """Wait until the work stands at the gate; called by the test."""
        ...

    async def open(self) -> None:
        """Let the work go on, this one and later ones."""
        ...


class SqliteGate:
    """Stops the thread that runs the work."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reached = anyio.Event()
        self._go_on = threading.Event()

    async def wait(self, tx: Transaction) -> None:  # the other gate needs it
        """See `Gate.wait`."""
        self._loop.call_soon_threadsafe(self._reached.set)
        assert self._go_on.wait(20)

    async def reached(self) -> None:
        """See `Gate.reached`."""
        await self._reached.wait()

    async def open(self) -> None:
        """See `Gate.open`."""
        self._go_on.set()


class PostgresGate:
    """Stops the server's session by a lock that another session holds."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._number = next(_numbers)
        self._statement = text(f"SELECT 1 FROM (SELECT pg_advisory_xact_lock_shared({self._number})) AS held")  # noqa: S608  # a number of ours

    async def close_it(self) -> None:
        """Take the lock."""
        await self._connection.execute(f"SELECT pg_advisory_lock({self._number})")

    async def wait(self, tx: Transaction) -> None:
        """See `Gate.wait`."""
        await tx.rows(self._statement)

    async def reached(self, count: int = 1) -> None:
        """See `Gate.reached`; `count` works must stand there."""
        with anyio.fail_after(20):
            while await self._connection.fetchval(_WAITING, self._number) < count:  # noqa: ASYNC110  # another process tells nobody
                await anyio.sleep(0.005)

    async def open(self) -> None:
        """See `Gate.open`."""
        await self._connection.execute("SELECT pg_advisory_unlock_all()")


@asynccontextmanager
async def postgres_gate(url: str) -> AsyncGenerator[PostgresGate, None]:
    """Make a gate for databases at `url`."""
    connection = await connect(url)
    gate = PostgresGate(connection)
    await gate.close_it()
    try:
        yield gate
    finally:
        await connection.close()


@asynccontextmanager
async def sqlite_gate() -> AsyncGenerator[SqliteGate, None]:
    """Make a gate."""
    gate = SqliteGate()
    try:
        yield gate
    finally:
        await gate.open()
