"""The truth on PostgreSQL, as the settings ask for it."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import anyio
import anyio.to_thread

from chatbackend.config import BadSetting
from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.migrate import NewerDatabase
from chatbackend.infra.db.postgres import PostgresDatabase, schema
from chatbackend.infra.db.postgres.owner import Owner, Taken
from chatbackend.infra.system import report


async def open_truth(url: str, stack: AsyncExitStack) -> PostgresDatabase:
    """Open the database for the one server on it, migrated. Raises: BadSetting."""
    with explained():
        owner = Owner(url, report, prepare=lambda: anyio.to_thread.run_sync(schema.upgrade, url))
        await stack.enter_async_context(owner)
    return await stack.enter_async_context(PostgresDatabase(url, allowed=owner.check))


@asynccontextmanager
async def beside(url: str) -> AsyncGenerator[PostgresDatabase, None]:
    """Open the database as it is, beside a running server or without one. Raises: BadSetting."""
    with explained():
        async with PostgresDatabase(url, writers=1, readers=1) as database:
            yield database


def pending(url: str) -> list[str]:
    """Return the migrations that the database lacks. Raises: BadSetting."""
    with explained():
        return schema.pending(url)


def migrate(url: str) -> list[str] | None:
    """Apply and return what the database lacks, None while a server runs on it. Raises: BadSetting."""
    with explained():
        return anyio.run(_migrate, url)


async def _migrate(url: str) -> list[str] | None:
    applied: list[str] = []

    async def prepare() -> None:
        applied.extend(await anyio.to_thread.run_sync(schema.upgrade, url))

    try:
        async with Owner(url, report, prepare=prepare):
            return applied
    except Taken:
        return None


@contextmanager
def explained() -> Generator[None]:
    """Turn what keeps the database from being used into the one line to show. Raises: BadSetting."""
    try:
        yield
    except Taken as error:
        message = "DATABASE_URL: another server is running on this database. Stop it, or name another database."
        raise BadSetting(message) from error
    except NewerDatabase as error:
        message = f"DATABASE_URL: the database was migrated by a newer release (to {error}). Start that release."
        raise BadSetting(message) from error
    except schema.TooOld as error:
        raise BadSetting(f"DATABASE_URL: {error}.") from error
    except Unavailable as error:
        why = str(error.__cause__ or error).partition("\n")[0]
        raise BadSetting(f"DATABASE_URL: the database cannot be used ({why}).") from error
