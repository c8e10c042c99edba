"""What the ledger adds up to: by model, key, account and day, from a time on."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from chatbackend.domain.identity import ApiKey, Principal
from chatbackend.domain.pricing import Prices
from chatbackend.domain.usage import CallOutcome, Settlement, Usage
from chatbackend.infra.db import ledger_rows
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.infra.db.usage_totals import By, Totals, UsageTotals
from chatbackend.usecases.ports import Call
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVER = datetime(2000, 1, 1, tzinfo=UTC)
ANNA = Principal("t", "app", "app/anna", "key_1")
SHOP = Principal("t2", "shop", "shop", "key_2")
FOREIGN = Principal("t", "gateway", "gateway", "key_of_a_gateway")


class World:
    """A ledger that can be filled."""

    def __init__(self, database: Database) -> None:
        self.totals = UsageTotals(database)
        self._database = database
        self._settling = ledger_rows.Settling(Prices.parse({"p/*": {"input": 1, "output": 2}}))
        self._ids = count()

    async def called(
        self,
        model: str = "p/m",
        usage: Usage | None = None,
        outcome: CallOutcome = "completed",
        *,
        by: Principal = ANNA,
        at: datetime = NOON,
    ) -> None:
        call, now = Call(f"call_{next(self._ids)}", 1, model, 5), int(at.timestamp() * 1e6)

        async def work(tx: Transaction) -> None:
            await ledger_rows.add(tx, ledger_rows.begun(by, call, response_id=call.id, fence=0, now=now))
            if usage is not None:
                await self._settling.settle(tx, call, Settlement(usage, outcome), now=now)

        await self._database.write(work)

    async def names(self, by: By) -> list[tuple[str, int]]:
        return [(each.name, each.calls) for each in await self.totals(by, since=EVER)]


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        keys = Keys(database)
        await keys.add(ApiKey("key_1", "t", "app", "one", 0), "hash 1")
        await keys.add(ApiKey("key_2", "t2", "shop", "two", 0), "hash 2")
        yield World(database)


async def test_calls_are_added_up_with_what_is_known_of_them(world: World) -> None:
    await world.called(usage=Usage(10, 20, 4))
    await world.called(usage=Usage(1, 2, estimated=True), outcome="failed")
    await world.called("q/m", Usage(7, 8), "cancelled")
    await world.called()
    assert await world.totals("model", since=EVER) == [
        Totals("p/m", 3, 1, 16, 4, 22, estimated=2, unpriced=1, cost_nano_usd=55_000),
        Totals("q/m", 1, 0, 7, 0, 8, estimated=0, unpriced=1, cost_nano_usd=None),
    ]


async def test_the_dearest_come_first_and_then_the_most_called(world: World) -> None:
    for model, tokens in (("p/cheap", 1), ("p/dear", 9), ("q/b", 9), ("q/b", 9), ("q/a", 9), ("q/c", 9)):
        await world.called(model, Usage(tokens))
    assert [name for name, _ in await world.names("model")] == ["p/dear", "p/cheap", "q/b", "q/a", "q/c"]


async def test_an_account_is_that_of_the_key_whoever_acted(world: World) -> None:
    for principal in (ANNA, ANNA, SHOP, FOREIGN):
        await world.called(usage=Usage(), by=principal)
    assert await world.names("account") == [("app", 2), ("gateway", 1), ("shop", 1)]
    assert await world.names("key") == [("key_1", 2), ("key_2", 1), ("key_of_a_gateway", 1)]


async def test_days_are_those_of_utc_and_come_in_order(world: World) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    for at in (NOON, midnight, midnight - timedelta(microseconds=1)):
        await world.called(usage=Usage(1), at=at)
    assert await world.names("day") == [("2026-11-21", 1), ("2026-11-22", 2)]


async def test_only_calls_from_then_on_count(world: World) -> None:
    await world.called(at=NOON - timedelta(microseconds=1))
    await world.called(at=NOON)
    assert [each.calls for each in await world.totals("model", since=NOON)] == [1]
    assert await world.totals("model", since=NOON + timedelta(seconds=1)) == []
