"""A client is a cursor on the log: exact, patient, and told when it cannot be served."""

from collections.abc import Sequence

import anyio
import pytest

from chatbackend.domain.errors import Conflict, Gone, NotFound
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.usecases.follow_response import PAGE, FollowResponse, check_cursor, follow
from chatbackend.usecases.ports import Extent, LogEvent
from tests.support.fakes import ME, OTHER, Stage, Step, forever, stage

pytestmark = pytest.mark.anyio

HELLO: list[Step] = [TextDelta("Hel"), TextDelta("lo"), Finished("stop")]


async def followed(on: Stage, response_id: str, after: int = -1) -> list[int]:
    batches = await on.follow(ME, response_id, after=after)
    return [event.number async for batch in batches for event in batch]


@pytest.mark.parametrize(
    ("extent", "after", "error"),
    [
        (None, -1, "cursor_expired"),
        (Extent(0, 5, ended=False), 5, "cursor_ahead"),
        (Extent(0, 5, ended=True), 99, "cursor_ahead"),
        (Extent(0, 0, ended=False), 0, "cursor_ahead"),
        (Extent(3, 5, ended=False), -1, "cursor_expired"),
        (Extent(3, 5, ended=False), 1, "cursor_expired"),
        (Extent(3, 5, ended=False), 2, None),
        (Extent(3, 5, ended=True), 1, "cursor_expired"),
        (Extent(1000, 1001, ended=True), -1, None),  # all was lost but the end: the one gap that there may be
        (Extent(1000, 1001, ended=True), 7, None),
        (Extent(1000, 1001, ended=False), 7, "cursor_expired"),
        (Extent(0, 5, ended=False), 4, None),
        (Extent(0, 5, ended=True), -1, None),
        (Extent(0, 0, ended=False), -1, None),
    ],
)
def test_a_cursor_is_served_exactly_or_refused(extent: Extent | None, after: int, error: str | None) -> None:
    if error is None:
        check_cursor(extent, after)
        return
    with pytest.raises((Conflict, Gone)) as refused:
        check_cursor(extent, after)
    assert refused.value.code == error
    assert isinstance(refused.value, Conflict) == (error == "cursor_ahead")


@pytest.mark.parametrize("store", [True, False])
async def test_every_cursor_gets_the_exact_rest(*, store: bool) -> None:
    async with stage(HELLO) as on:
        response_id = await on.started(store=store)
        whole = await followed(on, response_id)
        assert whole == list(range(len(whole)))
        for after in range(-1, len(whole)):
            assert await followed(on, response_id, after) == list(range(after + 1, len(whole)))


@pytest.mark.parametrize("store", [True, False])
async def test_a_foreign_response_has_no_events(*, store: bool) -> None:
    async with stage(HELLO) as on:
        response_id = await on.started(store=store)
        with pytest.raises(NotFound):
            await on.follow(OTHER, response_id)
        await on.ended(response_id)
        with pytest.raises(NotFound):
            await on.follow(OTHER, response_id)


async def test_a_response_that_is_committed_but_has_no_events_yet_is_waited_for() -> None:
    async with stage(HELLO) as on:
        orphan = on.orphan()
        found: list[int] = []

        async def watch() -> None:
            found.extend(await followed(on, orphan.id))

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await on.log.open(orphan.id, fence=1)
            end = LogEvent(0, "response.completed", b"{}")
            await on.log.append(orphan.id, fence=1, expected=0, events=[end], ended=True)
        assert found == [0]


async def test_events_that_are_no_longer_kept_are_said_to_be_so() -> None:
    async with stage(HELLO) as on:
        found = await on.answered()
        await on.log.delete(found.id)
        with pytest.raises(Gone) as gone:
            await on.follow(ME, found.id)
        assert gone.value.code == "cursor_expired"


async def test_a_client_that_waits_is_told_that_we_live() -> None:
    async with stage([forever]) as on:
        response_id = await on.started()
        patient = FollowResponse(on.truth, on.live, stored_log=on.log, unstored_log=on.unstored_log, idle_s=0.01)
        sizes: list[int] = []
        async for batch in await patient(ME, response_id):
            sizes.append(len(batch))
            if sizes[-2:] == [0, 0]:
                break
        assert sizes[-2:] == [0, 0]
        assert sum(sizes) == 2


@pytest.mark.parametrize("store", [True, False])
async def test_a_client_of_a_response_that_is_deleted_is_let_go(*, store: bool) -> None:
    async with stage([forever]) as on:
        response_id = await on.started(store=store)
        ended = anyio.Event()

        async def watch() -> None:
            await followed(on, response_id)
            ended.set()

        on.group.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        if store:
            await on.delete(ME, response_id)
        else:
            await on.cancel(ME, response_id)
        with anyio.fail_after(5):
            await ended.wait()


async def test_long_streams_come_in_pages() -> None:
    said: list[Step] = [*[TextDelta("x") for _ in range(2 * PAGE)], Finished("stop")]
    async with stage(said) as on:
        response_id = (await on.answered()).id
        sizes = [len(batch) async for batch in await on.follow(ME, response_id)]
        assert sizes[:2] == [PAGE, PAGE]


class Hasty(MemoryEventLog):
    """A log whose first look finds nothing although the end is written by then."""

    looks = 0

    async def read(self, response_id: str, *, after: int, limit: int) -> Sequence[LogEvent]:
        self.looks += 1
        return () if self.looks == 1 else await super().read(response_id, after=after, limit=limit)


async def goes_on() -> bool:
    return True


async def test_an_end_that_is_written_between_two_looks_is_not_missed() -> None:
    log = Hasty(lambda: 0.0)
    await log.open("r", fence=1)
    events = [LogEvent(0, "response.created", b"{}"), LogEvent(1, "response.completed", b"{}")]
    await log.append("r", fence=1, expected=0, events=events, ended=True)
    batches = follow(log, "r", after=0, idle_s=5, goes_on=goes_on)
    assert [event.number async for batch in batches for event in batch] == [1]


async def test_a_cursor_behind_the_end_gets_nothing_and_does_not_wait() -> None:
    async with stage(HELLO) as on:
        response_id = (await on.answered()).id
        last = (await on.events(response_id))[-1]["sequence_number"]
        with anyio.fail_after(5):
            assert await followed(on, response_id, last) == []


@pytest.mark.parametrize("store", [True, False])
async def test_who_has_just_created_a_response_gets_all_of_it(*, store: bool) -> None:
    async with stage(HELLO) as on:
        response_id = await on.started(store=store)
        batches = on.follow.begun(ME, response_id, store=store)
        found = [event.number async for batch in batches for event in batch]
        assert found == [event["sequence_number"] for event in await on.events(response_id, store=store)]


class Impatient(MemoryEventLog):
    """A log that never waits."""

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        return False


@pytest.mark.parametrize("after", [None, -1])
async def test_a_client_is_told_that_we_live_each_time_that_nothing_came(after: int | None) -> None:
    log = Impatient(lambda: 0.0)
    batches = follow(log, "r", after=after, idle_s=5, goes_on=goes_on)
    for _ in range(3):
        assert await anext(batches) == ()
    await log.open("r", fence=1)
    end = LogEvent(0, "response.completed", b"{}")
    await log.append("r", fence=1, expected=0, events=[end], ended=True)
    assert await anext(batches) == [end]
    await batches.aclose()
