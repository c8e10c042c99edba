"""Bring a truth on PostgreSQL to the newest schema: the same migrations as on SQLite, in the same parts."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

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


def upgrade(url: str, *, contract: bool = False) -> list[str]:
    """Apply what the database lacks, and return it, oldest first; see `migrate.advance`. Of two at once each part
    is done by one.

    Reads files and waits: not for an event loop's thread. Raises: NewerDatabase, TooOld, Unavailable.
    """
    return asyncio.run(_upgrade(url, contract=contract))


def look(url: str) -> list[migrate.Migration]:
    """Return the migrations that the database lacks, oldest first. As `upgrade`."""
    return asyncio.run(_look(url))


def pending(url: str) -> list[str]:
    """Return what this release needs and the database lacks, oldest first. As `upgrade`."""
    return migrate.needed(look(url))


async def _upgrade(url: str, *, contract: bool) -> list[str]:
    applied: list[str] = []
    async with _opened(url) as connection:
        await _check_version(connection)
        while True:
            async with connection.begin():
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATING})"))
                part = await connection.run_sync(partial(migrate.advance, contract=contract))
            if part is None:
                return applied
            applied += part


async def _look(url: str) -> list[migrate.Migration]:
    async with _opened(url) as connection:
        await _check_version(connection)
        return await connection.run_sync(migrate.missing)


async def _check_version(connection: AsyncConnection) -> None:
    number = int((await connection.execute(text("SHOW server_version_num"))).scalar_one())
    if number < OLDEST * 10_000:
        raise TooOld(f"PostgreSQL {number // 10_000} is older than {OLDEST}")
    await connection.rollback()  # looking has begun a transaction


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
