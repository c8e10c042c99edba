"""Where the truth lies: SQLite in the data folder, or the PostgreSQL of DATABASE_URL.

What speaks to PostgreSQL is imported where it is asked for: it makes every other start a fifth of a second longer.
"""

from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import anyio.to_thread

from chatbackend.bootstrap.releases import refuse_lacking
from chatbackend.config import BadSetting, Settings
from chatbackend.infra.db import migrate
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.system import AlreadyRunning, DataLock

if TYPE_CHECKING:
    from chatbackend.infra.db.move import Content, Moved


async def open_truth(settings: Settings, stack: AsyncExitStack) -> Database:
    """Open the truth, migrated; the data folder's lock is held. Raises: BadSetting."""
    url, path = settings.postgres(), settings.chatbackend_data_dir / "truth.db"
    if url is not None:
        from chatbackend.bootstrap import postgres  # noqa: PLC0415  # as said above

        return await postgres.open_truth(url, stack, shared=settings.redis() is not None)
    with _explained(settings):
        await anyio.to_thread.run_sync(migrate.migrate, path)
        refuse_lacking(await anyio.to_thread.run_sync(migrate.pending, path), f"in '{path.parent}'")
    return await stack.enter_async_context(SqliteDatabase(path, synchronous="FULL"))


@asynccontextmanager
async def beside(settings: Settings) -> AsyncGenerator[Database, None]:
    """Open the truth as it is, beside a running server or without one. Raises: BadSetting."""
    url = settings.postgres()
    if url is not None:
        from chatbackend.bootstrap import postgres  # noqa: PLC0415  # as said above

        async with postgres.beside(url) as database:
            yield database
    else:
        async with SqliteDatabase(settings.chatbackend_data_dir / "truth.db") as database:
            yield database


def pending(settings: Settings) -> list[str]:
    """Return the migrations that the truth lacks and this release needs. Raises: BadSetting."""
    return migrate.needed(_lacking(settings))


def migrate_or_check(settings: Settings, *, contract: bool = False) -> str:
    """Migrate the truth, or only look while a server runs on it; return what was done or found. Raises: BadSetting."""
    url = settings.postgres()
    if url is None:
        applied = _migrate_folder(settings, contract=contract)
    else:
        from chatbackend.bootstrap import postgres  # noqa: PLC0415  # as said above

        applied = postgres.migrate(url, contract=contract)
    lacking = _lacking(settings)
    names = ", ".join(migration.revision for migration in lacking)
    if applied is None:
        return f"A server is running; pending: {names or 'nothing'}."
    done = f"Applied: {', '.join(applied)}." if applied else "The database is up to date."
    if not lacking:
        return done
    return (
        f"{done} Left: {names}: 'chatbackend migrate --contract' applies it, once no older release is needed any more."
    )


def _lacking(settings: Settings) -> list[migrate.Migration]:
    url = settings.postgres()
    if url is not None:
        from chatbackend.bootstrap import postgres  # noqa: PLC0415  # as said above

        return postgres.lacking(url)
    with _explained(settings):
        return migrate.look(settings.chatbackend_data_dir / "truth.db")


async def move(settings: Settings, url: str, moved: "Moved") -> "dict[str, Content]":
    """Copy the data folder's truth into an empty PostgreSQL. Raises: BadSetting, AlreadyRunning."""
    from chatbackend.bootstrap import postgres  # noqa: PLC0415  # as said above

    return await postgres.move(settings, url, moved)


def _migrate_folder(settings: Settings, *, contract: bool) -> list[str] | None:
    folder = settings.chatbackend_data_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = DataLock(folder)
    try:
        lock.take()
    except AlreadyRunning:
        return None
    try:
        with _explained(settings):
            return migrate.migrate(folder / "truth.db", contract=contract)
    finally:
        lock.close()


@contextmanager
def _explained(settings: Settings) -> Generator[None]:
    try:
        yield
    except migrate.NewerDatabase as error:
        where = settings.chatbackend_data_dir
        message = f"The database in '{where}' lacks what a newer release took away ({error}). Start that release."
        raise BadSetting(message) from error
