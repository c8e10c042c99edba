"""Stopping and deleting responses and conversations."""

from collections.abc import Collection, Sequence

import anyio
import pytest

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import text_of
from chatbackend.usecases.cancel_response import CancelResponse, ended_response
from chatbackend.usecases.delete_conversation import ROUNDS, DeleteConversation
from tests.support.fakes import ME, OTHER, Stage, Step, forever, stage

pytestmark = pytest.mark.anyio

HELLO: list[Step] = [TextDelta("Hello"), Finished("stop")]
ENDLESS: list[Step] = [TextDelta("Hel"), forever]


async def speaking(on: Stage, **body: object) -> str:
    """Start a response and wait until its model has spoken."""
    response_id = await on.started("hi", **body)
    await anyio.wait_all_tasks_blocked()
    return response_id


@pytest.mark.parametrize("store", [True, False])
async def test_a_running_response_is_stopped_and_its_partial_answer_kept(*, store: bool) -> None:
    async with stage(ENDLESS) as on:
        response_id = await speaking(on, store=store)
        found = await on.cancel(ME, response_id)
        assert (found.status, found.detail, text_of(found.output[0])) == ("cancelled", "cancelled", "Hel")
        assert on.model.hung_up == 1
        [*_, last] = await on.events(response_id, store=store)
        assert (last["type"], last["response"]["status"]) == ("response.incomplete", "cancelled")
        assert on.truth.states() == ["cancelled"]


async def test_a_response_that_waits_for_its_turn_is_stopped_before_it_costs_anything() -> None:
    async with stage(ENDLESS) as on:
        first = await speaking(on, conversation="conv_1")
        second = await speaking(on, conversation="conv_1")
        assert (await on.cancel(ME, second)).status == "cancelled"
        assert len(on.model.requests) == 1
        assert (await on.cancel(ME, first)).status == "cancelled"


async def test_a_response_can_be_stopped_before_it_began() -> None:
    async with stage(HELLO) as on:
        found = await on.cancel(ME, await on.started())
        assert (found.status, on.model.requests) == ("cancelled", [])


async def test_of_two_who_stop_it_both_are_told_the_same_end() -> None:
    async with stage(ENDLESS) as on:
        response_id = await speaking(on)
        statuses: list[str] = []

        async def stop() -> None:
            statuses.append((await on.cancel(ME, response_id)).status)

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            group.start_soon(stop)
        assert statuses == ["cancelled", "cancelled"]
        assert (await on.types(response_id)).count("incomplete") == 1


async def test_what_has_ended_is_returned_as_it_is() -> None:
    async with stage(HELLO) as on:
        found = await on.answered()
        assert await on.cancel(ME, found.id) == found


async def test_what_nobody_runs_yet_is_returned_once_recovery_has_ended_it() -> None:
    async with stage(HELLO) as on:
        orphan = on.orphan()
        statuses: list[str] = []

        async def stop() -> None:
            statuses.append((await on.cancel(ME, orphan.id)).status)

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            await anyio.wait_all_tasks_blocked()
            assert statuses == []
            on.truth.rows[orphan.id].response.status = "incomplete"
            on.live.recovered.set()
        assert statuses == ["incomplete"]


async def test_what_nobody_takes_over_is_not_said_to_have_ended() -> None:
    async with stage(HELLO) as on:
        on.live.recovered.set()
        with pytest.raises(Unavailable, match="not taken over"):
            await on.cancel(ME, on.orphan().id)


@pytest.mark.parametrize("store", [True, False])
async def test_a_foreign_response_is_not_there_to_be_stopped_or_deleted(*, store: bool) -> None:
    async with stage(ENDLESS) as on:
        response_id = await speaking(on, store=store)
        for refused in (on.cancel, on.delete):
            with pytest.raises(NotFound):
                await refused(OTHER, response_id)
        entry = on.live.running(response_id)
        assert entry is not None
        assert entry.outcome is None


async def test_a_stop_whose_end_is_not_saved_in_time_is_no_success() -> None:
    async with stage(ENDLESS) as on:
        response_id = await speaking(on)
        on.trouble.plan("finish", *[Unavailable("full")] * 3)
        with pytest.raises(Unavailable):
            await CancelResponse(on.truth, on.live, patience_s=0.01)(ME, response_id)
        assert (await on.ended(response_id)).status == "cancelled"


async def test_only_a_committed_end_is_told() -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("finish", Unavailable("full"))
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        on.live.close()
        await entry.done.wait()
        assert entry.response.status == "completed"
        with pytest.raises(Unavailable):
            await ended_response(on.truth, ME, entry)
        on.truth.rows[response_id].response.status = "incomplete"
        assert (await ended_response(on.truth, ME, entry)).status == "incomplete"
        del on.truth.rows[response_id]
        with pytest.raises(NotFound):
            await ended_response(on.truth, ME, entry)
        entry.response.store = False
        with pytest.raises(Unavailable):
            await ended_response(on.truth, ME, entry)


async def test_a_deleted_response_is_gone_from_truth_and_log() -> None:
    async with stage(HELLO) as on:
        found = await on.answered()
        await on.delete(ME, found.id)
        assert (on.truth.rows, await on.extent(found.id)) == ({}, None)
        with pytest.raises(NotFound):
            await on.delete(ME, found.id)


async def test_a_running_response_is_stopped_before_it_is_deleted() -> None:
    async with stage(ENDLESS) as on:
        response_id = await speaking(on)
        await on.delete(ME, response_id)
        assert (on.truth.rows, await on.extent(response_id), on.model.hung_up) == ({}, None, 1)
        assert on.truth.states() == ["cancelled"]


async def test_a_response_that_somebody_deletes_at_the_same_time_is_not_found() -> None:
    async with stage(HELLO) as on:
        found = await on.answered()
        on.trouble.plan("delete", NotFound("gone"))
        with pytest.raises(NotFound):
            await on.delete(ME, found.id)


async def test_an_unstored_response_is_stopped_and_there_is_nothing_to_delete() -> None:
    async with stage(ENDLESS) as on:
        response_id = await speaking(on, store=False)
        with pytest.raises(NotFound):
            await on.delete(ME, response_id)
        assert on.live.running(response_id) is None


class FakeConversations:
    """`Conversations` with one, whose running responses are those of the stage."""

    def __init__(self, on: Stage, rounds: Sequence[Sequence[str]] | None = None) -> None:
        self.deleted = False
        self._on = on
        self._rounds = list(rounds or ())

    async def delete(
        self, principal: Principal, conversation_id: str, *, erasing: Collection[str] | None = None
    ) -> Sequence[str]:
        if self._rounds:
            return self._rounds.pop(0)
        alive = [entry.response.id for entry in reversed(self._on.live.all_running())]
        if erasing is not None:
            alive = [each for each in self._on.truth.rows if each not in erasing]
        self.deleted = not alive
        return alive


async def test_a_conversation_is_deleted_once_nothing_runs_in_it() -> None:
    async with stage(ENDLESS) as on:
        ids = [await speaking(on, conversation="conv_1") for _ in range(3)]
        conversations = FakeConversations(on)
        await DeleteConversation(conversations, on.cancel, on.log)(ME, "conv_1")
        assert conversations.deleted
        assert {on.truth.rows[each].response.status for each in ids} == {"cancelled"}
        assert len(on.model.requests) == 1


async def test_a_response_that_is_deleted_meanwhile_is_no_hindrance() -> None:
    async with stage(HELLO) as on:
        conversations = FakeConversations(on, [["resp_deleted"]])
        await DeleteConversation(conversations, on.cancel, on.log)(ME, "conv_1")
        assert conversations.deleted


async def test_a_conversation_in_which_something_always_runs_is_not_deleted() -> None:
    async with stage(HELLO) as on:
        conversations = FakeConversations(on, [["resp_1"]] * ROUNDS)
        with pytest.raises(Unavailable):
            await DeleteConversation(conversations, on.cancel, on.log)(ME, "conv_1")
        assert not conversations.deleted


async def test_erasing_forgets_the_events_of_all_responses_before_it_deletes() -> None:
    async with stage(ENDLESS) as on:
        running = await speaking(on, conversation="conv_1")
        conversations = FakeConversations(on)
        await DeleteConversation(conversations, on.cancel, on.log).erase(ME, "conv_1")
        assert conversations.deleted
        assert on.truth.rows[running].response.status == "cancelled"
        assert await on.extent(running) is None


async def test_a_conversation_in_which_something_always_begins_is_not_erased() -> None:
    async with stage(HELLO) as on:
        conversations = FakeConversations(on, [[f"resp_{number}"] for number in range(ROUNDS)])
        with pytest.raises(Unavailable):
            await DeleteConversation(conversations, on.cancel, on.log).erase(ME, "conv_1")
        assert not conversations.deleted
