"""The relay's ledger with a spool: nobody waits, few writes, and the next start writes down what a kill left."""

from collections.abc import Awaitable, Callable, Collection, Generator
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from sqlalchemy import select

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db.ledger import Ledger, replay
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.transaction import Database, Row, Transaction
from chatbackend.infra.system import SystemClock, Tasks
from chatbackend.usecases.ports import Call
from tests.support.truths import truth

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ME = Principal("t", "a", "a", "key")
DONE = Settlement(Usage(3, 4), "completed")


class Shut:
    """A database that takes writes only while it is open."""

    def __init__(self, database: Database) -> None:
        self.open = False
        self.writes = 0
        self._database = database

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, touching: Collection[str] | None = None) -> T:
        if not self.open:
            raise Unavailable("shut")
        self.writes += 1
        return await self._database.write(work, touching=touching)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._database.read(work)


def silent(message: str, error: BaseException) -> None:
    """See `Report`."""


@pytest.fixture
def spool(tmp_path: Path) -> Generator[Spool]:
    with Spool(tmp_path / "spool", 1 << 16) as opened:
        yield opened


def call(number: int) -> Call:
    return Call(f"call_{number:03}", 1, "p/m", 7)


async def rows(database: Database) -> list[Row]:
    async def read(tx: Transaction) -> list[Row]:
        return await tx.rows(select(LEDGER).order_by(LEDGER.c.id))

    return await database.read(read)


async def settled(database: Database, count: int) -> list[Row]:
    with anyio.fail_after(10):
        while True:
            found = await rows(database)
            if sum(row["status"] == "settled" for row in found) == count:
                return found
            await anyio.sleep(0.02)


async def test_a_call_goes_on_before_its_row_is_written_and_a_whole_row_is_written_once(
    tmp_path: Path, spool: Spool
) -> None:
    async with truth("sqlite", tmp_path) as real, Tasks() as tasks:
        database = Shut(real)
        ledger = Ledger(database, SystemClock(), report=silent, spawn=tasks, spool=spool)
        for number in range(100):
            await ledger.started(ME, call(number))
            ledger.settled(call(number), DONE)
        await ledger.started(ME, call(100))
        assert len(spool.rows()) == 201
        assert await rows(real) == []
        database.open = True
        found = await settled(real, 100)
        assert (len(found), database.writes) == (101, 1)
        first, last = found[0], found[-1]
        assert (first["input_tokens"], first["output_tokens"], first["outcome"], first["estimated"]) == (
            3,
            4,
            "completed",
            0,
        )
        assert (last["status"], last["input_tokens"], last["estimated"], last["outcome"]) == ("started", 7, 1, None)
        ledger.settled(call(100), DONE)
        assert (await settled(real, 101))[-1]["output_tokens"] == 4
        with anyio.fail_after(5):
            while spool.rows():  # noqa: ASYNC110  # another thread's commit sets no event
                await anyio.sleep(0.01)


async def test_what_a_kill_leaves_in_the_spool_is_written_down_once(tmp_path: Path, spool: Spool) -> None:
    async with truth("sqlite", tmp_path) as real:
        with anyio.CancelScope() as dies:  # nothing of it is ever written
            async with Tasks() as tasks:
                ledger = Ledger(Shut(real), SystemClock(), report=silent, spawn=tasks, spool=spool)
                for number in range(3):
                    await ledger.started(ME, call(number))
                ledger.settled(call(1), DONE)
                dies.cancel()
                await anyio.lowlevel.checkpoint()
        left = spool.rows()
        assert len(left) == 4
        async with Tasks() as tasks:  # the first of them had been written, and settled, before the kill
            ledger = Ledger(real, SystemClock(), report=silent, spawn=tasks)
            await ledger.started(ME, call(0))
            ledger.settled(call(0), Settlement(Usage(8, 9), "failed"))
        await replay(real, spool, silent)
        found = {row["id"]: (row["status"], row["output_tokens"]) for row in await rows(real)}
        assert found == {"call_000": ("settled", 9), "call_001": ("settled", 4), "call_002": ("started", 0)}
        assert spool.rows() == []
        await replay(real, spool, silent)
        assert len(await rows(real)) == 3


async def test_a_damaged_row_is_told_of_and_hides_none_behind_it(tmp_path: Path, spool: Spool) -> None:
    reports: list[str] = []
    async with truth("sqlite", tmp_path) as real:
        with anyio.CancelScope() as dies:
            async with Tasks() as tasks:
                ledger = Ledger(Shut(real), SystemClock(), report=silent, spawn=tasks, spool=spool)
                for number in range(3):
                    await ledger.started(ME, call(number))
                dies.cancel()
                await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(damage, tmp_path / "spool", b"call_001")
        await replay(real, spool, lambda message, error: reports.append(f"{message}: {error}"))
        assert [row["id"] for row in await rows(real)] == ["call_000", "call_002"]
    assert reports == ["calls that an earlier process kept are lost: 1 damaged entries in the spool"]


def damage(file: Path, what: bytes) -> None:
    """Change a bit of what is in a file that others have mapped."""
    with file.open("r+b") as opened:
        at = opened.read().index(what)
        opened.seek(at)
        opened.write(bytes([what[0] ^ 0x01]))


async def test_with_a_full_spool_a_call_waits_for_its_row_and_is_refused_where_none_can_be_written(
    tmp_path: Path, spool: Spool
) -> None:
    async with truth("sqlite", tmp_path) as real, Tasks() as tasks:
        database = Shut(real)
        ledger = Ledger(database, SystemClock(), report=silent, spawn=tasks, spool=spool)
        kept = 0
        with anyio.fail_after(10):
            while True:
                row = ledger.started(ME, call(kept))
                try:
                    await row
                except Unavailable:
                    break
                kept += 1
        assert kept > 100
        database.open = True
        with anyio.fail_after(10):
            while len(await rows(real)) != kept:  # noqa: ASYNC110  # as above
                await anyio.sleep(0.02)
        await ledger.started(ME, call(kept))
