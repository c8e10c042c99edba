"""A lossless move of the truth: every table of a SQLite file into an empty, migrated PostgreSQL.

Rows go in the order of their keys, which is the same on both sides since texts are compared bytewise. What was written
is read back in that order, and each table must give the same digest on both sides before anything is committed.
"""

import hashlib
import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
from sqlalchemy import Table, func, select
from sqlalchemy.dialects import postgresql, sqlite

from chatbackend.infra.db.postgres.links import Connection, connect
from chatbackend.infra.db.tables import METADATA

BATCH = 1_000
_encode = msgspec.msgpack.Encoder().encode
_SQLITE = sqlite.dialect()
_POSTGRES = postgresql.dialect()
_FORGET_MIGRATING = "DELETE FROM facts WHERE name LIKE 'backfill %' OR name = 'contracted'"  # the source has its own
Moved = Callable[[str, int, int], None]  # table, rows so far, rows in all


class NotEmpty(Exception):
    """The target holds rows already; the message names the table."""


class Differs(Exception):
    """What was written is not what was read; the message names the table. Nothing was committed."""


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows a table has, and the digest of them all."""

    rows: int
    digest: str


class _Digest:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._rows = 0

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._hash.update(_encode(tuple(row)))
        self._rows += len(rows)

    def content(self) -> Content:
        return Content(self._rows, self._hash.hexdigest())


async def move(path: Path, url: str, moved: Moved) -> dict[str, Content]:
    """Copy the truth at `path` and return what each table holds; the source is only read.

    Nobody may write to either meanwhile, and both must have the newest schema. All or nothing: one transaction.
    Raises: NotEmpty, Differs.
    """
    async with _session(url) as connection:
        await connection.execute("BEGIN")
        await _check_empty(connection)
        found = {table.name: await _copy(path, connection, table, moved) for table in METADATA.sorted_tables}
        for table in METADATA.sorted_tables:
            if await _read_back(connection, table) != found[table.name]:
                raise Differs(table.name)
            await _advance(connection, table)
        await connection.execute("COMMIT")
    return found


@asynccontextmanager
async def _session(url: str) -> AsyncGenerator[Connection, None]:
    """Open a connection; one that is closed without a COMMIT leaves nothing."""
    connection = await connect(url, unhurried=True)
    try:
        yield connection
    finally:
        connection.terminate()


async def _check_empty(connection: Connection) -> None:
    await connection.execute(_FORGET_MIGRATING)
    for table in METADATA.sorted_tables:
        await connection.execute(f'LOCK TABLE "{table.name}"')
        if await connection.fetchval(f'SELECT EXISTS (SELECT FROM "{table.name}")'):  # noqa: S608  # our own names
            raise NotEmpty(table.name)


async def _copy(path: Path, connection: Connection, table: Table, moved: Moved) -> Content:
    columns = [column.name for column in table.columns]
    digest = _Digest()
    rows = _batches(path, table)
    total = await anyio.to_thread.run_sync(_count, path, table)
    moved(table.name, 0, total)
    while batch := await anyio.to_thread.run_sync(next, rows, None):
        digest.add(batch)
        await connection.copy_records_to_table(table.name, records=batch, columns=columns)
        moved(table.name, digest.content().rows, total)
    return digest.content()


def _batches(path: Path, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    statement = str(select(*table.columns).order_by(*table.primary_key.columns).compile(dialect=_SQLITE))
    with closing(_readable(path)) as connection:
        cursor = connection.execute(statement)
        while batch := cursor.fetchmany(BATCH):
            yield batch


def _count(path: Path, table: Table) -> int:
    with closing(_readable(path)) as connection:
        return connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0]  # noqa: S608  # our own names


def _readable(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)


async def _read_back(connection: Connection, table: Table) -> Content:
    """Read a table in batches, in the order of its key."""
    statement = select(*table.columns).order_by(*table.primary_key.columns).compile(dialect=_POSTGRES)
    digest = _Digest()
    cursor = f"moved_{table.name}"  # a name of its own: asyncpg knows statements, and what they return, by their text
    await connection.execute(f"DECLARE {cursor} NO SCROLL CURSOR FOR {statement}")
    while rows := await connection.fetch(f"FETCH {BATCH} FROM {cursor}"):
        digest.add([tuple(row.values()) for row in rows])
    await connection.execute(f"CLOSE {cursor}")
    return digest.content()


async def _advance(connection: Connection, table: Table) -> None:
    """Let numbers that the database gives go on behind those that are taken."""
    for column in table.primary_key.columns:
        if column.autoincrement is True:
            highest = f"({select(func.max(column)).compile(dialect=_POSTGRES)})"
            sequence = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
            given = f"{sequence}, coalesce({highest}, 1), {highest} IS NOT NULL"
            await connection.execute(f"SELECT setval({given})")
