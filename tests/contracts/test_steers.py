"""What steering promises on every truth: committed before an end or refused, taken once, with its successor."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from chatbackend.domain.errors import ChatError, Conflict, RateLimited
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputImage, InputText, Message, text_of
from chatbackend.domain.responses import COMPLETED, Ask, Outcome, Response, end
from chatbackend.domain.steering import MAX_STEERED_BYTES, MAX_STEERS, Steer, successor_ask
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.steers import StoredSteers
from chatbackend.infra.db.transaction import Database
from chatbackend.usecases.ports import Begun
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio
ME = Principal("t", "app", "app", "key_1")
OTHER = Principal("t2", "app", "app", "key_2")


class World:
    """Responses and their steering on one database."""

    def __init__(self, database: Database) -> None:
        self.truth = Responses(database, self)
        self.steers = StoredSteers(database)

    def now(self) -> float:
        return 1_800_000_000.0

    def made(self, name: str) -> Response:
        return Response(name, ME, "m", 1)

    async def running(self, name: str = "resp_1") -> Response:
        made = self.made(name)
        await self.truth.begin(made, asked(), None)
        return made

    async def finished(self, response: Response, outcome: Outcome = COMPLETED) -> None:
        end(response, outcome, at=2)
        assert await self.truth.finish(response, None, None)

    async def steered(self, text: str, *, lane: str | None = None, who: Principal = ME, of: str = "resp_1") -> None:
        await self.steers.add(who, steer(text, lane=lane, of=of))

    async def succeed(self, name: str, *, lane: str | None = None, with_output: bool = False) -> Begun:
        """Begin the successor of resp_1, or the request that brings the outputs of its calls."""
        made = replace(self.made(name), previous_response_id="resp_1", stream_id=lane)
        ask = successor_ask(asked(), self.made("resp_1"), context=None)
        if with_output:
            ask.steering, ask.items = "waiting", [Message(f"msg_{name}", "user", [InputText("out")])]
        return await self.truth.begin(made, ask, None)


def asked() -> Ask:
    return Ask("m", [], b'{"model":"m"}', {})


def steer(text: str, *, lane: str | None = None, of: str = "resp_1") -> Steer:
    said = Message(f"msg_{text}", "user", [InputText(text), InputImage("data:image/png;base64,AA==")])
    return Steer(f"steer_{text}", of, [said], f'"{text}"'.encode(), lane)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database)


async def refusal(world: World, *, who: Principal = ME, of: str = "resp_1") -> str | None:
    with pytest.raises(ChatError) as refused:
        await world.steered("x", who=who, of=of)
    return refused.value.code


async def states(world: World) -> list[tuple[str, str, str | None]]:
    return [(row.id, row.state, row.successor_id) for row in await world.steers.of(ME, "resp_1")]


async def test_a_successor_takes_what_is_queued_in_its_order_and_once(world: World) -> None:
    parent = await world.running()
    for text in ("b", "a", "c"):
        await world.steered(text, lane="left")
    assert await world.steers.owed() == ["resp_1"]
    await world.finished(parent)
    begun = await world.succeed("resp_2", lane="left")
    assert [text_of(item) for item in begun.steering] == ["b", "a", "c"]
    assert [text_of(item) for item in await world.truth.inputs("resp_2")] == ["b", "a", "c"]
    assert await states(world) == [(f"steer_{text}", "taken", "resp_2") for text in ("b", "a", "c")]
    assert await world.steers.owed() == []
    with pytest.raises(Conflict):
        await world.succeed("resp_3", lane="left")
    assert await world.truth.get(ME, "resp_3") is None


async def test_what_waits_for_outputs_goes_before_the_input_of_the_next_request_of_its_lane(world: World) -> None:
    parent = await world.running()
    await world.steered("a", lane="left")
    await world.finished(parent)
    await world.steers.settle("resp_1", "waiting")
    for lane, expected in (("right", ["out"]), ("left", ["a", "out"]), ("left", ["out"])):
        name = f"resp_{lane}_{len(expected)}"
        await world.succeed(name, lane=lane, with_output=True)
        assert [text_of(item) for item in await world.truth.inputs(name)] == expected
    assert await states(world) == [("steer_a", "joined", "resp_left_2")]


async def test_given_back_steering_says_why_and_holds_the_input_as_it_came(world: World) -> None:
    await world.running()
    await world.steered("a", lane="left")
    await world.steers.settle("resp_1", "failed", "response_not_active")
    (row,) = await world.steers.of(ME, "resp_1")
    assert (row.state, row.failure, row.given, row.lane) == ("failed", "response_not_active", b'"a"', "left")


async def test_what_comes_too_late_is_refused(world: World) -> None:
    assert await refusal(world) == "response_not_found"
    await world.finished(await world.running())
    assert await refusal(world) == "response_already_completed"
    await world.finished(await world.running("resp_2"), Outcome("failed"))
    assert await refusal(world, of="resp_2") == "response_not_active"


async def test_foreign_steering_is_neither_taken_nor_shown(world: World) -> None:
    await world.running()
    assert await refusal(world, who=OTHER) == "response_not_found"
    await world.steered("a")
    assert await world.steers.of(OTHER, "resp_1") == []


async def test_only_so_much_waits_for_one_response(world: World) -> None:
    await world.running("resp_2")
    await world.running()
    for number in range(MAX_STEERS):
        await world.steered(str(number))
    with pytest.raises(RateLimited):
        await world.steered("more")
    with pytest.raises(RateLimited):
        await world.steered("x" * MAX_STEERED_BYTES, of="resp_2")


async def test_a_deleted_response_takes_its_steering_with_it(world: World) -> None:
    parent = await world.running()
    await world.steered("a")
    await world.finished(parent)
    assert await world.truth.delete(ME, "resp_1")
    assert await world.steers.owed() == []
