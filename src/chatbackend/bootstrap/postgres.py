"""The truth on PostgreSQL, as the settings ask for it."""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import asyncpg

from chatbackend.bootstrap.releases import refuse_lacking
from chatbackend.bootstrap.spools import open_spool
from chatbackend.config import BadSetting, Settings
from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db import move as mover
from chatbackend.infra.db.migrate import Migration, NewerDatabase
from chatbackend.infra.db.migrate import look as look_here
from chatbackend.infra.db.move import Content, Moved
from chatbackend.infra.db.postgres import PostgresDatabase, schema
from chatbackend.infra.db.postgres.owner import Owner, Taken
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.system import DataLock, report


async def open_truth(url: str, stack: AsyncExitStack, *, shared: bool) -> PostgresDatabase:
    """Open the database, migrated, for the one server on it, or for one of those that share it. Raises: BadSetting."""
    with explained():
        owner = Owner(url, report, prepare=lambda: anyio.to_thread.run_sync(schema.upgrade, url), shared=shared)
        await stack.enter_async_context(owner)
        refuse_lacking(await anyio.to_thread.run_sync(schema.pending, url), "of DATABASE_URL")
    return await stack.enter_async_context(PostgresDatabase(url, allowed=None if shared else owner.check))


async def open_for_leases(url: str, stack: AsyncExitStack) -> PostgresDatabase:
    """Open the database once more, so that no heartbeat waits behind other writes."""
    return await stack.enter_async_context(PostgresDatabase(url, writers=1, readers=1))


@asynccontextmanager
async def beside(url: str) -> AsyncGenerator[PostgresDatabase, None]:
    """Open the database as it is, beside a running server or without one. Raises: BadSetting."""
    with explained():
        async with PostgresDatabase(url, writers=1, readers=1) as database:
            yield database


def lacking(url: str) -> list[Migration]:
    """Return the migrations that the database lacks. Raises: BadSetting."""
    with explained():
        return schema.look(url)


def migrate(url: str, *, contract: bool) -> list[str] | None:
    """Apply and return what the database lacks, None while a server runs on it. Raises: BadSetting."""
    with explained():
        return anyio.run(partial(_migrate, url, contract=contract))


async def _migrate(url: str, *, contract: bool) -> list[str] | None:
    applied: list[str] = []

    async def prepare() -> None:
        applied.extend(await anyio.to_thread.run_sync(partial(schema.upgrade, url, contract=contract)))

    try:
        async with Owner(url, report, prepare=prepare):
            return applied
    except Taken:
        return None


async def move(settings: Settings, url: str, moved: Moved) -> dict[str, Content]:
    """Copy the folder's truth into an empty database; the source is left as it is. Raises: BadSetting, AlreadyRunning.

    The lock of the folder and that of the database are held: nobody writes to either meanwhile.
    """
    path, lock = settings.chatbackend_data_dir / "truth.db", DataLock(settings.chatbackend_data_dir)
    if not path.exists():
        raise BadSetting(f"CHATBACKEND_DATA_DIR is '{path.parent}', which holds no database to move.")
    lock.take()
    try:
        if await anyio.to_thread.run_sync(look_here, path):
            message = (
                f"The database in '{path.parent}' is of an older release: run 'chatbackend migrate --contract' first."
            )
            raise BadSetting(message)
        await _finish_books(path)
        with explained():
            return await _move(path, url, moved)
    finally:
        lock.close()


async def _finish_books(path: Path) -> None:
    """Write down what a server that was killed had in its spool."""
    async with AsyncExitStack() as stack:
        truth = await stack.enter_async_context(SqliteDatabase(path))
        await open_spool(path.parent, truth, stack)


async def _move(path: Path, url: str, moved: Moved) -> dict[str, Content]:
    try:
        async with Owner(url, report, prepare=lambda: anyio.to_thread.run_sync(schema.upgrade, url)) as owner:
            await owner.unsign()
            return await mover.move(path, url, moved)
    except mover.NotEmpty as error:
        raise BadSetting(f"DATABASE_URL: the database is not empty (table {error}). Name an empty one.") from error
    except mover.Differs as error:
        message = f"DATABASE_URL: table {error} came out different. Nothing was moved; please report this."
        raise BadSetting(message) from error
    except asyncpg.PostgresError as error:  # a NUL character, say, which SQLite keeps
        raise BadSetting(f"DATABASE_URL: nothing was moved: {error}.") from error


@contextmanager
def explained() -> Generator[None]:
    """Turn what keeps the database from being used into the one line to show. Raises: BadSetting."""
    try:
        yield
    except Taken as error:
        message = (
            "DATABASE_URL: another server is running on this database, and servers share one only if REDIS_URL is set "
            "for each. Stop it, or name another database."
        )
        raise BadSetting(message) from error
    except NewerDatabase as error:
        message = f"DATABASE_URL: the database lacks what a newer release took away ({error}). Start that release."
        raise BadSetting(message) from error
    except schema.TooOld as error:
        raise BadSetting(f"DATABASE_URL: {error}.") from error
    except Unavailable as error:
        why = str(error.__cause__ or error).partition("\n")[0]
        raise BadSetting(f"DATABASE_URL: the database cannot be used ({why}).") from error
