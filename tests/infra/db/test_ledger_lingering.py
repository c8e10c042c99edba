"""When rows of relayed calls are written: at once where somebody waits, a little later else, and before the end."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import select

from chatbackend.domain.identity import Principal
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db.ledger import Ledger
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.transaction import Database, Row, Transaction
from chatbackend.infra.system import SystemClock, Tasks, report
from chatbackend.usecases.ports import Call
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio

ME = Principal("t", "a", "a", "key")
DONE = Settlement(Usage(3, 4), "completed")


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with truth(request.param, tmp_path) as running:
        yield running


async def states(database: Database) -> list[str]:
    async def read(tx: Transaction) -> list[Row]:
        return await tx.rows(select(LEDGER.c.status).order_by(LEDGER.c.id))

    return [row["status"] for row in await database.read(read)]


async def test_a_row_is_there_when_its_caller_goes_on(database: Database) -> None:
    async with Tasks() as tasks:
        await Ledger(database, SystemClock(), report=report, spawn=tasks).started(ME, Call("call_1", 1, "p/m"))
        assert await states(database) == ["started"]


async def test_a_settlement_that_no_other_row_takes_along_is_written_by_itself(database: Database) -> None:
    async with Tasks() as tasks:
        ledger = Ledger(database, SystemClock(), report=report, spawn=tasks)
        await ledger.started(ME, call := Call("call_1", 1, "p/m"))
        ledger.settled(call, DONE)
        with anyio.fail_after(10):
            while await states(database) != ["settled"]:  # noqa: ASYNC110  # another thread's commit sets no event
                await anyio.sleep(0.02)


async def test_a_row_that_is_begun_takes_settlements_along(database: Database) -> None:
    async with Tasks() as tasks:
        ledger = Ledger(database, SystemClock(), report=report, spawn=tasks)
        await ledger.started(ME, call := Call("call_1", 1, "p/m"))
        ledger.settled(call, DONE)
        await ledger.started(ME, Call("call_2", 1, "p/m"))
        assert await states(database) == ["settled", "started"]


async def test_a_caller_that_is_gone_while_its_row_is_written_is_settled_all_the_same(database: Database) -> None:
    """As a session is that is cut between the two."""
    async with Tasks() as tasks:
        ledger = Ledger(database, SystemClock(), report=report, spawn=tasks)
        call = Call("call_1", 1, "p/m")

        async def begin() -> None:
            await ledger.started(ME, call)

        async with anyio.create_task_group() as group:
            group.start_soon(begin)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        ledger.settled(call, DONE)
        with anyio.fail_after(10):
            while await states(database) != ["settled"]:  # noqa: ASYNC110  # another thread's commit sets no event
                await anyio.sleep(0.02)


async def test_the_end_of_the_process_loses_no_settlement(database: Database) -> None:
    async with Tasks() as tasks:
        ledger = Ledger(database, SystemClock(), report=report, spawn=tasks)
        await ledger.started(ME, call := Call("call_1", 1, "p/m"))
        ledger.settled(call, DONE)
    assert await states(database) == ["settled"]
