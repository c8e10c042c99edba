"""The relay's ledger: rows that share writes, settled once, with their cost; nothing is lost to a refused write."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from sqlalchemy import Executable, select

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.pricing import Prices
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.infra.db.ledger import Ledger
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.transaction import Database, Params, Row, Transaction
from chatbackend.infra.system import Tasks
from chatbackend.usecases.ports import Call
from tests.support.fakes import FakeClock
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ME = Principal("t", "app", "app/anna", "key_1")
PRICES = Prices.parse({"p/*": {"input": 1, "output": 2}})


class Watched:
    """A database that counts statements, holds writes back and refuses as many as it is told."""

    def __init__(self, database: Database) -> None:
        self.gate = anyio.Event()
        self.gate.set()
        self.refusals = 0
        self.writes: list[int] = []
        self._database = database

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, touching: Collection[str] | None = None) -> T:
        await self.gate.wait()
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("full")

        async def counted(tx: Transaction) -> T:
            counting = Counting(tx)
            result = await work(counting)
            self.writes.append(counting.statements)
            return result

        return await self._database.write(counted, touching=touching)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._database.read(work)


class Counting:
    """A transaction that counts its statements."""

    def __init__(self, tx: Transaction) -> None:
        self.statements = 0
        self._tx = tx

    async def rows(self, statement: Executable, params: Params | None = None) -> list[Row]:
        self.statements += 1
        return await self._tx.rows(statement, params)

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        self.statements += 1
        return await self._tx.execute(statement, params)

    async def execute_many(self, statement: Executable, params: Sequence[Params]) -> None:
        self.statements += len(params)
        await self._tx.execute_many(statement, params)


class World:
    """A ledger on a database that is watched."""

    def __init__(self, database: Database, tasks: Tasks) -> None:
        self.database = Watched(database)
        self.clock = FakeClock()
        self.reports: list[str] = []
        self.ledger = Ledger(self.database, self.clock, PRICES, report=self.report, spawn=tasks)
        self.truth = Responses(self.database, self.clock, PRICES)

    def report(self, message: str, error: BaseException) -> None:
        """See `Report`."""
        self.reports.append(message)

    async def rows(self) -> dict[str, Row]:
        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(select(LEDGER).order_by(LEDGER.c.id))

        return {row["id"]: row for row in await self.database.read(work)}

    async def settled(self, count: int) -> dict[str, Row]:
        """Wait until so many rows are settled."""
        with anyio.fail_after(10):
            while True:
                rows = await self.rows()
                if sum(row["status"] == "settled" for row in rows.values()) == count:
                    return rows
                await anyio.sleep(0.01)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database, Tasks() as tasks:
        yield World(database, tasks)


def call(number: int, deployment: str = "p/m") -> Call:
    return Call(f"call_{number:02}", 1, deployment, 7)


async def test_a_call_is_begun_with_what_goes_in_and_settled_with_all_that_it_used(world: World) -> None:
    await world.ledger.started(ME, call(1))
    row = (await world.rows())["call_01"]
    begun = ("status", "owner", "key_id", "model", "attempt", "input_tokens", "estimated", "outcome", "cost_nano_usd")
    assert [row[name] for name in begun] == ["started", "app/anna", "key_1", "p/m", 1, 7, 1, None, None]
    world.clock.time += 1
    world.ledger.settled(call(1), Settlement(Usage(10, 20, 3, 4, 5), "incomplete"))
    row = (await world.settled(1))["call_01"]
    used = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "estimated")
    assert [row[name] for name in used] == [10, 20, 3, 4, 5, 0]
    assert (row["outcome"], row["cost_nano_usd"]) == ("incomplete", 50_000)
    assert row["settled_at"] - row["started_at"] == 1_000_000


async def test_a_call_of_a_deployment_without_a_price_costs_null(world: World) -> None:
    await world.ledger.started(ME, call(1, "q/m"))
    world.ledger.settled(call(1, "q/m"), Settlement(Usage(10, 20), "completed"))
    assert (await world.settled(1))["call_01"]["cost_nano_usd"] is None


async def test_a_call_is_settled_once(world: World) -> None:
    await world.ledger.started(ME, call(1))
    world.ledger.settled(call(1), Settlement(Usage(1, 2), "completed"))
    await world.settled(1)
    world.ledger.settled(call(1), Settlement(Usage(3, 4), "failed"))
    await world.ledger.started(ME, call(2))
    row = (await world.rows())["call_01"]
    assert (row["input_tokens"], row["outcome"]) == (1, "completed")


async def test_whatever_waits_goes_in_one_write_of_one_statement_a_kind(world: World) -> None:
    world.database.gate = anyio.Event()
    first = world.ledger.started(ME, call(0))
    await anyio.wait_all_tasks_blocked()
    later = [world.ledger.started(ME, call(number)) for number in range(1, 40)]
    for number in range(20):
        world.ledger.settled(call(number), Settlement(Usage(1, 1), "completed"))
    world.database.gate.set()
    for each in (first, *later):
        await each
    rows = await world.settled(20)
    assert (len(rows), world.database.writes) == (40, [1, 2])


async def test_a_refused_write_refuses_the_calls_that_begin_and_keeps_the_settlements(world: World) -> None:
    await world.ledger.started(ME, call(1))
    world.database.refusals = 1
    refused = world.ledger.started(ME, call(2))
    world.ledger.settled(call(1), Settlement(Usage(1, 2), "cancelled"))
    with pytest.raises(Unavailable):
        await refused
    rows = await world.settled(1)
    assert (list(rows), rows["call_01"]["outcome"]) == (["call_01"], "cancelled")
    assert world.reports == ["relayed calls could not be written down yet"]


async def test_a_relayed_call_that_a_kill_loses_is_billed_for_what_went_in(world: World) -> None:
    await world.ledger.started(ME, call(1))
    assert await world.truth.settle_abandoned() == 1
    row = (await world.rows())["call_01"]
    assert (row["outcome"], row["input_tokens"], row["estimated"], row["cost_nano_usd"]) == ("interrupted", 7, 1, 7_000)


async def test_a_count_that_no_column_holds_keeps_no_other_row_from_being_written(world: World) -> None:
    for number in (1, 2):
        await world.ledger.started(ME, call(number))
    world.ledger.settled(call(1), Settlement(Usage(2**80, 1), "completed"))
    world.ledger.settled(call(2), Settlement(Usage(1, 1), "completed"))
    rows = await world.settled(2)
    assert (rows["call_01"]["input_tokens"], rows["call_01"]["cost_nano_usd"]) == (2**53 - 1, None)
