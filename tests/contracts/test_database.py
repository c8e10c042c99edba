"""What every `Database` promises its repositories."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, bindparam, create_engine, delete, func, select, text

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.grouped_reads import READ_GROUP_MAX
from chatbackend.infra.db.postgres import PostgresDatabase
from chatbackend.infra.db.postgres.links import connect
from chatbackend.infra.db.sqlite import GROUP_MAX, READERS, SqliteDatabase
from chatbackend.infra.db.transaction import Database, Transaction, adding, one
from tests.support.gates import Gate, postgres_gate, sqlite_gate
from tests.support.postgres import database as empty_database

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


class Stage:
    """A database under test, which has a single writer, and what a test needs to stop it."""

    def __init__(self, database: Database, gate: Callable[[], AbstractAsyncContextManager[Gate]], refusal: str) -> None:
        self.database = database
        self.gate = gate
        self.refusal = refusal  # the name of the error for a value that must be unique
        self.write = database.write
        self.read = database.read

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None, None]:
        """Hold the writer: what is written meanwhile waits, and makes one group when this is left."""
        async with self.gate() as gate, anyio.create_task_group() as group:
            group.start_soon(self.write, gate.wait)
            await gate.reached()
            try:
                yield
                await anyio.wait_all_tasks_blocked()
            finally:
                await gate.open()


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[Stage, None]:
    path = folder / "notes.db"
    engine = create_engine(f"sqlite:///{path}")
    METADATA.create_all(engine)
    engine.dispose()
    async with SqliteDatabase(path) as database:
        yield Stage(database, sqlite_gate, "IntegrityError")


@asynccontextmanager
async def postgres(folder: Path) -> AsyncGenerator[Stage, None]:
    assert folder
    async with empty_database() as url:
        connection = await connect(url)
        await connection.execute("CREATE TABLE notes (pk bigserial PRIMARY KEY, body text NOT NULL UNIQUE)")
        await connection.close()
        async with PostgresDatabase(url, writers=1) as database:
            yield Stage(database, lambda: postgres_gate(url), "UniqueViolationError")


STAGES = {"sqlite": sqlite, "postgres": postgres}


@pytest.fixture(params=STAGES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Stage, None]:
    async with STAGES[request.param](tmp_path) as stage:
        yield stage


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


async def test_what_was_written_is_read(stage: Stage) -> None:
    await stage.write(adds("a", "b"))
    assert await stage.read(bodies) == ["a", "b"]


async def test_a_statement_says_how_many_rows_it_changed_or_returns_them(stage: Stage) -> None:
    async def work(tx: Transaction) -> tuple[int, int, list[str], list[str]]:
        await tx.execute_many(ADD, [{"body": "a"}, {"body": "b"}, {"body": "c"}])
        await tx.execute_many(ADD, [])
        removed, nothing = await tx.execute(DELETE, {"body": "b"}), await tx.execute(DELETE, {"body": "x"})
        returned = await tx.rows(ADD.returning(NOTES.c.body), {"body": "d'; --"})
        chosen = await tx.rows(select(NOTES.c.body).where(NOTES.c.body.in_(["a", "c"])).order_by(NOTES.c.pk))
        return removed, nothing, [row["body"] for row in returned], [row["body"] for row in chosen]

    assert await stage.write(work) == (1, 0, ["d'; --"], ["a", "c"])


async def test_statements_made_on_the_way_are_told_apart(stage: Stage) -> None:
    """Compiled statements are remembered by identity, and an identity may be used again."""

    async def work(tx: Transaction) -> list[int]:
        return [(await tx.rows(text(f"SELECT {number} AS n")))[0]["n"] for number in range(2_000)]

    assert await stage.read(work) == list(range(2_000))


async def test_an_error_undoes_its_own_piece_only(stage: Stage) -> None:
    errors: list[Exception] = []

    async def half(tx: Transaction) -> None:
        await tx.execute(ADD, {"body": "half"})
        raise ValueError("no")

    async def failing(work: Callable[[Transaction], Awaitable[None]]) -> None:
        try:
            await stage.write(work)
        except Exception as error:
            errors.append(error)

    async with anyio.create_task_group() as group, stage.held():
        for work in (adds("before"), half, adds("twice", "twice"), adds("after")):
            group.start_soon(failing, work)
            await anyio.wait_all_tasks_blocked()
    assert await stage.read(bodies) == ["before", "after"]
    assert [type(error).__name__ for error in errors] == ["ValueError", stage.refusal]


async def test_writes_that_wait_share_a_commit_in_the_order_of_their_coming(stage: Stage) -> None:
    async with stage.gate() as gate, anyio.create_task_group() as group:
        async with stage.held():
            for number in range(10):
                group.start_soon(stage.write, adds(str(number)))
                await anyio.wait_all_tasks_blocked()
            group.start_soon(stage.write, gate.wait)
            await anyio.wait_all_tasks_blocked()
        await gate.reached()
        assert await stage.read(count) == 0
        await gate.open()
    assert await stage.read(bodies) == [str(number) for number in range(10)]


async def test_a_crowd_larger_than_a_group_is_written_whole(stage: Stage) -> None:
    async with anyio.create_task_group() as group, stage.held():
        for number in range(2 * GROUP_MAX + 3):
            group.start_soon(stage.write, adds(str(number)))
    assert await stage.read(count) == 2 * GROUP_MAX + 3


async def test_a_caller_that_gave_up_before_its_turn_writes_nothing(stage: Stage) -> None:
    async with anyio.create_task_group() as group, stage.held():
        group.start_soon(stage.write, adds("kept"))
        with anyio.move_on_after(0):
            await stage.write(adds("dropped"))
    assert await stage.read(bodies) == ["kept"]


async def test_a_caller_that_gives_up_during_its_write_does_not_undo_it(stage: Stage) -> None:
    async with stage.gate() as gate:

        async def slow(tx: Transaction) -> None:
            await tx.execute(ADD, {"body": "slow"})
            await gate.wait(tx)

        async with anyio.create_task_group() as group:
            group.start_soon(stage.write, slow)
            await gate.reached()
            group.cancel_scope.cancel()
        await gate.open()
        await stage.write(adds("next"))
    assert await stage.read(bodies) == ["slow", "next"]


async def test_a_read_sees_one_state_and_every_write_that_was_acknowledged(stage: Stage) -> None:
    await stage.write(adds("a"))
    found: list[tuple[int, int]] = []
    async with stage.gate() as gate, anyio.create_task_group() as group:

        async def twice(tx: Transaction) -> tuple[int, int]:
            first = await count(tx)
            await gate.wait(tx)
            return first, await count(tx)

        async def read() -> None:
            found.append(await stage.read(twice))

        group.start_soon(read)
        await gate.reached()
        await stage.write(adds("b"))
        await gate.open()
    assert found == [(1, 1)]
    assert await stage.read(count) == 2


async def test_a_read_cannot_write(stage: Stage) -> None:
    with pytest.raises(Unavailable):
        await stage.read(adds("a"))
    assert await stage.read(count) == 0


async def test_work_that_waits_for_something_else_is_refused_and_harms_nobody(stage: Stage) -> None:
    async def sleepy(tx: Transaction) -> None:
        await tx.execute(ADD, {"body": "a"})
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="awaited something other"):
        await stage.write(sleepy)
    await stage.write(adds("b"))
    assert await stage.read(bodies) == ["b"]


async def test_a_full_disk_refuses_the_group_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as stage:
        await stage.write(adds("a"))
        refused: list[Unavailable] = []

        async def grow(body: str) -> None:
            try:
                await stage.write(adds(body))
            except Unavailable as error:
                refused.append(error)

        await _limit_pages(stage.database, 10)
        async with anyio.create_task_group() as group, stage.held():
            for number in range(50):
                group.start_soon(grow, f"{number}" + "x" * 4_000)
        assert {error.code for error in refused} == {"storage_unavailable"}
        assert 1 + 50 - len(refused) == await stage.read(count)
        assert len(refused) == 50
        await _limit_pages(stage.database, 100_000)
        await stage.write(adds("there is room again"))
        assert await stage.read(bodies) == ["a", "there is room again"]


async def _limit_pages(database: Database, pages: int) -> None:
    async def work(tx: Transaction) -> None:
        await tx.rows(text(f"PRAGMA max_page_count = {pages}"))

    await database.write(work)


@pytest.mark.parametrize("kind", STAGES)
async def test_a_closed_database_takes_nothing_and_finishes_what_it_had_taken(tmp_path: Path, kind: str) -> None:
    found: list[int] = []
    async with anyio.create_task_group() as group, STAGES[kind](tmp_path) as stage:

        async def write(body: str) -> None:
            await stage.write(adds(body))
            found.append(1)

        async with stage.held():
            for number in range(20):
                group.start_soon(write, str(number))
    for late in (lambda: stage.write(adds("late")), lambda: stage.read(count)):
        with pytest.raises(Unavailable):
            await late()
    assert len(found) == 20


@pytest.mark.parametrize("kind", STAGES)
async def test_a_read_under_way_ends_before_the_database_is_closed(tmp_path: Path, kind: str) -> None:
    found: list[int] = []
    async with anyio.create_task_group() as group, STAGES[kind](tmp_path) as stage, stage.gate() as gate:

        async def slow(tx: Transaction) -> int:
            await gate.wait(tx)
            return await count(tx)

        async def read() -> None:
            found.append(await stage.read(slow))

        group.start_soon(read)
        await gate.reached()
    assert found == [0]


async def test_reads_that_waited_together_each_get_their_own_answer_or_error(tmp_path: Path) -> None:
    found: list[int] = []
    async with sqlite(tmp_path) as stage, AsyncExitStack() as gates, anyio.create_task_group() as group:
        await stage.write(adds("a"))
        for _ in range(READERS):  # every reader stands still: what comes now waits, and is read in one go
            gate = await gates.enter_async_context(stage.gate())
            group.start_soon(stage.read, gate.wait)
            await gate.reached()

        async def wrong(_: Transaction) -> None:
            raise KeyError("mine")

        async def reads() -> None:
            found.append(await stage.read(count))

        async def fails(work: Callable[[Transaction], Awaitable[None]], error: type[Exception]) -> None:
            with pytest.raises(error):
                await stage.read(work)

        with anyio.CancelScope() as gone:
            group.start_soon(reads)
            group.start_soon(fails, wrong, KeyError)
            group.start_soon(fails, adds("b"), Unavailable)
            group.start_soon(reads)
            await anyio.wait_all_tasks_blocked()
            gone.cancel()
            await stage.read(wrong)
        await stage.write(adds("c"))
        await gates.aclose()
        await anyio.wait_all_tasks_blocked()
        group.start_soon(reads)
    assert found == [2, 2, 2]


async def test_a_crowd_larger_than_a_group_is_read_whole(stage: Stage) -> None:
    await stage.write(adds("a"))
    found: list[int] = []

    async def reads() -> None:
        found.append(await stage.read(count))

    async with anyio.create_task_group() as group:
        for _ in range(2 * READ_GROUP_MAX * READERS):
            group.start_soon(reads)
    assert found == [1] * (2 * READ_GROUP_MAX * READERS)
