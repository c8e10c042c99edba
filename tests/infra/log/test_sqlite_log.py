"""What a log on SQLite keeps beside its file: nothing that was shown is lost, doubled or brought back."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.tables.events import EVENTS
from chatbackend.infra.log import sqlite as sqlite_log
from chatbackend.infra.log import unwritten
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.usecases.follow_response import FROM_THE_START
from chatbackend.usecases.ports import Extent, Fenced, LogEvent
from tests.support.event_logs import END, event_log, events_database, gated, log_on, now, numbered, numbers, put

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def after_a_kill(folder: Path) -> AsyncGenerator[SqliteEventLog]:
    """Open what the files hold now, as the next start would find it."""
    left = folder / "left"
    await anyio.to_thread.run_sync(left.mkdir)
    for name in ("events.db", "events.db-wal", "events.spool"):
        await anyio.to_thread.run_sync(shutil.copy, folder / name, left / name)
    size = (await anyio.to_thread.run_sync((left / "events.spool").stat)).st_size
    async with events_database(left) as database, log_on(database, left, now, half_bytes=size // 2) as log:
        yield log


async def test_what_was_shown_outlives_a_kill_before_it_was_written(tmp_path: Path) -> None:
    async with gated(tmp_path) as (log, gate):
        await log.open("r", fence=1)
        gate.shut()
        await put(log, 0, 3)
        assert log.take("r", fence=1, expected=3, events=numbered(3, 2))
        await log.open("fresh", fence=1, fresh=True)
        await put(log, 0, 2, name="fresh", ended=True)
        shown = [await log.read(name, after=-1, limit=10) for name in ("r", "fresh")]
        async with after_a_kill(tmp_path) as later:
            assert [await later.read(name, after=-1, limit=10) for name in ("r", "fresh")] == shown
            assert await later.extent("fresh") == Extent(0, 2, ended=True)
            assert await later.unended() == ["r"]
            assert await later.open("r", fence=2) == 5
            await put(later, 5, 1, fence=2)
            assert await numbers(later) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("when", ["written", "not written"])
async def test_what_a_kill_leaves_is_written_once(tmp_path: Path, when: str) -> None:
    async with gated(tmp_path) as (log, gate):
        await log.open("r", fence=1, fresh=True)
        await put(log, 0, 3)
        spool = await anyio.to_thread.run_sync((tmp_path / "events.spool").read_bytes)
        if when == "written":
            await log.settle()
            await anyio.to_thread.run_sync((tmp_path / "events.spool").write_bytes, spool)
        async with after_a_kill(tmp_path) as later:
            assert await later.read("r", after=-1, limit=10) == numbered(0, 3)
            assert await later.extent("r") == Extent(0, 3, ended=False)
        gate.open()


async def test_what_was_deleted_is_not_brought_back(tmp_path: Path) -> None:
    async with gated(tmp_path) as (log, _):
        for name in ("r", "fresh"):
            await log.open(name, fence=1, fresh=name == "fresh")
            await put(log, 0, 3, name=name)
            await log.delete(name)
            assert (await log.extent(name), await numbers(log, name=name)) == (None, [])
        await log.settle()
        assert await log.extent("fresh") is None
        async with after_a_kill(tmp_path) as later:
            assert (await later.extent("r"), await later.extent("fresh")) == (None, None)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([(0, 2, False), (4, 2, False)], [0, 1]),
        ([(4, 2, False), (0, 2, False), (2, 2, False)], [0, 1, 2, 3, 4, 5]),
        ([(0, 2, False), (9, 1, True)], [0, 1, 9]),
        ([(0, 2, False), (0, 2, False)], [0, 1]),
        ([(3, 1, False)], []),
    ],
)
async def test_of_what_a_machine_has_lost_a_part_only_what_has_no_gap_is_kept(
    tmp_path: Path, parts: list[tuple[int, int, bool]], found: list[int]
) -> None:
    async with event_log(tmp_path, now) as log:
        await log.open("r", fence=1)
    await anyio.to_thread.run_sync(leave, tmp_path, parts)
    async with events_database(tmp_path) as database, log_on(database, tmp_path, now, half_bytes=1 << 16) as log:
        assert await numbers(log) == found
        following = (found[-1] if found else -1) + 1
        assert await log.extent("r") == Extent(0, following, ended=9 in found)


def leave(folder: Path, parts: list[tuple[int, int, bool]]) -> None:
    """Leave events in a spool."""
    (folder / "events.spool").unlink()
    with Spool(folder / "events.spool", 1 << 16) as spool:
        for first, count, ended in parts:
            events = [(event.number, event.type, event.data) for event in numbered(first, count)]
            assert spool.add(msgspec.msgpack.encode(("r", None, 1 if ended else None, events)))


async def test_what_fills_fast_is_written_before_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unwritten, "LINGER_S", 60.0)
    async with gated(tmp_path, half_bytes=2_048) as (log, gate):
        await log.open("r", fence=1, fresh=True)
        await put(log, 0, 30)
        with anyio.fail_after(20):
            while not await gate.read(lambda tx: tx.rows(select(EVENTS))):  # noqa: ASYNC110 - a database has no event for it
                await anyio.sleep(0.01)


async def test_an_append_without_room_waits_for_it(tmp_path: Path) -> None:
    async with gated(tmp_path, half_bytes=2_048) as (log, gate):
        await log.open("r", fence=1, fresh=True)
        await log.settle()
        gate.shut()
        at = 0
        while log.take("r", fence=1, expected=at, events=numbered(at, 5)):
            at += 5
            await anyio.wait_all_tasks_blocked()  # one half is being written, the other fills
        async with anyio.create_task_group() as group:
            group.start_soon(put, log, at, 5)
            await anyio.wait_all_tasks_blocked()
            assert await numbers(log) == list(range(at))
            gate.open()
        assert await numbers(log) == list(range(at + 5))
        assert log.take("r", fence=1, expected=at + 5, events=numbered(at + 5, 1))


@pytest.mark.parametrize("ended", [False, True])
async def test_an_event_that_is_larger_than_the_room_is_written_by_itself(tmp_path: Path, *, ended: bool) -> None:
    async with gated(tmp_path, half_bytes=1_024) as (log, _):
        await log.open("r", fence=1)
        await put(log, 0, 2)
        large = LogEvent(2, END, b"x" * 4_096)
        assert not log.take("r", fence=1, expected=2, events=[large])
        await log.append("r", fence=1, expected=2, events=[large], ended=ended)
        assert (await log.read("r", after=1, limit=9), await numbers(log)) == ([large], [0, 1, 2])
        if not ended:
            await put(log, 3, 1, ended=True)
        async with after_a_kill(tmp_path) as later:
            assert await numbers(later) == ([0, 1, 2] if ended else [0, 1, 2, 3])


async def test_a_database_that_refuses_loses_nothing_and_says_so(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path, half_bytes=1_024, reports=reports) as (log, gate):
        await log.open("r", fence=1)
        gate.refuses, at = True, 0
        while log.take("r", fence=1, expected=at, events=numbered(at, 1)):
            at += 1
        with pytest.raises(Unavailable):
            await put(log, at, 1)
        with pytest.raises(Unavailable):
            await log.settle()
        assert set(reports) == {"events could not be written down yet"}
        gate.refuses = False
        await log.settle()
        await put(log, at, 1)
        await log.settle()
        assert await numbers(log) == list(range(at + 1))


async def test_a_stop_behind_a_refusal_writes_the_refused_events_before_the_later_ones(tmp_path: Path) -> None:
    async with gated(tmp_path, reports=[]) as (log, gate):
        await log.open("r", fence=1)
        gate.refuses = True
        await put(log, 0, 3)
        with pytest.raises(Unavailable):
            await log.settle()
        await put(log, 3, 3)
    async with events_database(tmp_path) as database, log_on(database, tmp_path, now, half_bytes=1 << 16) as later:
        assert await later.read("r", after=-1, limit=10) == numbered(0, 6)


async def test_a_delete_that_is_refused_hides_nothing(tmp_path: Path) -> None:
    async with gated(tmp_path, reports=[]) as (log, gate):
        await log.open("r", fence=1, fresh=True)
        await put(log, 0, 3)
        gate.refuses = True
        with pytest.raises(Unavailable):
            await log.delete("r")
        assert await numbers(log) == [0, 1, 2]
        assert await log.extent("r") == Extent(0, 3, ended=False)
        assert log.take("r", fence=1, expected=3, events=numbered(3, 1))
        gate.refuses = False
        await log.delete("r")
        assert (await log.extent("r"), await numbers(log)) == (None, [])


async def test_a_delete_that_is_cancelled_half_way_is_whole(tmp_path: Path) -> None:
    async with gated(tmp_path) as (log, gate):
        await log.open("r", fence=1)
        await put(log, 0, 2)
        await log.settle()
        gate.shut()
        async with anyio.create_task_group() as group:
            group.start_soon(log.delete, "r")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            gate.open()
        assert (await log.extent("r"), await numbers(log)) == (None, [])


async def test_an_owner_that_is_taken_over_while_it_writes_adds_nothing_more(tmp_path: Path) -> None:
    async with gated(tmp_path) as (log, gate):
        await log.open("r", fence=1)
        await put(log, 0, 2)
        gate.shut()
        async with anyio.create_task_group() as group:

            async def take_over() -> None:
                assert await log.open("r", fence=2) == 2

            group.start_soon(take_over)
            await anyio.wait_all_tasks_blocked()
            assert not log.take("r", fence=1, expected=2, events=numbered(2, 1))
            gate.open()
        with pytest.raises(Fenced):
            await put(log, 2, 1)
        with pytest.raises(Fenced):
            await log.open("r", fence=1)
        await put(log, 2, 1, fence=2)
        assert await numbers(log) == [0, 1, 2]


async def test_what_an_owner_wrote_while_it_was_cancelled_is_seen_by_its_readers(tmp_path: Path) -> None:
    async with gated(tmp_path, half_bytes=1_024) as (log, gate):
        await log.open("r", fence=1)
        gate.shut()
        large = LogEvent(0, "response.created", b"x" * 4_096)
        async with anyio.create_task_group() as group:

            async def write() -> None:
                await log.append("r", fence=1, expected=0, events=[large], ended=False)

            group.start_soon(write)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
            gate.open()
        assert await numbers(log) == [0]
        assert await log.moved("r", after=-1, timeout_s=0)


Door = Literal["take", "append"]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["take", "append"])), min_size=1, max_size=8),
    cuts=st.lists(st.integers(-1, 80), max_size=4),
    gap=st.integers(0, 50),
)
async def test_memory_and_file_tell_the_same(
    tmp_path_factory: pytest.TempPathFactory, batches: list[tuple[int, Door]], cuts: list[int], gap: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    async with event_log(folder, now) as owner:
        await owner.open("r", fence=1)
        first = 0
        for size, door in batches:
            if door == "take":
                assert owner.take("r", fence=1, expected=first, events=numbered(first, size))
            else:
                await put(owner, first, size)
            first += size
        end = numbered(first + gap, 1, ended=True)
        await owner.append("r", fence=1, expected=first, events=end, ended=True)
        told = [list(await owner.read("r", after=after, limit=7)) for after in cuts], await owner.extent("r")
    async with event_log(folder, now) as stranger:
        found = [list(await stranger.read("r", after=after, limit=7)) for after in cuts], await stranger.extent("r")
        assert found == told


async def test_what_no_longer_fits_into_memory_is_read_from_the_file(tmp_path: Path) -> None:
    async with event_log(tmp_path, now) as log:
        await log.open("r", fence=1)
        count = 2 * sqlite_log.TAIL_EVENTS + 5
        for first in range(0, count, 512):
            await put(log, first, min(512, count - first))
            if first == 3 * 512:
                await log.settle()
        found, after = list[int](), FROM_THE_START
        while page := await numbers(log, after=after, limit=1_000):
            found += page
            after = page[-1]
        assert found == list(range(count))


async def test_streams_that_ended_long_ago_are_read_from_the_file(tmp_path: Path) -> None:
    async with event_log(tmp_path, now) as log:
        names = [f"r{number}" for number in range(2 * sqlite_log.ENDED_TAILS)]
        for name in names:
            await log.open(name, fence=1, fresh=True)
            await put(log, 0, 3, name=name, ended=True)
        await log.settle()
        for name in names:
            assert await numbers(log, name=name) == [0, 1, 2]
            assert await log.extent(name) == Extent(0, 3, ended=True)


async def test_streams_that_lack_their_end_are_known_to_the_next_owner(tmp_path: Path) -> None:
    async with event_log(tmp_path, now) as log:
        for name in ("r", "ended"):
            await log.open(name, fence=1)
        await put(log, 0, 2)
        await put(log, 0, 2, name="ended", ended=True)
    async with event_log(tmp_path, now) as again:
        assert await again.unended() == ["r"]
        assert await again.open("r", fence=2) == 2
        assert await numbers(again) == [0, 1]
