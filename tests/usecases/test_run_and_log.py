"""What a run does where its log lags, takes events on the spot, or takes no more."""

import anyio
import pytest

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.usecases.journal import BACKLOG_EVENTS
from chatbackend.usecases.ports import Fenced
from tests.support.fakes import Step, forever, stage

pytestmark = pytest.mark.anyio


async def test_a_log_that_lags_holds_the_generation_back() -> None:
    said: list[Step] = [*[TextDelta("x") for _ in range(3 * BACKLOG_EVENTS)], Finished("stop")]
    async with stage(said) as on:
        on.log.taking = anyio.Event()
        response_id = await on.started()
        await anyio.wait_all_tasks_blocked()
        said_by_then = on.model.said
        on.log.taking.set()
        assert BACKLOG_EVENTS - 10 < said_by_then < BACKLOG_EVENTS + 10
        assert (await on.ended(response_id)).status == "completed"


async def test_where_the_log_takes_events_at_once_they_are_there_before_anything_else_happens() -> None:
    async with stage([TextDelta("a"), TextDelta("b"), Finished("stop")], prompt=True) as on:
        found = await on.answered()
        assert found.status == "completed"
        numbers = [event["sequence_number"] for event in await on.events(found.id)]
        assert numbers == list(range(len(numbers)))
        started = next(place for place, step in enumerate(on.happened) if step.startswith("start"))
        assert (
            on.happened.index("log 1 response.in_progress")
            < started
            < on.happened.index("log 4 response.output_text.delta")
        )


async def test_a_log_that_takes_at_once_and_has_no_room_holds_the_generation_back_at_once() -> None:
    said: list[Step] = [*[TextDelta("x") for _ in range(20)], Finished("stop")]
    async with stage(said, prompt=True) as on:
        on.log.room, on.log.taking = False, anyio.Event()
        response_id = await on.started()
        await anyio.wait_all_tasks_blocked()
        said_by_then = on.model.said
        on.log.taking.set()
        found = await on.ended(response_id)
        assert (said_by_then, found.status) == (0, "completed")
        numbers = [event["sequence_number"] for event in await on.events(response_id)]
        assert numbers == list(range(len(numbers)))


async def test_a_log_that_takes_at_once_and_then_no_more_fails_the_response() -> None:
    said: list[Step] = [TextDelta("x"), TextDelta("y"), forever]
    async with stage(said, prompt=True) as on:
        on.log.room = False
        on.trouble.plan("append", Unavailable("full"))
        found = await on.answered()
        assert (found.status, found.failure and found.failure.code) == ("failed", "server_error")


async def test_whoever_lost_a_log_that_takes_at_once_writes_nothing_more() -> None:
    async with stage([TextDelta("x"), forever], prompt=True) as on:
        on.log.room = False
        on.trouble.plan("append", Fenced())
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        await on.ended(response_id)
        assert entry.fenced
        assert not any(step.startswith("finish") for step in on.happened)


async def test_the_deadline_ends_a_response_whose_log_takes_at_once() -> None:
    async with stage([TextDelta("x"), forever], prompt=True, deadline_s=0.05) as on:
        found = await on.answered()
        assert (found.status, found.detail) == ("incomplete", "deadline_exceeded")
