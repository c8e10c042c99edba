"""After a crash: ends that are committed and not told, and what ended responses were steered with."""

import anyio
import pytest

from chatbackend.domain.events import TextDelta
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.responses import COMPLETED, end
from chatbackend.domain.steering import Steer
from tests.support.fakes import stage
from tests.support.recovery import AGAIN, EVENTS, logged, recovered, recovery, truth

pytestmark = pytest.mark.anyio


async def test_the_end_is_committed_before_it_is_told() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        await recovered(on)
        last = next(step for step in on.happened if step.endswith("response.incomplete"))
        assert on.happened.index(f"finish {found.id} incomplete") < on.happened.index(last)


async def test_a_committed_end_that_the_log_lacks_is_told() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        end(truth(on, found), COMPLETED, at=1)
        await recovered(on)
        assert (await on.types(found.id))[-1] == "completed"
        assert on.model.requests == []
        assert [step for step in on.happened if step.startswith("finish")] == []


async def test_a_committed_end_whose_stream_had_not_begun_is_told_with_its_beginning() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, begun=False)
        end(truth(on, found), COMPLETED, at=1)
        await recovered(on)
        first, last = await on.events(found.id)
        assert (first["type"], first["response"]["status"]) == ("response.created", "queued")
        assert (last["type"], last["response"]["status"]) == ("response.completed", "completed")


async def test_a_log_of_a_deleted_response_is_forgotten() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        del on.truth.rows[found.id]
        await recovered(on)
        assert await on.extent(found.id) is None


async def test_a_stream_that_the_log_lost_whole_has_only_its_end() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await recovered(on, lost_tail=True)
        assert [event["sequence_number"] for event in await on.events(found.id)] == [1_000]


async def test_a_committed_end_behind_a_lost_tail_takes_an_unused_number_too() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        heard = len(await on.events(found.id))
        end(truth(on, found), COMPLETED, at=1)
        on.truth.rows[found.id].numbers_reserved = 3_000
        await recovered(on, lost_tail=True)
        assert [event["sequence_number"] for event in await on.events(found.id)] == [*range(heard), 3_000]


async def test_two_that_see_the_same_end_missing_tell_it_once() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        end(truth(on, found), COMPLETED, at=1)
        for _ in range(2):
            await recovery(on)()
        await anyio.wait_all_tasks_blocked()
        assert (await on.types(found.id)).count("completed") == 1


async def test_an_end_that_a_living_server_is_about_to_tell_is_left_to_it() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        end(truth(on, found), COMPLETED, at=1)
        on.truth.living.add(0)
        await recovered(on)
        assert (await on.types(found.id))[-1] == "output_text.delta"
        assert on.fences.held == {1}


async def test_an_end_that_its_own_run_is_about_to_tell_is_left_to_that() -> None:
    async with stage(AGAIN) as on:
        response_id = (await on.answered()).id
        await on.log.lose_end(response_id)
        on.live.add(on.truth.rows[response_id].response, on.ask())
        await recovery(on)()
        await anyio.wait_all_tasks_blocked()
        assert (await on.types(response_id))[-1] != "completed"


async def test_an_end_that_another_server_takes_first_is_left_to_it() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        end(truth(on, found), COMPLETED, at=1)
        await recovery(on)()
        truth(on, found).fence = 99
        on.truth.living.add(99)
        await anyio.wait_all_tasks_blocked()
        assert (await on.types(found.id))[-1] == "output_text.delta"


async def test_an_end_that_its_owner_tells_at_the_last_moment_is_told_once() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan(calls=1)
        await logged(on, found, TextDelta("Hello"))
        end(truth(on, found), COMPLETED, at=1)
        head = len(await on.events(found.id))
        last = EVENTS.lifecycle("response.completed", truth(on, found), head)

        async def owner() -> None:
            await on.log.append(found.id, fence=0, expected=head, events=[last], ended=True)
            on.trouble.plan("end", ZeroDivisionError())  # for whoever tells it again

        on.log.meanwhile = owner
        await recovered(on)
        assert (await on.types(found.id)).count("completed") == 1
        assert (on.reports, len(on.trouble.waiting["end"])) == ([], 1)


async def test_one_that_is_deleted_while_it_is_ended_is_told_nothing() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan()
        on.truth.rows[found.id].takeovers = 1
        await logged(on, found, TextDelta("Hello"))

        async def delete() -> None:
            del on.truth.rows[found.id]

        on.log.meanwhile = delete
        await recovered(on)
        assert (await on.types(found.id))[-1] == "output_text.delta"


async def test_a_steered_response_that_ended_gets_its_successor() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan("hi", calls=2)
        on.truth.steers.rows.append(steer(found.id))
        await recovered(on)
        assert truth(on, found).status == "incomplete"
        (taken,) = on.truth.steers.rows
        assert taken.successor_id is not None
        assert (await on.ended(taken.successor_id)).previous_response_id == found.id
        assert on.live.recovered.is_set()


async def test_a_steered_response_that_had_said_nothing_gives_way_to_its_successor() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan("hi")
        on.truth.steers.rows += [steer(found.id), steer("resp_deleted")]
        await recovered(on)
        assert truth(on, found).incomplete_reason == "steered"
        assert len(on.model.requests) == 1
        assert [row.state for row in on.truth.steers.rows] == ["taken", "queued"]
        assert len(on.truth.rows) == 2


async def test_a_steered_response_that_is_deleted_while_it_is_taken_over_has_no_successor() -> None:
    async with stage(AGAIN) as on:
        found = on.orphan("hi", calls=2)
        on.truth.steers.rows.append(steer(found.id))

        async def deleted() -> None:
            del on.truth.rows[found.id]

        on.log.meanwhile = deleted
        await recovered(on)
        assert (on.truth.rows, on.model.requests) == ({}, [])
        assert on.live.recovered.is_set()


def steer(response_id: str) -> Steer:
    item = Message("msg_steer", "user", [InputText("rather this")])
    return Steer(f"steer_{response_id}", response_id, [item], b'"rather this"')
