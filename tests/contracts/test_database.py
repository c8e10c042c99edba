"""What every `Database` promises its repositories."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, create_engine, delete, func, select, text

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.sqlite import GROUP_MAX, SqliteDatabase
from chatbackend.infra.db.transaction import Database, Transaction, adding, one

pytestmark = pytest.mark.anyio

METADATA = MetaData()
NOTES = Table(
    "notes",
    METADATA,
    Column("pk", Integer, primary_key=True, autoincrement=True),
    Column("body", Text, nullable=False, unique=True),
)
ADD = adding(NOTES)
COUNT = select(func.count().label("count")).select_from(NOTES)
BODIES = select(NOTES.c.body).order_by(NOTES.c.pk)
DELETE = delete(NOTES).where(NOTES.c.body == bindparam("body"))


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[SqliteDatabase, None]:
    path = folder / "notes.db"
    engine = create_engine(f"sqlite:///{path}")
    METADATA.create_all(engine)
    engine.dispose()
    async with SqliteDatabase(path) as database:
        yield database


@pytest.fixture(params=[sqlite])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Database, None]:
    async with request.param(tmp_path) as database:
        yield database


def adds(*bodies: str) -> Callable[[Transaction], Awaitable[None]]:
    async def work(tx: Transaction) -> None:
        for body in bodies:
            await tx.execute(ADD, {"body": body})

    return work


async def count(tx: Transaction) -> int:
    row = await one(tx, COUNT)
    assert row is not None
    return row["count"]


async def bodies(tx: Transaction) -> list[str]:
    return [row["body"] for row in await tx.rows(BODIES)]


@asynccontextmanager
async def held(database: Database) -> AsyncGenerator[None, None]:
    """Hold the writer: what is written meanwhile waits, and makes one group when this is left."""
    loop, reached, go_on = asyncio.get_running_loop(), anyio.Event(), threading.Event()

    async def hold(tx: Transaction) -> None:
        loop.call_soon_threadsafe(reached.set)
        assert go_on.wait(20)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, hold)
        await reached.wait()
        try:
            yield
            await anyio.wait_all_tasks_blocked()
        finally:
            go_on.set()


async def test_what_was_written_is_read(database: Database) -> None:
    await database.write(adds("a", "b"))
    assert await database.read(bodies) == ["a", "b"]


async def test_a_statement_says_how_many_rows_it_changed_or_returns_them(database: Database) -> None:
    async def work(tx: Transaction) -> tuple[int, int, list[str], list[str]]:
        await tx.execute_many(ADD, [{"body": "a"}, {"body": "b"}, {"body": "c"}])
        await tx.execute_many(ADD, [])
        removed, nothing = await tx.execute(DELETE, {"body": "b"}), await tx.execute(DELETE, {"body": "x"})
        returned = await tx.rows(ADD.returning(NOTES.c.body), {"body": "d'; --"})
        chosen = await tx.rows(select(NOTES.c.body).where(NOTES.c.body.in_(["a", "c"])).order_by(NOTES.c.pk))
        return removed, nothing, [row["body"] for row in returned], [row["body"] for row in chosen]

    assert await database.write(work) == (1, 0, ["d'; --"], ["a", "c"])


async def test_statements_made_on_the_way_are_told_apart(database: Database) -> None:
    """Compiled statements are remembered by identity, and an identity may be used again."""

    async def work(tx: Transaction) -> list[int]:
        return [(await tx.rows(text(f"SELECT {number} AS n")))[0]["n"] for number in range(2_000)]

    assert await database.read(work) == list(range(2_000))


async def test_an_error_undoes_its_own_piece_only(database: Database) -> None:
    errors: list[Exception] = []

    async def half(tx: Transaction) -> None:
        await tx.execute(ADD, {"body": "half"})
        raise ValueError("no")

    async def failing(work: Callable[[Transaction], Awaitable[None]]) -> None:
        try:
            await database.write(work)
        except Exception as error:
            errors.append(error)

    async with anyio.create_task_group() as group, held(database):
        for work in (adds("before"), half, adds("twice", "twice"), adds("after")):
            group.start_soon(failing, work)
            await anyio.wait_all_tasks_blocked()
    assert await database.read(bodies) == ["before", "after"]
    assert [type(error).__name__ for error in errors] == ["ValueError", "IntegrityError"]


async def test_writes_that_wait_share_a_commit_in_the_order_of_their_coming(database: Database) -> None:
    seen_outside: list[int] = []
    loop = asyncio.get_running_loop()

    async def looks_outside(tx: Transaction) -> None:
        outside = asyncio.run_coroutine_threadsafe(database.read(count), loop)
        seen_outside.append(outside.result(20))

    async with anyio.create_task_group() as group, held(database):
        for number in range(10):
            group.start_soon(database.write, adds(str(number)))
            await anyio.wait_all_tasks_blocked()
        group.start_soon(database.write, looks_outside)
    assert seen_outside == [0]
    assert await database.read(bodies) == [str(number) for number in range(10)]


async def test_a_crowd_larger_than_a_group_is_written_whole(database: Database) -> None:
    async with anyio.create_task_group() as group, held(database):
        for number in range(2 * GROUP_MAX + 3):
            group.start_soon(database.write, adds(str(number)))
    assert await database.read(count) == 2 * GROUP_MAX + 3


async def test_a_caller_that_gave_up_before_its_turn_writes_nothing(database: Database) -> None:
    async with anyio.create_task_group() as group, held(database):
        group.start_soon(database.write, adds("kept"))
        with anyio.move_on_after(0):
            await database.write(adds("dropped"))
    assert await database.read(bodies) == ["kept"]


async def test_a_caller_that_gives_up_during_its_write_does_not_undo_it(database: Database) -> None:
    began, go_on, loop = anyio.Event(), threading.Event(), asyncio.get_running_loop()

    async def slow(tx: Transaction) -> None:
        await tx.execute(ADD, {"body": "slow"})
        loop.call_soon_threadsafe(began.set)
        assert go_on.wait(20)

    async with anyio.create_task_group() as group:
        group.start_soon(database.write, slow)
        await began.wait()
        group.cancel_scope.cancel()
    go_on.set()
    await database.write(adds("next"))
    assert await database.read(bodies) == ["slow", "next"]


async def test_a_read_sees_one_state_and_every_write_that_was_acknowledged(database: Database) -> None:
    await database.write(adds("a"))
    loop = asyncio.get_running_loop()

    async def twice(tx: Transaction) -> tuple[int, int]:
        first = await count(tx)
        asyncio.run_coroutine_threadsafe(database.write(adds("b")), loop).result(20)
        return first, await count(tx)

    assert await database.read(twice) == (1, 1)
    assert await database.read(count) == 2


async def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable):
        await database.read(adds("a"))
    assert await database.read(count) == 0


async def test_work_that_waits_for_something_else_is_refused_and_harms_nobody(database: Database) -> None:
    async def sleepy(tx: Transaction) -> None:
        await tx.execute(ADD, {"body": "a"})
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something other"):
        await database.write(sleepy)
    await database.write(adds("b"))
    assert await database.read(bodies) == ["b"]


async def test_a_full_disk_refuses_the_group_and_leaves_nothing_half_written(database: Database) -> None:
    await database.write(adds("a"))
    refused: list[Unavailable] = []

    async def grow(body: str) -> None:
        try:
            await database.write(adds(body))
        except Unavailable as error:
            refused.append(error)

    await _limit_pages(database, 10)
    async with anyio.create_task_group() as group, held(database):
        for number in range(50):
            group.start_soon(grow, f"{number}" + "x" * 4_000)
    assert {error.code for error in refused} == {"storage_unavailable"}
    assert 1 + 50 - len(refused) == await database.read(count)
    assert len(refused) == 50
    await _limit_pages(database, 100_000)
    await database.write(adds("there is room again"))
    assert await database.read(bodies) == ["a", "there is room again"]


async def _limit_pages(database: Database, pages: int) -> None:
    async def work(tx: Transaction) -> None:
        await tx.rows(text(f"PRAGMA max_page_count = {pages}"))

    await database.write(work)


async def test_a_closed_database_takes_nothing_and_finishes_what_it_had_taken(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as database, anyio.create_task_group() as group, held(database):
        for number in range(20):
            group.start_soon(database.write, adds(str(number)))
    for late in (lambda: database.write(adds("late")), lambda: database.read(count)):
        with pytest.raises(Unavailable):
            await late()
    async with SqliteDatabase(tmp_path / "notes.db") as again:
        assert await again.read(count) == 20


async def test_a_read_under_way_ends_before_the_database_is_closed(tmp_path: Path) -> None:
    reading, go_on, loop = anyio.Event(), threading.Event(), asyncio.get_running_loop()
    found: list[int] = []

    async def slow(tx: Transaction) -> int:
        loop.call_soon_threadsafe(reading.set)
        assert go_on.wait(20)
        return await count(tx)

    async def read(database: Database) -> None:
        found.append(await database.read(slow))

    async with anyio.create_task_group() as group, sqlite(tmp_path) as database:
        group.start_soon(read, database)
        await reading.wait()
        loop.call_later(0.05, go_on.set)
    assert found == [0]
