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

from chatbackend.bootstrap import truth
from chatbackend.bootstrap.models import configured
from chatbackend.config import BadSetting, Settings
from chatbackend.domain.identity import ApiKey
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.usage_totals import UsageTotals
from chatbackend.infra.embedding.minilm import absent
from chatbackend.infra.system import new_id
from chatbackend.infra.web.auth import hash_key
from chatbackend.infra.web.certificate import BadCertificate, Certificate

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
    if _absent(settings) or (settings.postgres() and await anyio.to_thread.run_sync(truth.pending, settings)):
        await anyio.to_thread.run_sync(truth.migrate_or_check, settings)
    async with truth.beside(settings) as database:
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
    if _absent(settings) or await anyio.to_thread.run_sync(truth.pending, settings):
        where = "the database of DATABASE_URL" if settings.postgres() else f"'{settings.chatbackend_data_dir}'"
        raise ValueError(
            f"There is no ledger of this release in {where}. Set CHATBACKEND_DATA_DIR, or run 'chatbackend migrate'."
        )
    async with truth.beside(settings) as database:
        yield UsageTotals(database)


def _absent(settings: Settings) -> bool:
    return settings.postgres() is None and not (settings.chatbackend_data_dir / "truth.db").exists()


def since(text: str, now: datetime) -> datetime:
    """Read a time back (`12h`, `7d`, `4w`) or a date or time, UTC unless it says. Raises: ValueError."""
    try:
        if back := _BACK.fullmatch(text):
            return now - timedelta(**{_UNITS[back[2]]: int(back[1])})
        given = datetime.fromisoformat(text)
        return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"--since is '{text}': use 12h, 7d or 4w, or a date such as 2026-11-30.") from error


def certificate(settings: Settings) -> Certificate | None:
    """Return what the server proves itself with, None where it serves without TLS. Raises: BadSetting."""
    chain, key = settings.chatbackend_tls_cert, settings.chatbackend_tls_key
    if chain is None:
        return None
    try:
        return Certificate(chain, key or chain)
    except BadCertificate as error:
        raise BadSetting(f"CHATBACKEND_TLS_CERT, CHATBACKEND_TLS_KEY: {error}.") from error


async def check(settings: Settings, tell: Callable[[str], None]) -> int:
    """Check every configured dependency, tell of each; return the number of problems. Calls no provider's model."""
    folder = settings.chatbackend_data_dir
    problems = 0
    if not await anyio.to_thread.run_sync(_writable, folder):
        problems += 1
        tell(f"data folder     FAIL  '{folder}' is not writable: mend its rights or set CHATBACKEND_DATA_DIR")
    else:
        tell(f"data folder     ok    {folder}")
    problems += await anyio.to_thread.run_sync(_check_certificate, settings, tell)
    problems += await _check_database(settings, tell)
    problems += await _check_redis(settings, tell)
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


def _check_certificate(settings: Settings, tell: Callable[[str], None]) -> bool:
    """Tell of the certificate, where one is set; return whether it is a problem."""
    try:
        found = certificate(settings)
        if found is not None:
            tell(f"certificate     ok    valid until {found.valid_until():%Y-%m-%d}")
    except (BadSetting, BadCertificate) as error:
        tell(f"certificate     FAIL  {str(error).removesuffix('.')}")
        return True
    return False


async def _check_database(settings: Settings, tell: Callable[[str], None]) -> bool:
    """Tell of the PostgreSQL, where one is set; return whether it is a problem."""
    if settings.postgres() is None:
        return False
    try:
        lacking = await anyio.to_thread.run_sync(truth.pending, settings)
    except BadSetting as error:
        tell(f"database        FAIL  {error}")
        return True
    tell(f"database        ok    PostgreSQL{'; the next start migrates it' if lacking else ''}")
    return False


async def _check_redis(settings: Settings, tell: Callable[[str], None]) -> bool:
    """Tell of the Redis, where one is set; return whether it is a problem."""
    url = settings.redis()
    if url is None:
        return False
    from chatbackend.bootstrap import redis  # noqa: PLC0415  # every other command starts faster without it

    try:
        mend = await redis.check(url)
    except BadSetting as error:
        mend = str(error)
    tell(f"redis           FAIL  {mend}" if mend else "redis           ok")
    return bool(mend)


def _writable(folder: Path) -> bool:
    return os.access(folder if folder.exists() else folder.absolute().parent, os.W_OK)
