"""Bring a truth on PostgreSQL to the newest schema: the same migrations as on SQLite, in one transaction."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from chatbackend.domain.errors import ChatError
from chatbackend.infra.db import migrate
from chatbackend.infra.db.postgres.errors import translated
from chatbackend.infra.db.postgres.links import connect

OLDEST = 15  # the major version that this is tested from
_MIGRATING = 0x63686174_6D696772  # the advisory lock of whoever migrates


class TooOld(Exception):
    """The server is of an older version than we know; the message says which."""


def upgrade(url: str) -> list[str]:
    """Apply every migration that the database lacks; return them, oldest first. Two at once: the second finds none.

    Reads files and waits: not for an event loop's thread. Raises: NewerDatabase, TooOld, Unavailable.
    """
    return asyncio.run(_upgrade(url))


def pending(url: str) -> list[str]:
    """Return the migrations that the database lacks, oldest first. As `upgrade`."""
    return asyncio.run(_pending(url))


async def _upgrade(url: str) -> list[str]:
    async with _opened(url) as connection, connection.begin():
        await _check_version(connection)
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATING})"))
        return await connection.run_sync(migrate.upgrade)


async def _pending(url: str) -> list[str]:
    async with _opened(url) as connection:
        await _check_version(connection)
        return await connection.run_sync(migrate.missing)


async def _check_version(connection: AsyncConnection) -> None:
    number = int((await connection.execute(text("SHOW server_version_num"))).scalar_one())
    if number < OLDEST * 10_000:
        raise TooOld(f"PostgreSQL {number // 10_000} is older than {OLDEST}")


@asynccontextmanager
async def _opened(url: str) -> AsyncGenerator[AsyncConnection, None]:
    async def open_() -> object:
        return await connect(url, unhurried=True)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=open_, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            yield connection
    except Exception as error:
        told = translated(error)
        if isinstance(told, ChatError):
            raise told from error
        raise
    finally:
        await engine.dispose()
