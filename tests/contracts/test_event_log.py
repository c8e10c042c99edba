"""What every `EventLog` promises its owner and its readers."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbackend.domain.errors import Gone
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.usecases.follow_response import FROM_THE_START, follow
from chatbackend.usecases.ports import Behind, EventLog, Extent, Fenced, LogEvent
from tests.support.event_logs import event_log
from tests.support.redis import address, prefix

pytestmark = pytest.mark.anyio
END = "response.completed"
T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        return self.time


@asynccontextmanager
async def memory(folder: Path) -> AsyncGenerator[EventLog, None]:
    yield MemoryEventLog(Clock().now)


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[EventLog, None]:
    async with event_log(folder, Clock().now) as log:
        yield log


@asynccontextmanager
async def redis(folder: Path) -> AsyncGenerator[EventLog, None]:
    assert folder
    async with prefix() as name, RedisEventLog(address(), prefix=name) as log:
        yield log


@pytest.fixture(params=[memory, sqlite, redis])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[EventLog, None]:
    async with request.param(tmp_path) as log:
        yield log


@pytest.fixture(params=[memory, redis])
async def doubtful(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[EventLog, None]:
    """Lend a log whose appends may have been taken unheard, or have been lost. A file of this process knows neither."""
    async with request.param(tmp_path) as log:
        yield log


def numbered(first: int, count: int, kind: str = "response.output_text.delta") -> list[LogEvent]:
    return [LogEvent(number, kind, b'{"n":%d}' % number) for number in range(first, first + count)]


async def put(log: EventLog, first: int, count: int, *, fence: int = 1, ended: bool = False, name: str = "r") -> None:
    events = numbered(first, count - 1) + numbered(first + count - 1, 1, END) if ended else numbered(first, count)
    await log.append(name, fence=fence, expected=first, events=events, ended=ended)


async def numbers(log: EventLog, after: int = FROM_THE_START, limit: int = 10_000) -> list[int]:
    return [event.number for event in await log.read("r", after=after, limit=limit)]


async def goes_on() -> bool:
    return True


async def test_what_was_appended_is_read_behind_any_cursor(log: EventLog) -> None:
    assert await log.open("r", fence=1) == 0
    await put(log, 0, 3)
    await put(log, 3, 2)
    assert await log.read("r", after=-1, limit=10) == numbered(0, 5)
    assert await numbers(log, after=1) == [2, 3, 4]
    assert await numbers(log, after=-1, limit=2) == [0, 1]
    assert await numbers(log, after=1, limit=2) == [2, 3]
    assert await numbers(log, after=4) == []
    assert await numbers(log, after=99) == []


async def test_an_unknown_stream_has_no_events_and_no_extent(log: EventLog) -> None:
    assert await numbers(log) == []
    assert await log.extent("r") is None


async def test_the_extent_tells_head_and_end(log: EventLog) -> None:
    await log.open("r", fence=1)
    assert await log.extent("r") == Extent(0, 0, ended=False)
    await put(log, 0, 3)
    assert await log.extent("r") == Extent(0, 3, ended=False)
    await put(log, 3, 1, ended=True)
    assert await log.extent("r") == Extent(0, 4, ended=True)


@pytest.mark.parametrize("expected", [0, 1, 3, 9])
async def test_an_append_at_any_other_number_than_the_next_writes_nothing(log: EventLog, expected: int) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2)
    with pytest.raises(Fenced):
        await log.append("r", fence=1, expected=expected, events=numbered(expected, 2, "other"), ended=False)
    assert await numbers(log) == [0, 1]


async def test_a_higher_fence_takes_over_and_the_earlier_owner_is_stopped(log: EventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2)
    assert await log.open("r", fence=2) == 2
    with pytest.raises(Fenced):
        await put(log, 2, 1, fence=1)
    with pytest.raises(Fenced):
        await log.open("r", fence=1)
    await put(log, 2, 1, fence=2)
    assert await numbers(log) == [0, 1, 2]


async def test_the_same_owner_may_open_again_and_goes_on(log: EventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2)
    assert await log.open("r", fence=1) == 2
    await put(log, 2, 1)
    assert await numbers(log) == [0, 1, 2]


async def test_what_was_taken_unheard_is_not_added_twice(doubtful: EventLog) -> None:
    await doubtful.open("r", fence=1)
    for first, count in [(0, 3), (0, 3), (0, 5), (3, 1), (5, 1), (0, 7)]:
        await put(doubtful, first, count)
    assert await doubtful.read("r", after=-1, limit=10) == numbered(0, 7)
    for _ in range(2):
        await put(doubtful, 7, 2, ended=True)
    assert await doubtful.extent("r") == Extent(0, 9, ended=True)
    for _ in range(2):
        with pytest.raises(Fenced):
            await put(doubtful, 9, 1)
    assert await doubtful.extent("r") == Extent(0, 9, ended=True)


async def test_an_end_that_skipped_ahead_unheard_is_recognised(doubtful: EventLog) -> None:
    await doubtful.open("r", fence=1)
    await put(doubtful, 0, 2)
    for _ in range(2):
        await doubtful.append("r", fence=1, expected=2, events=numbered(1_000, 1, END), ended=True)
    with pytest.raises(Fenced):
        await doubtful.append("r", fence=1, expected=2, events=numbered(1_001, 1, END), ended=True)
    assert await numbers(doubtful) == [0, 1, 1_000]


async def test_nothing_is_added_behind_what_turns_out_to_be_something_else(doubtful: EventLog) -> None:
    await doubtful.open("r", fence=1)
    await put(doubtful, 0, 3)
    for other in (LogEvent(1, "other", b'{"n":1}'), LogEvent(1, "response.output_text.delta", b"{}")):
        with pytest.raises(Fenced):
            events = [other, *numbered(2, 5)]
            await doubtful.append("r", fence=1, expected=1, events=events, ended=False)
    assert await doubtful.read("r", after=-1, limit=10) == numbered(0, 3)


async def test_an_owner_that_knows_more_than_the_log_is_told_how_far_it_is(doubtful: EventLog) -> None:
    await doubtful.open("r", fence=1)
    await put(doubtful, 0, 2)
    with pytest.raises(Behind) as lost_events:
        await put(doubtful, 5, 1)
    with pytest.raises(Behind) as lost_owner:
        await put(doubtful, 2, 1, fence=2)
    assert (lost_events.value.following, lost_owner.value.following) == (2, 2)
    assert await doubtful.open("r", fence=2) == 2
    await put(doubtful, 0, 5, fence=2)
    assert await doubtful.read("r", after=-1, limit=10) == numbered(0, 5)


async def test_what_is_taken_at_once_is_what_would_be_appended(log: EventLog) -> None:
    await log.open("r", fence=1)
    assert log.take("r", fence=1, expected=0, events=numbered(0, 2)) is log.prompt
    assert await numbers(log) == ([0, 1] if log.prompt else [])


@pytest.mark.parametrize(("name", "fence", "first"), [("r", 1, 3), ("r", 1, 1), ("r", 2, 2), ("r", 0, 2), ("x", 1, 0)])
async def test_what_does_not_follow_is_not_taken_at_once(log: EventLog, name: str, fence: int, first: int) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2)
    assert not log.take(name, fence=fence, expected=first, events=numbered(first, 1))
    assert await numbers(log) == [0, 1]
    assert await log.extent("x") is None


@pytest.mark.parametrize("end", ["ended", "deleted"])
async def test_behind_the_end_nothing_is_taken_at_once(log: EventLog, end: str) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2, ended=end == "ended")
    if end == "deleted":
        await log.delete("r")
    assert not log.take("r", fence=1, expected=2, events=numbered(2, 1))
    assert await numbers(log) == ([0, 1] if end == "ended" else [])


async def test_a_fresh_stream_is_like_any_other(log: EventLog) -> None:
    assert await log.open("r", fence=1, fresh=True) == 0
    assert await log.extent("r") == Extent(0, 0, ended=False)
    await put(log, 0, 3)
    assert await log.extent("r") == Extent(0, 3, ended=False)
    assert await log.open("r", fence=2) == 3
    with pytest.raises(Fenced):
        await put(log, 3, 1)
    await log.delete("r")
    assert await log.extent("r") is None


ids = itertools.count()
Step = tuple[int, int]  # how many events; how many of those before are said again


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    owners=st.lists(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), max_size=8), min_size=2, max_size=3),
    late=st.lists(st.integers(0, 6), min_size=3, max_size=3),
)
async def test_owners_that_race_leave_one_answer_after_the_other_without_a_gap(
    doubtful: EventLog, owners: list[list[Step]], late: list[int]
) -> None:
    name, acknowledged = f"race{next(ids)}", dict[int, bytes]()

    async def own(fence: int, steps: list[Step]) -> None:
        for _ in range(late[fence - 1]):
            await anyio.lowlevel.checkpoint()
        said: list[LogEvent] = []
        try:
            at = first = await doubtful.open(name, fence=fence)
            for size, again in steps:
                said += [LogEvent(number, "delta", b"%d:%d" % (fence, number)) for number in range(at, at + size)]
                expected = max(first, at - again)
                await doubtful.append(
                    name, fence=fence, expected=expected, events=said[expected - first :], ended=False
                )
                at += size
                acknowledged.update((event.number, event.data) for event in said)
        except Fenced:
            return

    async with anyio.create_task_group() as group:
        for fence, steps in enumerate(owners, 1):
            group.start_soon(own, fence, steps)
    events = await doubtful.read(name, after=-1, limit=1_000)
    assert [event.number for event in events] == list(range(len(events)))
    assert {event.number: event.data for event in events} == acknowledged
    writers = [int(event.data.partition(b":")[0]) for event in events]
    assert writers == sorted(writers)


async def test_a_deleted_stream_is_gone_for_its_owner_and_its_readers(log: EventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2)
    await log.delete("r")
    with pytest.raises(Gone):
        await put(log, 2, 1)
    assert await numbers(log) == []
    assert await log.extent("r") is None
    await log.delete("r")


async def test_streams_do_not_meet(log: EventLog) -> None:
    for name in ("r", "other"):
        await log.open(name, fence=1)
    await put(log, 0, 3, name="other")
    await put(log, 0, 1)
    assert await numbers(log) == [0]


async def test_a_terminal_event_may_skip_ahead_and_is_read_across_the_gap(log: EventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 3)
    await log.append("r", fence=1, expected=3, events=numbered(1_000, 1, END), ended=True)
    assert await numbers(log) == [0, 1, 2, 1_000]
    assert await numbers(log, after=2) == [1_000]
    assert await numbers(log, after=700) == [1_000]
    assert await log.extent("r") == Extent(0, 1_001, ended=True)


async def test_who_waits_for_what_is_there_does_not_wait(log: EventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 1)
    with anyio.fail_after(5):
        assert await log.moved("r", after=-1, timeout_s=60)


async def test_who_waits_in_vain_is_told_so(log: EventLog) -> None:
    await log.open("r", fence=1)
    assert not await log.moved("r", after=-1, timeout_s=0.01)
    assert not await log.moved("unknown", after=-1, timeout_s=0.01)


@pytest.mark.parametrize("change", ["append", "delete", "first append"])
async def test_every_waiting_reader_is_woken(log: EventLog, change: str) -> None:
    woken: list[bool] = []

    async def wait() -> None:
        woken.append(await log.moved("r", after=-1, timeout_s=30))

    if change != "first append":
        await log.open("r", fence=1)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        if change == "delete":
            await log.delete("r")
        else:
            await log.open("r", fence=1)
            await put(log, 0, 1)
    assert woken == [True, True, True]


async def test_followers_that_come_at_any_time_get_the_same_whole(log: EventLog) -> None:
    seen: list[list[int]] = []

    async def watch(after: int) -> None:
        found = [
            event.number async for batch in follow(log, "r", after=after, idle_s=30, goes_on=goes_on) for event in batch
        ]
        seen.append([after, *found])

    await log.open("r", fence=1)
    first = 0
    async with anyio.create_task_group() as group:
        for number, size in enumerate([1, 7, 1, 300, 2, 30]):
            group.start_soon(watch, FROM_THE_START)
            group.start_soon(watch, first - 1)
            await put(log, first, size, ended=number == 5)
            first += size
    assert len(seen) == 12
    for after, *found in seen:
        assert found == list(range(after + 1, first))


async def test_many_owners_and_readers_at_once_stay_apart(log: EventLog) -> None:
    whole: dict[str, list[int]] = {}

    async def own(name: str) -> None:
        await log.open(name, fence=1)
        for first in range(0, 40, 4):
            await put(log, first, 4, name=name, ended=first == 36)

    async def watch(name: str) -> None:
        batches = follow(log, name, after=FROM_THE_START, idle_s=30, goes_on=goes_on)
        whole[name] = [event.number async for batch in batches for event in batch]

    names = [f"r{number}" for number in range(30)]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(watch, name)
            group.start_soon(own, name)
    assert whole == {name: list(range(40)) for name in names}


async def test_an_owner_that_is_cancelled_in_an_append_can_go_on_where_the_log_is(log: EventLog) -> None:
    await log.open("r", fence=1)
    expected = 0
    for _ in range(20):
        async with anyio.create_task_group() as group:
            group.start_soon(put, log, expected, 3)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        extent = await log.extent("r")
        assert extent is not None
        assert extent.next in {expected, expected + 3}
        assert await numbers(log) == list(range(extent.next))
        expected = extent.next
    await put(log, expected, 1, ended=True)
    assert await numbers(log) == list(range(expected + 1))


async def test_ended_streams_are_forgotten_after_their_time(tmp_path: Path) -> None:
    clock = Clock()
    log = MemoryEventLog(clock.now, keep_s=120.0)
    for name in ("r", "later", "running"):
        await log.open(name, fence=1)
    await put(log, 0, 1, ended=True)
    clock.time += 60
    await put(log, 0, 1, ended=True, name="later")
    clock.time += 60.5
    assert await log.extent("r") is None
    assert await log.extent("later") is not None
    assert await log.extent("running") is not None
