"""After a crash: each response is run, run again or ended by the rule, and never spliced."""

import anyio
import pytest

from chatbackend.domain.errors import Gone, Unavailable
from chatbackend.domain.events import Finished, TextDelta, ToolCallDelta, ToolCallStarted
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.ports import Fenced
from tests.support.fakes import ME, forever, stage
from tests.support.recovery import AGAIN, EVENTS, logged, recovered, recovery, texts, truth

pytestmark = pytest.mark.anyio


async def test_a_response_whose_call_was_never_started_is_run() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan("hi", instructions="Be brief.")
        await recovered(on)
        assert (truth(on, found).status, texts(truth(on, found).output)) == ("completed", ["again"])
        assert await on.types(found.id) == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
        [request] = on.model.requests
        assert (texts(request.items), request.instructions) == (["hi"], "Be brief.")
        assert on.truth.states() == ["completed"]


async def test_one_that_had_begun_its_stream_goes_on_in_it_without_a_second_beginning() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan()
        await logged(on, found)
        await recovered(on)
        types = await on.types(found.id)
        assert (types.count("created"), types[-1]) == (1, "completed")
        numbers = [event["sequence_number"] for event in await on.events(found.id)]
        assert numbers == list(range(len(numbers)))


async def test_one_whose_call_brought_nothing_is_run_once_more_and_both_calls_are_in_the_ledger() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found)
        await recovered(on)
        assert truth(on, found).status == "completed"
        assert on.truth.states() == ["interrupted", "completed"]
        assert f"start {found.id} 2" in on.happened


async def test_one_that_was_run_twice_already_is_ended() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=2)
        await logged(on, found)
        await recovered(on)
        assert (truth(on, found).status, truth(on, found).detail) == ("incomplete", "interrupted")
        assert on.model.requests == []
        assert on.truth.states() == ["interrupted", "interrupted"]


async def test_one_that_had_spoken_ends_with_what_was_heard_and_is_never_spliced() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan("hi!!", calls=1)
        await logged(on, found, TextDelta("Hel"), TextDelta("lo"))
        await recovered(on)
        kept = truth(on, found)
        assert (kept.status, kept.detail, kept.incomplete_reason) == ("incomplete", "interrupted", None)
        assert (texts(kept.output), kept.output[0].status) == (["Hello"], "incomplete")
        assert kept.usage is not None
        assert (kept.usage.estimated, kept.usage.input_tokens, kept.usage.output_tokens) == (True, 1, 2)
        assert (await on.types(found.id))[-1] == "incomplete"
        [*_, last] = await on.events(found.id)
        assert last["response"]["incomplete_details"] == {"reason": None, "chatbackend_reason": "interrupted"}
        assert on.model.requests == []
        assert on.truth.states() == ["interrupted"]


async def test_whole_items_of_an_interrupted_answer_stay_whole() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        said = [TextDelta("a"), ToolCallStarted("c", "f"), ToolCallDelta('{"x"')]
        await logged(on, found, *said)
        await recovered(on)
        assert [item.status for item in truth(on, found).output] == ["completed", "incomplete"]


async def test_calls_without_a_stored_response_are_settled_before_anything_runs() -> None:
    async with stage(AGAIN) as on:
        on.orphan()
        await recovered(on)
        assert on.happened[0].startswith("settle_abandoned")


@pytest.mark.parametrize("said", [True, False])
async def test_where_the_log_lost_its_tail_nothing_is_run_and_the_end_takes_an_unused_number(*, said: bool) -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, *([TextDelta("Hello")] if said else []))
        heard = len(await on.events(found.id))
        await recovered(on, lost_tail=True)
        numbers = [event["sequence_number"] for event in await on.events(found.id)]
        assert numbers == [*range(heard), 1_000]
        assert (truth(on, found).status, on.model.requests) == ("incomplete", [])


async def test_one_that_was_never_asked_anything_has_used_nothing() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan()
        await recovered(on, lost_tail=True)
        assert (truth(on, found).status, truth(on, found).usage, on.truth.ledger) == ("incomplete", None, {})


async def test_a_stream_of_a_response_that_has_just_begun_is_left_alone() -> None:
    async with stage(AGAIN) as on:
        late = on.orphan()
        await logged(on, late)
        on.truth.living.add(0)
        assert await recovery(on)() == 0
        await anyio.wait_all_tasks_blocked()
        [response_id] = on.truth.rows
        assert await on.types(response_id) == ["created"]


async def test_turns_of_a_conversation_are_taken_over_in_their_order() -> None:
    async with stage(AGAIN, [TextDelta("third"), Finished("stop")]) as on:
        orphans = [on.orphan(text, conversation="conv_1") for text in ("one", "two", "three")]
        for turn, found in enumerate(orphans, start=1):
            on.truth.rows[found.id].response.turn = turn
        on.truth.conversations["conv_1"] = 3
        on.truth.ledger["call_x"] = orphans[0].id, "started", None
        await logged(on, orphans[0], TextDelta("cut"))
        await recovered(on)
        assert [truth(on, found).status for found in orphans] == ["incomplete", "completed", "completed"]
        assert [texts(request.items) for request in on.model.requests] == [
            ["one", "cut", "two"],
            ["one", "cut", "two", "again", "three"],
        ]
        assert (await on.types(orphans[2].id))[:2] == ["created", "queued"]


async def test_what_is_new_in_a_conversation_waits_for_what_is_recovered() -> None:
    go_on = anyio.Event()
    async with stage([go_on, *AGAIN], AGAIN) as on:
        found = on.orphan("one", conversation="conv_1")
        on.truth.rows[found.id].response.turn = on.truth.conversations["conv_1"] = 1
        await recovery(on)()
        second = await on.started("two", conversation="conv_1")
        await anyio.wait_all_tasks_blocked()
        assert len(on.model.requests) == 1
        go_on.set()
        await on.ended(second)
        assert texts(on.model.requests[1].items) == ["one", "again", "two"]


async def test_recovery_waits_for_a_store_that_refuses() -> None:
    async with stage(AGAIN) as on:
        first, second = on.orphan(calls=1), on.orphan(calls=1)
        for found in (first, second):
            await logged(on, found, TextDelta("Hello"))
        on.trouble.plan("finish", Unavailable("full"))
        on.trouble.plan("end", Unavailable("full"))
        await recovery(on)()
        with anyio.fail_after(10):
            assert [batch async for batch in await on.follow(ME, second.id)]
        assert [truth(on, found).status for found in (first, second)] == ["incomplete", "incomplete"]
        assert (await on.types(first.id)).count("incomplete") == 1
        assert len(on.reports) == 2


@pytest.mark.parametrize("error", [Fenced(), Gone("deleted"), ZeroDivisionError()])
async def test_one_that_cannot_be_helped_does_not_harm_the_others(error: Exception) -> None:
    async with stage(AGAIN) as on:
        orphans = [on.orphan(text, conversation="conv_1", calls=1) for text in ("one", "two")]
        for turn, found in enumerate(orphans, start=1):
            on.truth.rows[found.id].response.turn = turn
        await logged(on, orphans[0], TextDelta("cut"))
        await logged(on, orphans[1])
        on.trouble.plan("finish", error)
        await recovered(on)
        assert truth(on, orphans[1]).status == "completed"
        assert len(on.reports) == isinstance(error, ZeroDivisionError)


async def test_a_response_that_is_deleted_while_recovery_is_under_way_is_not_run() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan()
        await recovery(on)()
        del on.truth.rows[found.id]
        await anyio.wait_all_tasks_blocked()
        assert (on.model.requests, on.live.all_running()) == ([], [])


async def test_long_logs_are_read_whole() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, *[TextDelta("x") for _ in range(2_500)])
        await recovered(on)
        assert texts(truth(on, found).output) == ["x" * 2_500]


async def test_one_whose_owners_died_twice_is_ended_whatever_they_had_done() -> None:
    async with stage(AGAIN) as on:
        first, second = on.orphan(), on.orphan(calls=1)
        on.truth.rows[first.id].takeovers = 1
        on.truth.rows[second.id].takeovers = 1
        await recovered(on)
        assert [truth(on, found).status for found in (first, second)] == ["incomplete", "incomplete"]
        assert on.model.requests == []
        assert (await on.types(first.id))[::2] == ["created"]


@pytest.mark.parametrize("said", [True, False])
async def test_one_that_was_to_be_cancelled_ends_so_and_is_not_run(*, said: bool) -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=int(said))
        on.truth.rows[found.id].cancel_requested = True
        await logged(on, found, *([TextDelta("Hello")] if said else []))
        await recovered(on)
        kept = truth(on, found)
        assert (kept.status, texts(kept.output)) == ("cancelled", ["Hello"] if said else [])
        assert (await on.types(found.id))[-1] == "incomplete"
        assert (on.model.requests, on.truth.states()) == ([], ["cancelled"] * said)


async def test_one_that_was_taken_over_once_is_run() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan()
        await recovered(on)
        assert on.truth.rows[found.id].takeovers == 1
        assert truth(on, found).status == "completed"


async def test_the_log_is_taken_before_it_is_read_so_that_an_owner_that_lives_adds_nothing_unseen() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hel"))
        head = len(await on.events(found.id))
        late = EVENTS.lifecycle("response.in_progress", found, head)

        async def owner() -> None:
            await on.log.append(found.id, fence=0, expected=head, events=[late], ended=False)

        on.log.meanwhile, on.log.steps = owner, []
        await recovered(on)
        assert on.log.steps[:2] == ["open", "read"]
        with pytest.raises(Fenced):
            await on.log.append(found.id, fence=0, expected=head + 1, events=[late], ended=False)
        numbers = [event["sequence_number"] for event in await on.events(found.id)]
        assert numbers == list(range(head + 2))
        assert (await on.types(found.id))[-2:] == ["in_progress", "incomplete"]


async def test_an_end_of_its_own_that_the_log_has_lost_is_told_again_under_an_unused_number() -> None:
    async with stage(AGAIN) as on:
        known = KnownLog(on.live)
        known.begin("log")
        response_id = (await on.answered()).id
        await on.log.lose_end(response_id)
        on.log.name = "another"
        await recovery(on, known=known)()
        assert known.name == "log"  # not yet: the end is missing
        await anyio.wait_all_tasks_blocked()
        numbers = [event["sequence_number"] for event in await on.events(response_id)]
        assert numbers[-2:] == [len(numbers) - 2, 1_000]
        assert (await on.types(response_id))[-1] == "completed"
        await recovery(on, known=known)()
        assert (known.name, on.fences.held) == ("another", {1})


async def test_a_takeover_that_may_have_happened_unseen_is_left_to_run_out() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan()
        on.trouble.plan("take_over", Unavailable("no answer"))
        with pytest.raises(Unavailable):
            await recovery(on)()
        assert on.fences.held == {1}
        await recovered(on)
        assert truth(on, found).status == "completed"


async def test_a_server_that_stops_takes_nothing_over() -> None:
    async with stage(AGAIN) as on:
        on.orphan()
        on.live.close()
        assert await recovery(on)() == 0
        assert on.happened == []


async def test_nothing_to_recover_is_nothing_to_do() -> None:
    async with stage(AGAIN) as on:
        assert await recovery(on)() == 0
        await anyio.wait_all_tasks_blocked()
        assert on.happened == ["settle_abandoned "]
        assert on.fences.held == {1}


async def test_a_cancel_that_comes_before_the_response_is_taken_over_stops_what_runs_again() -> None:
    async with stage([TextDelta("Hel"), forever]) as on:
        orphan = on.orphan()
        statuses: list[str] = []

        async def stop() -> None:
            statuses.append((await on.cancel(ME, orphan.id)).status)

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            await anyio.wait_all_tasks_blocked()
            await recovery(on)()
        assert statuses == ["cancelled"]
