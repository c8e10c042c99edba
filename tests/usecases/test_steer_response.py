"""Steering a response: accepted durably, taken once, given back where nothing takes it."""

import anyio
import pytest

from chatbackend.domain.errors import ChatError, Conflict, InvalidRequest, NotFound, RateLimited, Unavailable
from chatbackend.domain.events import Finished, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from chatbackend.domain.items import InputText, Item, Message, text_of
from chatbackend.domain.responses import CANCELLED
from chatbackend.domain.steering import MAX_STEERS, Steer
from tests.support.fakes import ME, OTHER, Stage, Step, forever, stage

pytestmark = pytest.mark.anyio
THEN: list[Step] = [TextDelta("then"), Finished("stop")]
CALL: list[Step] = [ToolCallStarted("call_1", "look", 0), ToolCallDelta("{}", 0)]


def said(text: str) -> list[Item]:
    return [Message(f"msg_{text}", "user", [InputText(text)])]


async def steer(on: Stage, response_id: str, text: str = "rather this") -> Steer:
    return await on.steer(ME, response_id, said(text), given=f'"{text}"'.encode())


async def held(on: Stage, *, store: bool = True) -> str:
    """Start a response, and return its id once its model stands still."""
    response_id = await on.started("hi", store=store)
    await anyio.wait_all_tasks_blocked()
    return response_id


async def refusal(on: Stage, response_id: str) -> str | None:
    with pytest.raises(ChatError) as refused:
        await steer(on, response_id)
    return refused.value.code


async def outcome(on: Stage, response_id: str) -> list[Steer]:
    entry = on.live.running(response_id) or on.live.unstored(ME, response_id)
    with anyio.fail_after(10):
        return await on.fate(ME, response_id, entry)


@pytest.mark.parametrize("store", [True, False])
async def test_a_response_ends_as_it_would_and_its_successor_takes_the_input(*, store: bool) -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, TextDelta(" two"), Finished("stop")], THEN) as on:
        first = await held(on, store=store)
        entry = on.live.running(first)
        await steer(on, first, "a")
        await steer(on, first, "b")
        go.set()
        steers = await on.fate(ME, first, entry)
        assert [one.state for one in steers] == ["taken", "taken"]
        second = steers[0].successor_id or ""
        ended = await on.ended(second)
        assert (ended.status, ended.previous_response_id, ended.store) == ("completed", first, store)
        assert [text_of(item) for item in on.model.requests[-1].items] == ["hi", "one two", "a", "b"]


async def test_the_answer_stops_before_its_next_item() -> None:
    go = anyio.Event()
    thinking: list[Step] = [ReasoningDelta("hm"), go, TextDelta("never"), Finished("stop")]
    async with stage(thinking, THEN) as on:
        first = await held(on)
        await steer(on, first)
        go.set()
        ended = await on.ended(first)
        assert (ended.status, ended.incomplete_reason) == ("incomplete", "steered")
        assert [item.status for item in ended.output] == ["completed"]
        assert on.truth.states()[0] == "cancelled"
        assert (await outcome(on, first))[0].state == "taken"


async def test_nothing_is_waited_for_where_nothing_was_said() -> None:
    async with stage([forever], THEN) as on:
        first = await held(on)
        await steer(on, first)
        ended = await on.ended(first)
        assert (ended.incomplete_reason, ended.output) == ("steered", [])


@pytest.mark.parametrize("store", [True, False])
async def test_behind_a_call_the_input_waits_and_the_next_request_takes_it(*, store: bool) -> None:
    go = anyio.Event()
    async with stage([*CALL, go, TextDelta("more"), Finished("tool_calls")], THEN) as on:
        first = await held(on, store=store)
        entry = on.live.running(first)
        await steer(on, first)
        go.set()
        (waiting,) = await on.fate(ME, first, entry)
        assert (waiting.state, waiting.successor_id) == ("waiting", None)
        if store:
            ask = on.ask("seen", previous_response_id=first)
            ask.steering = "waiting"
            made = await on.create(ask, ME)
            await on.ended(made.response_id)
            assert [text_of(item) for item in on.model.requests[-1].items][-2:] == ["rather this", "seen"]
            assert (await outcome(on, first))[0].state == "joined"


@pytest.mark.parametrize("store", [True, False])
async def test_a_cancelled_response_gives_its_steering_back(*, store: bool) -> None:
    async with stage([TextDelta("one"), forever]) as on:
        first = await held(on, store=store)
        entry = on.live.running(first)
        assert entry is not None
        await steer(on, first)
        entry.stop(CANCELLED)
        (failed,) = await on.fate(ME, first, entry)
        assert (failed.state, failed.failure) == ("failed", "response_not_active")


async def test_nobody_steers_what_is_not_theirs_or_has_ended() -> None:
    async with stage([TextDelta("one"), Finished("stop")]) as on:
        assert await refusal(on, "resp_none") == "response_not_found"
        for store in (True, False):
            done = await on.answered("hi", store=store)
            assert await refusal(on, done.id) == "response_already_completed"
        assert await outcome(on, done.id) == []


async def test_another_user_finds_nothing_to_steer() -> None:
    async with stage([TextDelta("one"), forever]) as on:
        first = await held(on)
        with pytest.raises(NotFound):
            await on.steer(OTHER, first, said("x"), given=b'"x"')


async def test_what_no_model_takes_is_refused_before_it_is_accepted() -> None:
    async with stage([TextDelta("one"), forever]) as on:
        conversation = await on.started("hi", conversation="conv_1")
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(InvalidRequest) as refused:
            await steer(on, conversation)
        assert refused.value.code == "steering_not_supported"
        assert on.truth.steers.rows == []


@pytest.mark.parametrize("store", [True, False])
async def test_only_so_many_inputs_wait(*, store: bool) -> None:
    async with stage([TextDelta("one"), forever]) as on:
        first = await held(on, store=store)
        for number in range(MAX_STEERS):
            await steer(on, first, str(number))
        with pytest.raises(RateLimited):
            await steer(on, first)


async def test_an_unstored_response_that_is_over_takes_nothing_more() -> None:
    async with stage([TextDelta("one"), forever]) as on:
        entry = on.live.running(await held(on, store=False))
        assert entry is not None
        entry.over, entry.response.status = True, "completed"
        with pytest.raises(Conflict):
            await steer(on, entry.response.id)


async def test_a_stopping_server_takes_no_steering_and_leaves_what_it_has_to_the_next_start() -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, Finished("stop")]) as on:
        first = await held(on)
        entry = on.live.running(first)
        await steer(on, first)
        on.live.close()
        assert await refusal(on, first) == "stopping"
        go.set()
        assert [one.state for one in await on.fate(ME, first, entry)] == ["queued"]
        assert await on.truth.steers.owed() == [first]
        assert [one.state for one in await on.fate(ME, first, None)] == ["queued"]  # a start that takes too long


async def test_an_unstored_response_of_a_stopping_server_gives_its_steering_back() -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, Finished("stop")]) as on:
        first = await held(on, store=False)
        entry = on.live.running(first)
        await steer(on, first)
        on.live.close()
        go.set()
        assert [one.state for one in await on.fate(ME, first, entry)] == ["failed"]


async def test_a_store_that_refuses_is_asked_again() -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, Finished("stop")], THEN) as on:
        first = await held(on)
        entry = on.live.running(first)
        await steer(on, first)
        on.trouble.plan("of", Unavailable("not now"))
        on.trouble.plan("begin", Unavailable("not now"))
        go.set()
        assert [one.state for one in await on.fate(ME, first, entry)] == ["taken"]
        assert len(on.reports) == 2


@pytest.mark.parametrize("store", [True, False])
async def test_input_whose_successor_cannot_be_made_is_given_back(*, store: bool) -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, Finished("stop")]) as on:
        first = await held(on, store=store)
        entry = on.live.running(first)
        await steer(on, first)
        on.trouble.plan("begin", NotFound("gone"))
        go.set()
        (failed,) = await on.fate(ME, first, entry)
        assert (failed.state, failed.failure) == ("failed", "successor_creation_failed")


async def test_steering_that_was_not_accepted_cuts_nothing() -> None:
    go = anyio.Event()
    thinking: list[Step] = [ReasoningDelta("hm"), go, TextDelta("whole"), Finished("stop")]
    async with stage(thinking) as on:
        first = await held(on)
        on.trouble.plan("add_steer", Unavailable("not now"))
        with pytest.raises(Unavailable):
            await steer(on, first)
        go.set()
        assert (await on.ended(first)).status == "completed"


async def test_what_came_too_late_for_the_commit_leaves_no_successor() -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, Finished("stop")]) as on:
        first = await held(on)
        entry = on.live.running(first)
        on.trouble.plan("add_steer", Conflict("too late"))
        with pytest.raises(Conflict):
            await steer(on, first)
        go.set()
        assert await on.fate(ME, first, entry) == []
        assert len(on.truth.rows) == 1


async def test_the_successor_of_an_unstored_chain_is_given_all_of_it() -> None:
    go = anyio.Event()
    async with stage([TextDelta("one"), go, Finished("stop")], THEN) as on:
        ask = on.ask("two", store=False)
        ask.local_context = said("zero")
        first = (await on.create(ask, ME)).response_id
        await anyio.wait_all_tasks_blocked()
        entry = on.live.running(first)
        await steer(on, first)
        go.set()
        (taken,) = await on.fate(ME, first, entry)
        await on.ended(taken.successor_id or "")
        assert [text_of(item) for item in on.model.requests[-1].items] == ["zero", "two", "one", "rather this"]


async def test_a_later_follower_is_told_from_the_truth() -> None:
    async with stage() as on:
        on.truth.steers.rows.append(Steer("steer_1", "resp_1", [], b'"x"', state="taken", successor_id="resp_2"))
        assert [one.successor_id for one in await on.fate(ME, "resp_1", None)] == ["resp_2"]
