"""What the database refuses for good, or what is damaged in the spool: it costs its own stream, and no start fails."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import msgspec
import pytest
from sqlalchemy import text

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.transaction import Transaction
from chatbackend.usecases.journal import LogWriter
from chatbackend.usecases.ports import Behind, Extent, LogEvent
from tests.support.event_logs import END, event_log, events_database, gated, log_on, now, numbered, numbers, put

pytestmark = pytest.mark.anyio
DONE = "response.output_text.done"


@asynccontextmanager
async def refusing(folder: Path, *, kinds: str = "%", moves: bool = False) -> AsyncGenerator[None]:
    """Have the database refuse events of the stream `bad` for good, by a rule of its own, or (`moves`) its head."""

    def refuse(rule: str) -> None:
        with closing(sqlite3.connect(folder / "events.db")) as connection:
            connection.execute(rule)
            connection.commit()

    what = "UPDATE ON streams WHEN" if moves else f"INSERT ON events WHEN new.type LIKE '{kinds}' AND"
    await anyio.to_thread.run_sync(
        refuse,
        f"CREATE TRIGGER refuse BEFORE {what} new.response_id = 'bad' BEGIN SELECT RAISE(ABORT, 'never'); END",
    )
    yield
    await anyio.to_thread.run_sync(refuse, "DROP TRIGGER refuse")


async def test_what_the_database_never_takes_costs_its_own_stream_alone(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path, reports=reports) as (log, _):
        for name in ("good", "bad", "other"):
            await log.open(name, fence=1, fresh=True)
            await put(log, 0, 2, name=name)
        await log.settle()
        async with refusing(tmp_path, kinds="%delta"):
            for name in ("good", "bad", "other"):
                await put(log, 2, 3, name=name)
            await log.settle()
            assert len(reports) == 1
            assert "events of bad are refused" in reports[0]
            assert await numbers(log, name="good") == await numbers(log, name="other") == [0, 1, 2, 3, 4]
            with pytest.raises(Behind):
                await put(log, 5, 1, name="bad")
            assert await log.open("bad", fence=1) == 2
            await log.append("bad", fence=1, expected=2, events=numbered(5, 1, ended=True), ended=True)
            assert await numbers(log, name="bad") == [0, 1, 5]  # a gap before the end, that can be seen, and no other
            await put(log, 5, 1, name="good")
            await log.settle()
            assert await numbers(log, name="good") == [0, 1, 2, 3, 4, 5]


async def test_what_was_kept_behind_refused_events_is_left_out_with_them(tmp_path: Path) -> None:
    async with gated(tmp_path, reports=[]) as (log, gate):
        await log.open("bad", fence=1, fresh=True)
        await put(log, 0, 1, name="bad")
        await log.settle()
        async with refusing(tmp_path, kinds="%delta"):
            gate.shut()
            await put(log, 1, 1, name="bad")
            async with anyio.create_task_group() as group:
                group.start_soon(log.settle)
                await anyio.wait_all_tasks_blocked()
                assert log.take("bad", fence=1, expected=2, events=[LogEvent(2, DONE, b"nothing is wrong with it")])
                gate.open()
            assert not log.take("bad", fence=1, expected=3, events=[LogEvent(3, DONE, b"but it came too late")])
            await log.settle()
    async with event_log(tmp_path, now) as later:
        assert await numbers(later, name="bad") == [0]


async def test_whoever_writes_a_stream_goes_on_to_its_end(tmp_path: Path) -> None:
    async with gated(tmp_path, reports=[]) as (log, _):
        writer = LogWriter(log, "bad", fence=1)
        await writer.open(fresh=True)
        for step in ("taken", "refused", "after it", "after it"):
            if step == "taken":
                writer.add("response.output_text.delta", b"{}")
                await log.settle()
                continue
            async with refusing(tmp_path, kinds="%delta"):
                writer.add("response.output_text.delta", b"{}")
                await writer.flush()
                await log.settle()
        await writer.close(END, b"{}")
        assert await numbers(log, name="bad") == [0, 4]
        assert await log.extent("bad") == Extent(0, 5, ended=True)


async def test_of_a_stream_that_has_ended_its_end_is_kept_where_the_rest_is_refused(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path, reports=reports) as (log, gate):
        await log.open("bad", fence=1, fresh=True)
        await log.settle()
        async with refusing(tmp_path, kinds="%delta"):
            gate.shut()
            await put(log, 0, 2, name="bad")
            async with anyio.create_task_group() as group:
                group.start_soon(log.settle)
                await anyio.wait_all_tasks_blocked()
                await put(log, 2, 2, name="bad", ended=True)  # waits for the batch that is being refused
                gate.open()
            await log.settle()
            assert await log.extent("bad") == Extent(3, 4, ended=True)
            assert await numbers(log, name="bad") == [3]
        assert len(reports) == 1


async def test_a_start_leaves_out_what_the_database_never_takes(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path) as (log, _):
        for name in ("good", "bad"):
            await log.open(name, fence=1, fresh=True)
        await log.settle()
    await anyio.to_thread.run_sync(leave, tmp_path, [("good", 0, 3), ("bad", 0, 3)])
    async with refusing(tmp_path):
        async with gated(tmp_path, reports=reports) as (log, _):
            assert len(reports) == 1
            assert "events of bad are refused" in reports[0]
            assert (await numbers(log, name="good"), await numbers(log, name="bad")) == ([0, 1, 2], [])
            assert await log.open("bad", fence=2) == 3  # no number that was seen is used again
        async with gated(tmp_path):
            pass  # nothing is left that could be refused at the next start


async def test_a_start_goes_on_where_the_head_of_a_stream_is_refused(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path) as (log, _):
        for name in ("good", "bad"):
            await log.open(name, fence=1, fresh=True)
    await anyio.to_thread.run_sync(leave, tmp_path, [("bad", 0, 3), ("good", 0, 3)])
    async with refusing(tmp_path, moves=True), gated(tmp_path, reports=reports) as (log, _):
        assert [each.split(":")[0] for each in reports] == [
            "events of bad are refused by the database",
            "numbers of bad that were seen may be used again",
        ]
        assert (await numbers(log, name="good"), await numbers(log, name="bad")) == ([0, 1, 2], [])


async def test_a_start_goes_on_behind_a_damaged_entry(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path) as (log, _):
        for name in ("good", "torn"):
            await log.open(name, fence=1, fresh=True)
    torn = [("torn", 0, 2), ("torn", 2, 1), ("torn", 3, 1)]
    await anyio.to_thread.run_sync(leave, tmp_path, [*torn, ("good", 0, 2)], b"\xc1 is no message")
    data = bytearray(await anyio.to_thread.run_sync((tmp_path / "events.spool").read_bytes))
    at = data.index(b"\xff2")  # in the second of them
    data[at] ^= 0x01
    await anyio.to_thread.run_sync((tmp_path / "events.spool").write_bytes, bytes(data))
    async with gated(tmp_path, reports=reports) as (log, _):
        assert [each.rpartition(" ")[2] for each in reports] == ["lost", "read"]
        assert (await numbers(log, name="good"), await numbers(log, name="torn")) == ([0, 1], [0, 1])
        assert await log.open("torn", fence=2) == 4


async def test_no_number_is_used_again_whatever_half_of_the_spool_came_later(tmp_path: Path) -> None:
    async with gated(tmp_path) as (log, _):
        await log.open("torn", fence=1, fresh=True)
    await anyio.to_thread.run_sync(leave, tmp_path, [("torn", 4, 1), ("torn", 0, 1), ("torn", 2, 2)])  # 1 is lost
    data = bytearray(await anyio.to_thread.run_sync((tmp_path / "events.spool").read_bytes))
    data[data.index(b"\xff0")] ^= 0x01
    await anyio.to_thread.run_sync((tmp_path / "events.spool").write_bytes, bytes(data))
    async with gated(tmp_path, reports=[]) as (log, _):
        assert await log.open("torn", fence=2) == 5


async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    reports: list[str] = []
    async with events_database(tmp_path) as database:

        async def room(tx: Transaction, pages: int = 0) -> None:
            await tx.rows(text(f"PRAGMA max_page_count = {pages}"))

        async with log_on(database, tmp_path, now, report=lambda message, error: reports.append(message)) as log:
            await log.open("r", fence=1, fresh=True)
            await log.settle()
            await database.write(lambda tx: room(tx, 1))  # as many as there are
            big = [LogEvent(number, "response.output_text.delta", bytes(5_000)) for number in range(20)]
            assert log.take("r", fence=1, expected=0, events=big)
            with pytest.raises(Unavailable):
                await log.settle()
            assert set(reports) == {"events could not be written down yet"}
            await database.write(lambda tx: room(tx, 1 << 20))
            await log.settle()
    async with event_log(tmp_path, now) as later:
        assert await later.read("r", after=-1, limit=100) == big


async def test_a_damaged_database_refuses_for_now_and_the_events_stay_kept(tmp_path: Path) -> None:
    reports: list[str] = []
    async with gated(tmp_path) as (log, _):
        await log.open("r", fence=1, fresh=True)
        await put(log, 0, 2)
    whole = await anyio.to_thread.run_sync((tmp_path / "events.db").read_bytes)
    await anyio.to_thread.run_sync((tmp_path / "events.db").write_bytes, whole[:4096] + b"\xa5" * (len(whole) - 4096))
    async with gated(tmp_path, reports=reports) as (log, _):
        await log.open("fresh", fence=1, fresh=True)
        await put(log, 0, 3, name="fresh")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await log.settle()
        with pytest.raises(Unavailable):
            await log.extent("r")
        assert await numbers(log, name="fresh") == [0, 1, 2]
    assert set(reports) == {"events could not be written down yet"}
    with pytest.raises(Unavailable):
        async with gated(tmp_path, reports=[]):
            pass
    for name in ("events.db-wal", "events.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    await anyio.to_thread.run_sync((tmp_path / "events.db").write_bytes, whole)
    async with gated(tmp_path) as (log, _):
        assert (await numbers(log), await numbers(log, name="fresh")) == ([0, 1], [0, 1, 2])


def leave(folder: Path, kept: list[tuple[str, int, int]], *more: bytes) -> None:
    """Leave events in a spool: stream, the first number and how many; and what is none."""
    with Spool(folder / "events.spool", 1 << 16) as spool:
        for name, first, count in kept:
            events = [(event.number, event.type, event.data) for event in numbered(first, count)]
            assert spool.add(msgspec.msgpack.encode((name, None, None, events)))
        for row in more:
            assert spool.add(row)
