"""Which commits of SQLite wait for the disk: all but those that say they need not."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from sqlalchemy import text

from chatbackend.infra.db.sqlite import SqliteDatabase, Unflushed
from chatbackend.infra.db.transaction import Transaction, one

pytestmark = pytest.mark.anyio
ADD, COUNT = text("INSERT INTO notes VALUES (1)"), text("SELECT count(*) AS count FROM notes")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what every connection that is opened from now on is told."""
    told: list[str] = []
    connect = sqlite3.connect

    def tracing(*arguments: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401  # as the library takes them
        connection = connect(*arguments, **options)
        connection.set_trace_callback(told.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", tracing)
    return told


def modes(said: list[str]) -> list[str]:
    """Return the mode of each commit."""
    mode, found = "", list[str]()
    for statement in said:
        if statement.startswith("PRAGMA synchronous="):
            mode = statement.partition("=")[2]
        elif statement == "COMMIT":
            found.append(mode)
    return found


async def made(folder: Path) -> Path:
    """Return a database with a table."""

    def make() -> None:
        with contextlib.closing(sqlite3.connect(folder / "notes.db")) as connection:
            connection.execute("CREATE TABLE notes (body)")

    await anyio.to_thread.run_sync(make)
    return folder / "notes.db"


async def add(tx: Transaction) -> None:
    await tx.execute(ADD)


async def test_only_what_may_be_lost_with_the_power_does_not_wait_for_the_disk(tmp_path: Path, said: list[str]) -> None:
    path = await made(tmp_path)
    async with SqliteDatabase(path, synchronous="FULL") as database:
        hasty = Unflushed(database)
        said.clear()
        said.append("PRAGMA synchronous=FULL")  # as it was opened
        await database.write(add)
        await hasty.write(add)
        await hasty.write(add)
        await database.write(add)
        assert modes(said) == ["FULL", "NORMAL", "NORMAL", "FULL"]
        row = await hasty.read(lambda tx: one(tx, COUNT))
        assert row is not None
        assert row["count"] == 4


async def test_who_shares_a_commit_with_a_write_that_must_last_waits_with_it(tmp_path: Path, said: list[str]) -> None:
    path = await made(tmp_path)
    async with SqliteDatabase(path, synchronous="FULL") as database:
        hasty = Unflushed(database)
        await hasty.write(add)
        said.clear()
        crowd = [hasty.write(add) for _ in range(20)]
        await asyncio.gather(*crowd, database.write(add))
        assert "FULL" in modes(said)


async def test_a_database_that_never_waits_is_not_made_to(tmp_path: Path, said: list[str]) -> None:
    path = await made(tmp_path)
    async with SqliteDatabase(path, synchronous="NORMAL") as database:
        said.clear()
        await database.write(add)
        await Unflushed(database).write(add)
        assert not any("synchronous" in statement for statement in said)
