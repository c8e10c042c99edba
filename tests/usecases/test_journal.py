"""The journal numbers events, writes them in order, and loses none when the log fails."""

from collections.abc import Awaitable, Callable
from itertools import count

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.domain.answer import PartGrew
from chatbackend.domain.errors import Gone, Unavailable
from chatbackend.domain.responses import COMPLETED, NUMBERS_PER_BLOCK, Response, end
from chatbackend.usecases.journal import BACKLOG_EVENTS, COPY_BYTES, Journal
from chatbackend.usecases.ports import Extent, Fenced
from tests.support.fakes import ME, FakeClock, RecordingLog, Trouble
from tests.support.model_events import numbered
from tests.support.openai_types import checked_event

pytestmark = pytest.mark.anyio


class Desk:
    """A journal on a log in memory."""

    def __init__(self, *, prompt: bool = False) -> None:
        self.happened: list[str] = []
        self.trouble = Trouble()
        self.log = RecordingLog(self.happened, self.trouble, FakeClock(), prompt=prompt)
        shown = shapes.ask(shapes.read({"model": "m", "input": ""}), numbered()).shown
        self.response = Response("resp_1", ME, "m", 1, shown=shown)
        self.journal = self.another(1)
        self._steps = count()

    def another(self, fence: int, reserve: Callable[[int], Awaitable[None]] | None = None) -> Journal:
        return Journal(self.log, ResponseEvents(), self.response, fence=fence, reserve=reserve or self._reserve)

    async def _reserve(self, numbers: int) -> None:
        self.trouble.strike("reserve")
        self.happened.append(f"reserve {numbers}")

    def say(self, number: int, journal: Journal | None = None) -> None:
        steps = [PartGrew("msg_1", 0, 0, "output_text", str(next(self._steps))) for _ in range(number)]
        (journal or self.journal).steps([*steps])

    async def lose(self, following: int) -> None:
        """Let the log come back as it was when it held `following` events, and knew an earlier owner."""
        kept = await self.log.read("resp_1", after=-1, limit=following)
        await self.log.delete("resp_1")
        await self.log.open("resp_1", fence=0)
        await self.log.append("resp_1", fence=0, expected=0, events=kept, ended=False)

    async def told(self) -> list[tuple[int, str]]:
        """Return number and text of everything logged."""
        events = [checked_event(event.data) for event in await self.log.read("resp_1", after=-1, limit=100_000)]
        return [(event["sequence_number"], event.get("delta", event["type"])) for event in events]


@given(st.lists(st.integers(0, 700), min_size=1, max_size=6))
async def test_whatever_the_batches_numbers_have_no_gap_and_no_text_is_lost(sizes: list[int]) -> None:
    desk = Desk()
    await desk.journal.open()
    async with anyio.create_task_group() as group:
        group.start_soon(desk.journal.pump)
        for size in sizes:
            desk.say(size)
            await anyio.lowlevel.checkpoint()
        await desk.journal.flush()
        group.cancel_scope.cancel()
    end(desk.response, COMPLETED, at=1)
    await desk.journal.end("response.completed")
    total = sum(sizes)
    assert await desk.told() == [*[(n, str(n)) for n in range(total)], (total, "response.completed")]


async def test_what_waits_goes_out_in_one_append() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(5)
    await desk.journal.flush()
    await desk.journal.flush()
    assert desk.happened == [f"log {number} response.output_text.delta" for number in range(5)]


async def test_a_lone_event_goes_out_at_once() -> None:
    desk = Desk()
    await desk.journal.open()
    async with anyio.create_task_group() as group:
        group.start_soon(desk.journal.pump)
        await anyio.wait_all_tasks_blocked()
        desk.say(1)
        await anyio.wait_all_tasks_blocked()
        assert await desk.told() == [(0, "0")]
        group.cancel_scope.cancel()


@pytest.mark.parametrize("trouble", ["append", "reserve"])
async def test_what_the_log_refused_goes_out_when_it_takes_it_again(trouble: str) -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(NUMBERS_PER_BLOCK + 2)
    desk.trouble.plan(trouble, Unavailable("full"))
    with pytest.raises(Unavailable):
        await desk.journal.flush()
    desk.say(1)
    await desk.journal.flush()
    assert await desk.told() == [(number, str(number)) for number in range(NUMBERS_PER_BLOCK + 3)]


async def test_numbers_are_reserved_in_blocks_before_they_are_used() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(NUMBERS_PER_BLOCK)
    await desk.journal.flush()
    assert not any(step.startswith("reserve") for step in desk.happened)
    desk.say(1)
    await desk.journal.flush()
    assert desk.happened[NUMBERS_PER_BLOCK:] == ["reserve 2000", "log 1000 response.output_text.delta"]
    desk.say(2 * NUMBERS_PER_BLOCK)
    await desk.journal.flush()
    assert [step for step in desk.happened if step.startswith("reserve")] == [
        "reserve 2000",
        "reserve 3000",
        "reserve 4000",
    ]


async def test_the_number_of_the_end_is_reserved_too() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(NUMBERS_PER_BLOCK)
    await desk.journal.end("response.completed")
    assert desk.happened[-2:] == ["reserve 2000", "log 1000 response.completed"]


async def test_a_journal_goes_on_where_the_stream_is() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(3)
    await desk.journal.flush()
    later = desk.another(2)
    assert await later.open() == 3
    desk.say(1, later)
    await later.flush()
    desk.say(1)
    with pytest.raises(Fenced):
        await desk.journal.flush()
    assert await desk.told() == [(number, str(number)) for number in range(4)]


async def test_the_end_may_take_a_number_that_was_never_used() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(2)
    await desk.journal.end("response.completed", number=1_000)
    assert [number for number, _ in await desk.told()] == [0, 1, 1_000]


async def test_the_end_is_never_put_below_what_is_there() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(3)
    await desk.journal.end("response.completed", number=1)
    assert [number for number, _ in await desk.told()] == [0, 1, 2, 3]


async def test_a_deleted_stream_takes_nothing_more() -> None:
    desk = Desk()
    await desk.journal.open()
    await desk.log.delete("resp_1")
    desk.say(1)
    with pytest.raises(Gone):
        await desk.journal.flush()


async def test_the_first_event_shows_the_response_as_it_began() -> None:
    desk = Desk()
    end(desk.response, COMPLETED, at=5)
    await desk.journal.open()
    desk.journal.created()
    await desk.journal.flush()
    [event] = await desk.log.read("resp_1", after=-1, limit=9)
    shown = checked_event(event.data)["response"]
    assert (shown["status"], shown["completed_at"], shown["output"]) == ("queued", None, [])
    assert desk.response.status == "completed"


async def test_a_journal_that_lags_far_behind_says_so() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(BACKLOG_EVENTS - 1)
    assert not desk.journal.full
    desk.say(1)
    assert desk.journal.full
    await desk.journal.flush()
    assert not desk.journal.full


async def test_without_a_truth_nothing_is_reserved() -> None:
    desk = Desk()
    journal = Journal(desk.log, ResponseEvents(), desk.response, fence=1, reserve=None)
    await journal.open()
    desk.say(NUMBERS_PER_BLOCK + 1, journal)
    await journal.flush()
    assert len(await desk.told()) == NUMBERS_PER_BLOCK + 1


@pytest.mark.parametrize("left", [0, 2, 5])
async def test_a_log_that_lost_events_gets_the_very_same_again(left: int) -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(3)
    await desk.journal.flush()
    desk.say(2)
    await desk.journal.flush()
    before = await desk.told()
    await desk.lose(left)
    desk.say(1)
    await desk.journal.flush()
    assert await desk.told() == [*before, (5, "5")]


async def test_a_log_that_lost_events_before_the_end_gets_them_with_the_end() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(3)
    await desk.journal.flush()
    await desk.lose(1)
    await desk.journal.end("response.completed")
    assert await desk.told() == [(0, "0"), (1, "1"), (2, "2"), (3, "response.completed")]
    assert await desk.log.extent("resp_1") == Extent(0, 4, ended=True)


async def test_where_too_much_was_lost_only_the_end_follows_under_a_number_of_its_own() -> None:
    desk = Desk()
    await desk.journal.open()
    for _ in range(3):
        desk.journal.steps([PartGrew("msg_1", 0, 0, "output_text", "x" * (COPY_BYTES // 2))])
        await desk.journal.flush()
    await desk.lose(1)
    desk.say(2)
    await desk.journal.flush()
    desk.say(1)
    await desk.journal.flush()
    assert [number for number, _ in await desk.told()] == [0]
    await desk.journal.end("response.completed")
    assert [number for number, _ in await desk.told()] == [0, 6]


async def test_an_owner_of_whom_the_truth_knows_no_more_writes_nothing_again() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(3)
    await desk.journal.flush()
    await desk.lose(1)
    desk.say(1)
    desk.trouble.plan("reserve", Fenced())
    with pytest.raises(Fenced):
        await desk.journal.flush()
    assert await desk.told() == [(0, "0")]


async def test_events_are_never_put_behind_those_of_somebody_else() -> None:
    desk = Desk()
    await desk.journal.open()
    desk.say(3)
    await desk.journal.flush()
    await desk.lose(1)
    other = desk.another(0)
    assert await other.open() == 1
    other.steps([PartGrew("msg_1", 0, 0, "output_text", "another answer")])
    await other.flush()
    desk.say(1)
    with pytest.raises(Fenced):
        await desk.journal.flush()
    assert await desk.told() == [(0, "0"), (1, "another answer")]


async def test_without_a_truth_a_log_that_lost_events_gets_them_too() -> None:
    desk = Desk()
    journal = Journal(desk.log, ResponseEvents(), desk.response, fence=1, reserve=None)
    await journal.open()
    desk.say(2, journal)
    await journal.flush()
    await desk.lose(0)
    desk.say(1, journal)
    await journal.flush()
    assert await desk.told() == [(0, "0"), (1, "1"), (2, "2")]


async def test_a_log_that_takes_at_once_has_events_without_a_wait_up_to_what_is_reserved() -> None:
    desk = Desk(prompt=True)
    await desk.journal.open()
    desk.say(3)
    assert desk.happened == [f"log {number} response.output_text.delta" for number in range(3)]
    desk.say(NUMBERS_PER_BLOCK)
    assert (len(desk.happened), desk.journal.full) == (3, True)
    await desk.journal.flush()
    assert desk.happened[3] == "reserve 2000"
    desk.say(1)
    assert desk.happened[-1] == f"log {NUMBERS_PER_BLOCK + 3} response.output_text.delta"


async def test_what_is_taken_at_once_does_not_overtake_what_waits() -> None:
    desk = Desk(prompt=True)
    await desk.journal.open()
    desk.log.room = False
    desk.say(2)
    desk.log.room = True
    desk.log.taking = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(desk.journal.flush)
        await anyio.wait_all_tasks_blocked()
        desk.say(1)
        assert desk.happened == []
        desk.log.taking.set()
    desk.say(1)
    assert [number for number, _ in await desk.told()] == [0, 1, 2, 3]


async def test_what_was_taken_at_once_leaves_no_gap_in_the_copy_for_a_log_that_lost_events() -> None:
    desk = Desk(prompt=True)
    await desk.journal.open()
    for room in (False, True, False):
        desk.log.room = room
        desk.say(2)
        await desk.journal.flush()
    await desk.lose(4)
    desk.say(1)
    await desk.journal.flush()
    assert [number for number, _ in await desk.told()] == [0, 1, 2, 3, 4, 5, 6]
