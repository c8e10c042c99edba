"""Migrated truths, on SQLite and on PostgreSQL, for tests that must hold on both."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio.to_thread

from chatbackend.infra.db import migrate
from chatbackend.infra.db.postgres import PostgresDatabase
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database
from tests.support import postgres

Kind = Literal["sqlite", "postgres"]
KINDS: tuple[Kind, ...] = ("sqlite", "postgres")


def truth(kind: Kind, folder: Path) -> AbstractAsyncContextManager[Database]:
    """Make, migrate and open a truth; the test is skipped where there is no PostgreSQL."""
    return _sqlite(folder) if kind == "sqlite" else _postgres()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncGenerator[Database, None]:
    path = folder / "truth.db"
    await anyio.to_thread.run_sync(migrate.migrate, path)
    async with SqliteDatabase(path, synchronous="NORMAL") as database:
        yield database


@asynccontextmanager
async def _postgres() -> AsyncGenerator[Database, None]:
    async with postgres.migrated() as url, PostgresDatabase(url) as database:
        yield database
