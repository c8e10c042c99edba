"""One server on one database: a lock that is held as long as the process lives, and taken again after an outage.

What a server keeps in memory (whose turn it is, which responses run here) is true only while no other server writes.
Servers that are made to share a database take the lock together, so that one that is not stays out. They go on while
they lack it: what protects them from each other are fences.
The lock is a session's, so the database itself lets go of it when the process dies, however it dies.
Source: https://www.postgresql.org/docs/15/explicit-locking.html#ADVISORY-LOCKS
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4

import anyio
import asyncpg

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.postgres.database import WRITING
from chatbackend.infra.db.postgres.errors import LOST, translated
from chatbackend.infra.db.postgres.links import Connection, connect
from chatbackend.usecases.ports import Report

OWNING = 0x63686174_6F776E72  # the advisory lock of the one server
TAKE_S = 5.0  # a server that was killed a moment ago may still be let go of
BEAT_S = 5.0
AGAIN_S = 0.5
_SIGN = "INSERT INTO facts (name, value) VALUES ('owner', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_SIGNED = "SELECT value FROM facts WHERE name = 'owner'"
_FAILURES = (*LOST, asyncpg.PostgresError)


class Taken(Exception):
    """Another server holds the database."""


class Owner:
    """The lease of a database. Enter it before the first write; it is given back when left.

    `check` raises while the lease is not held; `PostgresDatabase` asks it before every write of a server alone.
    `shared`: others may have it too.
    """

    def __init__(
        self, url: str, report: Report, *, prepare: Callable[[], Awaitable[object]], shared: bool = False
    ) -> None:
        self._url = url
        self._report = report
        self._shared = shared
        self._prepare = prepare  # bring the schema up to date: under the lock, before anything is written
        self._name = uuid4().hex  # what this process leaves in the database, to see whether another came in between
        self._connection: Connection | None = None
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Owner":
        try:
            self._connection = connection = await self._first()
            if not self._shared:
                # The writers of a server that was killed end by themselves; what they commit until then must be seen.
                await connection.execute(f"SELECT pg_advisory_lock({WRITING})")
                await connection.execute(f"SELECT pg_advisory_unlock({WRITING})")
            await self._prepare()
            await connection.execute(_SIGN, self._name)
        except _FAILURES as error:
            raise translated(error) from error
        self._keeper = asyncio.create_task(self._keep(), name="owner of the database")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._connection is not None:
            self._connection.terminate()

    def check(self) -> None:
        """Raise Unavailable while this process may not write."""
        if self._connection is None or self._lost.is_set():
            raise Unavailable("The database cannot be used now.", code="storage_unavailable")

    async def unsign(self) -> None:
        """Leave no trace in the database: what is moved into it must be all that it holds."""
        if self._connection is not None:
            await self._connection.execute("DELETE FROM facts WHERE name = 'owner'")

    async def _first(self) -> Connection:
        for _ in range(int(TAKE_S / AGAIN_S)):
            connection = await self._take()
            if connection is not None:
                return connection
            await anyio.sleep(AGAIN_S)
        raise Taken

    async def _take(self) -> Connection | None:
        """Return a connection that holds the lock, None where another one has it."""
        connection = await connect(self._url)
        try:
            taken = await connection.fetchval(f"SELECT pg_try_advisory_lock{'_shared' * self._shared}({OWNING})")
        except BaseException:
            connection.terminate()
            raise
        if not taken:
            connection.terminate()
            return None
        connection.add_termination_listener(lambda _: self._lost.set())
        return connection

    async def _keep(self) -> None:
        """Notice when the lock is lost, and take it again, unless another server has had it meanwhile."""
        while True:
            with anyio.move_on_after(BEAT_S):
                await self._lost.wait()
            try:
                with anyio.fail_after(BEAT_S):
                    await (self._again() if self._lost.is_set() else self._beat())
            except Taken as error:
                self._report("another server has used the database meanwhile: this one writes no more", error)
                return
            except _FAILURES:
                self._lost.set()
                await anyio.sleep(AGAIN_S)

    async def _beat(self) -> None:
        if self._connection is not None:
            await self._connection.execute("SELECT 1")

    async def _again(self) -> None:
        connection = await self._take()
        if connection is None:  # another server, or our own session that the database has not missed yet
            await anyio.sleep(AGAIN_S)
            return
        if not self._shared and await connection.fetchval(_SIGNED) != self._name:
            connection.terminate()
            raise Taken
        old, self._connection = self._connection, connection
        if old is not None:
            old.terminate()
        self._lost.clear()
