"""What every `Truth` promises: responses, their context, the ledger, and creates that come again."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy import select

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.conversations import Conversation
from chatbackend.domain.errors import ChatError, InvalidRequest, NotFound, Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Item, Message, OutputItem, OutputText, text_of
from chatbackend.domain.pricing import Prices
from chatbackend.domain.responses import (
    CANCELLED,
    COMPLETED,
    NUMBERS_PER_BLOCK,
    Ask,
    Failure,
    Outcome,
    Response,
    end,
)
from chatbackend.domain.usage import CallOutcome, Settlement, Usage
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.requests import KEEP_S, RETRY_WINDOW_S
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.transaction import Database, Row, Transaction
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Begun, Call, Once
from tests.support.model_events import numbered
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio

ME = Principal("t", "app", "app", "key_1")
USER = Principal("t", "app", "app/anna", "key_1")
OTHER_ACCOUNT = Principal("t", "shop", "shop", "key_2")
OTHER_TENANT = Principal("t2", "app", "app", "key_3")
OTHERS = (USER, OTHER_ACCOUNT, OTHER_TENANT)
FAILED = Outcome("failed", failure=Failure("server_error", "It broke."))


PRICES = Prices.parse({"m": {"input": 1, "output": 2}})


class World:
    """The repositories under test, on one clock, with short ways to fill them."""

    def __init__(self, database: Database) -> None:
        self.time = 1_800_000_000.0
        self.truth = Responses(database, self, PRICES)
        self.conversations = Conversations(database, self, Wakeups())
        self._database = database
        self._ids = count(1)

    def now(self) -> float:
        return self.time

    def response(self, principal: Principal = ME, **body: object) -> tuple[Response, Ask]:
        asked = shapes.ask(shapes.read({"model": "m", "input": "hi", **body}), numbered())
        for item in asked.items:
            item.id = f"{item.id}_{next(self._ids)}"
        made = Response(
            f"resp_{next(self._ids)}",
            principal,
            asked.model,
            int(self.time),
            store=asked.store,
            background=asked.background,
            previous_response_id=asked.previous_response_id,
            conversation_id=asked.conversation_id,
            instructions=asked.instructions,
            metadata=asked.metadata,
            shown=asked.shown,
        )
        return made, asked

    async def begun(self, principal: Principal = ME, **body: object) -> Response:
        """Begin a response."""
        made, asked = self.response(principal, **body)
        await self.truth.begin(made, asked, None)
        return made

    async def ended(
        self, text: str, outcome: Outcome = COMPLETED, principal: Principal = ME, *, called: str = "m", **body: object
    ) -> Response:
        """Begin, start and finish a response that answers `text`, by the deployment `called` so."""
        made = await self.begun(principal, **body)
        await self.finish(made, text, outcome, called=called)
        return made

    async def finish(self, made: Response, text: str, outcome: Outcome = COMPLETED, *, called: str = "m") -> bool:
        call = Call(f"call_{next(self._ids)}", 1, called)
        await self.truth.start(made, call)
        made.output = [Message(f"msg_{next(self._ids)}", "assistant", [OutputText(text)])]
        made.usage = Usage(3, 4)
        end(made, outcome, at=int(self.time))
        return await self.truth.finish(made, call, Settlement(made.usage, "completed"))

    async def once(self, once: Once, principal: Principal = ME, **body: object) -> Begun:
        made, asked = self.response(principal, **body)
        return await self.truth.begin(made, asked, once)

    async def context(self, made: Response) -> list[str]:
        return [text_of(item) for item in await self.truth.context(made)]

    async def ledger(self) -> list[Row]:
        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(select(LEDGER).order_by(LEDGER.c.started_at, LEDGER.c.id))

        return await self._database.read(work)


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
    assert not await world.truth.finish(again, None, None)
    assert await world.truth.get(ME, made.id) == made


async def test_a_response_that_is_not_stored_leaves_nothing_but_its_ledger(world: World) -> None:
    made = await world.begun(store=False)
    assert await world.finish(made, "secret")
    assert await world.truth.get(ME, made.id) is None
    assert await world.truth.inputs(made.id) == []
    assert await world.truth.orphans() == []
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
    assert len(await world.truth.orphans()) == (status == "running")


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
    assert len(await world.truth.orphans()) == 1


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


async def test_a_nul_that_somebody_says_keeps_no_response_from_its_end(world: World) -> None:
    await world.conversations.create(ME, Conversation("conv_1", 0), [], once=None)
    made = await world.ended("c\0d", input="a\0b", conversation="conv_1")
    found = await world.truth.get(ME, made.id)
    assert found == made
    again = await world.begun(input="e", conversation="conv_1")
    assert await world.context(again) == ["a\0b", "c\0d"]


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


async def test_orphans_are_the_responses_that_have_not_ended_oldest_first(world: World) -> None:
    await world.ended("done")
    first = await world.begun(background=True)
    world.time += 1
    second = await world.begun()
    await world.truth.start(second, Call("call_1", 1, "m"))
    await world.truth.reserve(second.id, numbers=3_000)
    found = await world.truth.orphans()
    assert [orphan.response.id for orphan in found] == [first.id, second.id]
    assert [(orphan.attempts, orphan.numbers_reserved) for orphan in found] == [(0, NUMBERS_PER_BLOCK), (1, 3_000)]
    assert [orphan.response.status for orphan in found] == ["queued", "in_progress"]
    again = shapes.read_stored(found[0].body)
    assert (again.model, again.background) == ("m", True)


async def test_any_response_can_be_looked_at_by_its_id_for_recovery(world: World) -> None:
    made = await world.ended("done")
    found = await world.truth.look(made.id)
    assert found is not None
    assert (found.response, found.attempts) == (made, 1)
    assert await world.truth.look("resp_unknown") is None
