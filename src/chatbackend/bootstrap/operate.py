"""What the command line does beside a server: keys, usage, migrations, a check-up."""

import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from chatbackend.bootstrap.models import configured
from chatbackend.config import Settings
from chatbackend.domain.identity import ApiKey
from chatbackend.infra.db import migrate
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.usage_totals import UsageTotals
from chatbackend.infra.embedding.minilm import absent
from chatbackend.infra.system import AlreadyRunning, DataLock, new_id
from chatbackend.infra.web.auth import hash_key

TENANT = "default"
_BACK = re.compile(r"(\d+)([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def new_key() -> str:
    """Return a fresh API key: 256 random bits."""
    return f"sk-cb-{secrets.token_urlsafe(32)}"


@asynccontextmanager
async def keys(settings: Settings) -> AsyncGenerator[Keys, None]:
    """Open the key store, beside a running server or without one."""
    path = settings.chatbackend_data_dir / "truth.db"
    if not path.exists():
        migrate_or_check(settings)
    async with SqliteDatabase(path) as database:
        yield Keys(database)


async def create_key(store: Keys, *, account: str, name: str) -> str:
    """Make a key of a service account and return its secret. Raises: ValueError for a bad account name."""
    if not _ACCOUNT.fullmatch(account):
        raise ValueError("An account name has 1 to 64 letters, digits, '.', '_' or '-'.")
    token = new_key()
    await store.add(ApiKey(new_id("key"), TENANT, account, name, int(time.time())), hash_key(token))
    return token


async def revoke_key(store: Keys, key_id: str) -> bool:
    """Revoke a key; False when there is no active one of that id."""
    return await store.revoke(key_id, at=int(time.time()))


@asynccontextmanager
async def usage(settings: Settings) -> AsyncGenerator[UsageTotals, None]:
    """Open the ledger to be read, beside a running server or without one. Raises: ValueError when there is none."""
    path = settings.chatbackend_data_dir / "truth.db"
    if not path.exists() or await anyio.to_thread.run_sync(migrate.pending, path):
        raise ValueError(
            f"There is no ledger of this release in '{path.parent}'. "
            "Set CHATBACKEND_DATA_DIR, or run 'chatbackend migrate'."
        )
    async with SqliteDatabase(path) as database:
        yield UsageTotals(database)


def since(text: str, now: datetime) -> datetime:
    """Read a time back (`12h`, `7d`, `4w`) or a date or time, UTC unless it says. Raises: ValueError."""
    try:
        if back := _BACK.fullmatch(text):
            return now - timedelta(**{_UNITS[back[2]]: int(back[1])})
        given = datetime.fromisoformat(text)
        return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"--since is '{text}': use 12h, 7d or 4w, or a date such as 2026-11-30.") from error


def migrate_or_check(settings: Settings) -> str:
    """Migrate the truth, or only look while a server runs on it; return what was done or found."""
    folder = settings.chatbackend_data_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock, path = DataLock(folder), folder / "truth.db"
    try:
        lock.take()
    except AlreadyRunning:
        missing = migrate.pending(path)
        return f"A server is running; pending: {', '.join(missing) or 'nothing'}."
    try:
        missing = migrate.pending(path)
        migrate.migrate(path)
        return f"Applied: {', '.join(missing)}." if missing else "The database is up to date."
    finally:
        lock.close()


async def check(settings: Settings, tell: Callable[[str], None]) -> int:
    """Check every configured dependency, tell of each; return the number of problems. Calls no provider's model."""
    folder = settings.chatbackend_data_dir
    problems = 0
    if not await anyio.to_thread.run_sync(_writable, folder):
        problems += 1
        tell(f"data folder     FAIL  '{folder}' is not writable: mend its rights or set CHATBACKEND_DATA_DIR")
    else:
        tell(f"data folder     ok    {folder}")
    missing = await anyio.to_thread.run_sync(absent)
    problems += missing is not None
    tell(
        "embedder        ok"
        if missing is None
        else f"embedder        FAIL  {missing}; without it words alone are searched"
    )
    for family in configured(settings):
        endpoint = settings.endpoint(family.variable) or ""
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            with anyio.fail_after(5):
                stream = await anyio.connect_tcp(parts.hostname or "", port)
                await stream.aclose()
            tell(f"{family.name:<15} ok    {endpoint}")
        except (OSError, TimeoutError):
            problems += 1
            tell(f"{family.name:<15} FAIL  nothing answers at {endpoint}: check {family.variable}_ENDPOINT")
    return problems


def _writable(folder: Path) -> bool:
    return os.access(folder if folder.exists() else folder.absolute().parent, os.W_OK)
