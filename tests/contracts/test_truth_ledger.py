"""What every `Truth` writes down of upstream calls: begun before they are made, settled once."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatbackend.domain.responses import (
    CANCELLED,
    COMPLETED,
    Outcome,
    end,
)
from chatbackend.domain.usage import CallOutcome, Settlement, Usage
from chatbackend.usecases.ports import Call
from tests.support.truth_world import ME, World
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database)


async def test_a_call_is_in_the_ledger_before_it_is_made_and_settled_with_what_it_used(world: World) -> None:
    made = await world.begun()
    call = Call("call_1", 1, "m")
    await world.truth.start(made, call)
    [row] = await world.ledger()
    assert (row["status"], row["attempt"], row["response_id"], row["key_id"]) == ("started", 1, made.id, "key_1")
    end(made, COMPLETED, at=1)
    await world.truth.finish(made, call, Settlement(Usage(10, 20, 3, 4, 5), "incomplete"))
    [row] = await world.ledger()
    assert (row["status"], row["outcome"]) == ("settled", "incomplete")
    assert [row[name] for name in ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens")] == [
        10,
        20,
        3,
        4,
    ]
    assert (row["reasoning_tokens"], row["estimated"]) == (5, 0)


@pytest.mark.parametrize(
    ("before", "bill"),
    [
        (None, (7, 0, 0, 1, "interrupted")),
        (Settlement(Usage(5, 6, 4), "failed"), (5, 6, 4, 0, "failed")),
    ],
)
async def test_a_second_call_settles_the_one_before_it(
    world: World, before: Settlement | None, bill: tuple[int | CallOutcome, ...]
) -> None:
    made = await world.begun()
    await world.truth.start(made, Call("call_1", 1, "m", 7))
    world.time += 1
    await world.truth.start(made, Call("call_2", 2, "m"), before=before)
    first, second = await world.ledger()
    assert (first["status"], second["status"], second["outcome"]) == ("settled", "started", None)
    end(made, COMPLETED, at=1)
    await world.truth.finish(made, Call("call_2", 2, "m"), Settlement(Usage(1, 2), "completed"))
    first, second = await world.ledger()
    names = ("input_tokens", "output_tokens", "cached_tokens", "estimated", "outcome")
    assert tuple(first[name] for name in names) == bill
    assert tuple(second[name] for name in names) == (1, 2, 0, 0, "completed")


async def test_an_end_without_its_call_settles_what_a_dead_owner_left_open(world: World) -> None:
    made = await world.begun()
    await world.truth.start(made, Call("call_1", 1, "m"))
    end(made, Outcome("incomplete", detail="interrupted"), at=1)
    await world.truth.finish(made, None, Settlement(Usage(7, 8, estimated=True), "interrupted"))
    [row] = await world.ledger()
    assert (row["status"], row["outcome"]) == ("settled", "interrupted")
    assert (row["estimated"], row["input_tokens"], row["output_tokens"]) == (1, 7, 8)


async def test_an_end_without_its_call_and_its_bill_settles_what_went_in(world: World) -> None:
    made = await world.begun(store=False)
    await world.truth.start(made, Call("call_1", 1, "m", 7))
    end(made, CANCELLED, at=1)
    assert await world.truth.finish(made, None, None)
    [row] = await world.ledger()
    assert (row["estimated"], row["input_tokens"], row["outcome"]) == (1, 7, "interrupted")


async def test_a_settled_call_has_the_cost_of_its_deployments_price_at_that_time(world: World) -> None:
    await world.ended("priced")
    await world.ended("unknown", called="other")
    assert {row["model"]: row["cost_nano_usd"] for row in await world.ledger()} == {"m": 11_000, "other": None}


async def test_a_count_that_no_column_holds_keeps_no_response_from_its_end(world: World) -> None:
    made = await world.begun()
    call = Call("call_1", 1, "m")
    await world.truth.start(made, call)
    end(made, COMPLETED, at=1)
    assert await world.truth.finish(made, call, Settlement(Usage(2**70, 2), "completed"))
    [row] = await world.ledger()
    assert (row["input_tokens"], row["output_tokens"], row["cost_nano_usd"]) == (2**53 - 1, 2, None)


async def test_a_settled_call_is_not_settled_again(world: World) -> None:
    made = await world.begun()
    call = Call("call_1", 1, "m")
    await world.truth.start(made, call)
    end(made, COMPLETED, at=1)
    await world.truth.finish(made, call, Settlement(Usage(1, 2), "completed"))
    await world.truth.finish(made, call, Settlement(Usage(100, 200), "failed"))
    [row] = await world.ledger()
    assert (row["input_tokens"], row["output_tokens"], row["outcome"]) == (1, 2, "completed")


async def test_calls_of_a_dead_process_without_a_stored_response_are_settled_at_the_next_start(world: World) -> None:
    stored = await world.begun()
    await world.truth.start(stored, Call("call_1", 1, "m"))
    unstored = await world.begun(store=False)
    await world.truth.start(unstored, Call("call_2", 1, "m", 7))
    deleted = await world.begun()
    await world.truth.start(deleted, Call("call_3", 1, "m"))
    await world.truth.delete(ME, deleted.id)
    assert await world.truth.settle_abandoned() == 2
    assert {row["id"]: row["status"] for row in await world.ledger()} == {
        "call_1": "started",
        "call_2": "settled",
        "call_3": "settled",
    }
    bills = {row["id"]: (row["outcome"], row["input_tokens"], row["cost_nano_usd"]) for row in await world.ledger()}
    assert bills["call_2"] == ("interrupted", 7, 7_000)
    assert bills["call_1"] == (None, 0, None)
