"""What every `Truth` promises: responses, their context, the ledger, and creates that come again."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import anyio
import pytest

from chatbackend.domain.conversations import Conversation
from chatbackend.domain.errors import ChatError, InvalidRequest, NotFound, Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Item, Message, OutputItem, OutputText
from chatbackend.domain.responses import (
    CANCELLED,
    COMPLETED,
    Outcome,
    end,
)
from chatbackend.infra.db.requests import KEEP_S, RETRY_WINDOW_S
from chatbackend.usecases.ports import Begun, Once
from tests.support.truth_world import FAILED, ME, OTHER_ACCOUNT, OTHERS, USER, World
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database)


async def test_a_response_that_began_is_read_back_with_all_its_settings(world: World) -> None:
    asked: dict[str, Any] = {"instructions": "Be brief.", "metadata": {"a": "b"}, "background": True, "top_p": 0.5}
    made = await world.begun(**asked)
    found = await world.truth.get(ME, made.id)
    assert found == made
    assert await world.truth.inputs(made.id) == [Message("msg_1_1", "user", [InputText("hi")])]


@pytest.mark.parametrize("later_s", [0, 0.4, 1, 3.7, -2])
async def test_a_response_keeps_the_second_that_it_was_shown_with(world: World, later_s: float) -> None:
    made, asked = world.response()
    world.time += later_s  # until it is committed; clocks are set back, too
    await world.truth.begin(made, asked, None)
    assert await world.truth.get(ME, made.id) == made


@pytest.mark.parametrize("outcome", [COMPLETED, CANCELLED, FAILED, Outcome("incomplete", "max_output_tokens", "x")])
async def test_an_end_is_read_back_whole(world: World, outcome: Outcome) -> None:
    made = await world.ended("bye", outcome)
    found = await world.truth.get(ME, made.id)
    assert found == made
    assert found is not None
    assert (found.ended, found.status) == (True, outcome.status)


async def test_a_response_ends_once(world: World) -> None:
    made = await world.ended("first")
    again = replace(made, output=list[OutputItem]([Message("msg_x", "assistant", [OutputText("second")])]))
    end(again, CANCELLED, at=1)
    assert await world.truth.finish(again, None, None)  # it is there; nothing is changed
    assert await world.truth.get(ME, made.id) == made


async def test_a_response_that_is_not_stored_leaves_nothing_but_its_ledger(world: World) -> None:
    made = await world.begun(store=False)
    assert await world.finish(made, "secret")
    assert await world.truth.get(ME, made.id) is None
    assert await world.truth.inputs(made.id) == []
    assert await world.truth.orphans() == 0
    assert [row["status"] for row in await world.ledger()] == ["settled"]


async def test_what_is_deleted_is_gone_for_good_and_its_end_is_refused(world: World) -> None:
    made = await world.begun()
    assert await world.truth.delete(ME, made.id)
    assert not await world.truth.delete(ME, made.id)
    assert await world.truth.get(ME, made.id) is None
    assert await world.truth.inputs(made.id) == []
    assert not await world.finish(made, "late")
    assert await world.truth.get(ME, made.id) is None
    assert [row["status"] for row in await world.ledger()] == ["settled"]


@pytest.mark.parametrize("other", OTHERS)
async def test_nobody_else_sees_deletes_or_builds_on_a_response(world: World, other: Principal) -> None:
    made = await world.ended("mine")
    assert await world.truth.get(other, made.id) is None
    assert not await world.truth.delete(other, made.id)
    with pytest.raises(InvalidRequest) as refused:
        await world.begun(other, previous_response_id=made.id)
    assert refused.value.code == "previous_response_not_found"
    forged, _ = world.response(other, previous_response_id=made.id)
    assert await world.context(forged) == []
    assert await world.truth.get(ME, made.id) == made


@pytest.mark.parametrize(("owner", "other"), [pair for pair in product([ME, *OTHERS], repeat=2) if pair[0] != pair[1]])
async def test_nobody_else_writes_into_a_conversation(world: World, owner: Principal, other: Principal) -> None:
    await world.conversations.create(owner, Conversation("conv_1", 0), [], once=None)
    with pytest.raises(NotFound) as refused:
        await world.begun(other, conversation="conv_1")
    assert (refused.value.code, refused.value.param) == ("conversation_not_found", "conversation")
    assert (await world.begun(owner, conversation="conv_1")).turn == 1


async def test_a_chain_is_the_context_of_three_generations_in_order_without_its_branches(world: World) -> None:
    one = await world.ended("A", input="a")
    two = await world.ended("B", input="b", previous_response_id=one.id)
    await world.ended("X", input="x", previous_response_id=one.id)
    three = await world.ended("C", input="c", previous_response_id=two.id)
    four = await world.begun(input="d", previous_response_id=three.id)
    branch = await world.begun(input="e", previous_response_id=one.id)
    assert await world.context(four) == ["a", "A", "b", "B", "c", "C"]
    assert await world.context(branch) == ["a", "A"]
    assert await world.context(one) == []


async def test_the_order_of_items_within_a_response_is_kept(world: World) -> None:
    given = [{"role": "user", "content": str(number)} for number in range(12)]
    one = await world.ended("A", input=given)
    two = await world.begun(previous_response_id=one.id)
    assert await world.context(two) == [*map(str, range(12)), "A"]


@pytest.mark.parametrize("status", ["unknown", "running"])
async def test_only_an_ended_response_can_be_built_on(world: World, status: str) -> None:
    previous = (await world.begun()).id if status == "running" else "resp_unknown"
    with pytest.raises(InvalidRequest) as refused:
        await world.begun(previous_response_id=previous)
    assert refused.value.param == "previous_response_id"
    assert (
        refused.value.code
        == {
            "unknown": "previous_response_not_found",
            "running": "previous_response_not_ended",
        }[status]
    )
    assert await world.truth.orphans() == (status == "running")


async def test_what_a_socket_knows_itself_is_not_looked_up(world: World) -> None:
    made, asked = world.response(store=False, previous_response_id="resp_in_memory_only")
    asked.local_context = list[Item]()
    assert (await world.truth.begin(made, asked, None)).fresh


async def test_a_conversation_gives_each_turn_what_came_before_it(world: World) -> None:
    first: list[Item] = [Message("msg_0", "user", [InputText("zero")])]
    await world.conversations.create(ME, Conversation("conv_1", 0), first, once=None)
    one = await world.ended("A", input="a", conversation="conv_1")
    two = await world.begun(input="b", conversation="conv_1")
    added: list[Item] = [Message("msg_9", "user", [InputText("later")])]
    await world.conversations.add_items(ME, "conv_1", added, once=None)
    three = await world.begun(input="c", conversation="conv_1")
    assert [made.turn for made in (one, two, three)] == [1, 2, 4]
    assert await world.context(one) == ["zero"]
    assert await world.context(two) == ["zero", "a", "A"]
    assert await world.context(three) == ["zero", "a", "A", "b", "later"]
    await world.finish(two, "B")
    assert await world.context(three) == ["zero", "a", "A", "b", "B", "later"]


async def test_a_branch_off_a_conversation_knows_what_came_before_its_turn_there(world: World) -> None:
    await world.conversations.create(ME, Conversation("conv_1", 0), [], once=None)
    await world.ended("A", input="a", conversation="conv_1")
    two = await world.ended("B", input="b", conversation="conv_1")
    await world.ended("C", input="c", conversation="conv_1")
    branch = await world.ended("X", input="x", previous_response_id=two.id)
    assert await world.context(branch) == ["a", "A", "b", "B"]
    further = await world.begun(input="y", previous_response_id=branch.id)
    assert await world.context(further) == ["a", "A", "b", "B", "x", "X"]


async def test_a_turn_knows_whether_it_comes_behind_others(world: World) -> None:
    await world.conversations.create(ME, Conversation("conv_1", 0), [], once=None)
    made, asked = world.response(conversation="conv_1")
    assert not (await world.truth.begin(made, asked, None)).behind
    second, asked = world.response(conversation="conv_1")
    assert (await world.truth.begin(second, asked, None)).behind
    await world.finish(made, "A")
    await world.finish(second, "B")
    third, asked = world.response(conversation="conv_1")
    assert not (await world.truth.begin(third, asked, None)).behind


KEYED = Once("/v1/responses", "body", key="key")
RETRY = Once("/v1/responses", "body", retry=True)


async def test_the_same_key_and_body_give_the_same_response_again(world: World) -> None:
    first = await world.once(KEYED)
    again = await world.once(KEYED)
    assert (first.fresh, again.fresh, again.response_id) == (True, False, first.response_id)
    assert await world.truth.orphans() == 1


async def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    await world.once(KEYED)
    with pytest.raises(Unprocessable) as refused:
        await world.once(replace(KEYED, body_hash="other"))
    assert refused.value.code == "idempotency_key_reused"


async def test_a_key_is_remembered_for_a_day(world: World) -> None:
    first = await world.once(KEYED)
    world.time += KEEP_S
    assert (await world.once(KEYED)).response_id == first.response_id
    world.time += 1
    later = await world.once(KEYED)
    assert later.fresh
    assert (await world.once(KEYED)).response_id == later.response_id


@pytest.mark.parametrize("other", OTHERS)
async def test_a_key_is_its_owners_own(world: World, other: Principal) -> None:
    await world.once(KEYED)
    assert (await world.once(KEYED, other)).fresh


async def test_a_key_counts_for_its_path_only(world: World) -> None:
    await world.once(KEYED)
    assert (await world.once(replace(KEYED, path="/v1/conversations"))).fresh


async def test_a_create_that_was_refused_leaves_no_key_behind(world: World) -> None:
    for _ in range(2):
        with pytest.raises(ChatError):
            await world.once(KEYED, conversation="conv_unknown")
    assert (await world.once(KEYED)).fresh


async def test_a_retry_without_a_key_finds_the_newest_create_of_the_last_two_minutes(world: World) -> None:
    plain = replace(RETRY, retry=False)
    first = await world.once(plain)
    world.time += 1
    second = await world.once(plain)
    assert (first.fresh, second.fresh) == (True, True)
    assert (await world.once(RETRY)).response_id == second.response_id
    world.time += RETRY_WINDOW_S
    assert (await world.once(RETRY)).response_id == second.response_id
    world.time += 0.001
    assert (await world.once(RETRY)).fresh


async def test_a_retry_that_was_never_seen_before_is_a_create(world: World) -> None:
    assert (await world.once(RETRY)).fresh


@pytest.mark.parametrize("other", [USER, OTHER_ACCOUNT, replace(ME, key_id="key_9")])
async def test_a_retry_finds_creates_of_its_own_key_and_user_only(world: World, other: Principal) -> None:
    await world.once(replace(RETRY, retry=False))
    assert (await world.once(RETRY, other)).fresh


@pytest.mark.parametrize("change", [{"path": "/v1/other"}, {"body_hash": "other"}])
async def test_a_retry_finds_the_same_body_on_the_same_path_only(world: World, change: dict[str, str]) -> None:
    await world.once(replace(RETRY, retry=False))
    assert (await world.once(replace(RETRY, **change))).fresh


async def test_many_at_once_with_one_key_make_one_response(world: World) -> None:
    found: list[Begun] = []

    async def create() -> None:
        found.append(await world.once(KEYED))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(create)
    assert len({begun.response_id for begun in found}) == 1
    assert sum(begun.fresh for begun in found) == 1


async def test_a_create_that_is_not_stored_is_remembered_all_the_same(world: World) -> None:
    first = await world.once(KEYED, store=False)
    assert await world.once(KEYED, store=False) == Begun(first.response_id, fresh=False)


async def test_a_nul_that_somebody_says_keeps_no_response_from_its_end(world: World) -> None:
    await world.conversations.create(ME, Conversation("conv_1", 0), [], once=None)
    made = await world.ended("c\0d", input="a\0b", conversation="conv_1")
    found = await world.truth.get(ME, made.id)
    assert found == made
    again = await world.begun(input="e", conversation="conv_1")
    assert await world.context(again) == ["a\0b", "c\0d"]
