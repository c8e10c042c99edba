"""What PostgreSQL alone can do to a database's callers: races, lost connections, lost answers, texts it refuses."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import pytest
from sqlalchemy import bindparam, select, text, update

from chatbackend.domain.errors import InvalidRequest, Unavailable
from chatbackend.infra.db.postgres import PostgresDatabase
from chatbackend.infra.db.postgres.owner import Owner, Taken
from chatbackend.infra.db.postgres.pieces import Piece, waves
from chatbackend.infra.db.tables.keys import FACTS
from chatbackend.infra.db.transaction import Transaction, adding
from tests.support.gates import postgres_gate
from tests.support.postgres import migrated

pytestmark = pytest.mark.anyio
ADD = adding(FACTS)
SET = update(FACTS).where(FACTS.c.name == bindparam("name_")).values(value=bindparam("value_"))
ALL = select(FACTS.c.name, FACTS.c.value).order_by(FACTS.c.name)
OTHERS_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
async def url() -> AsyncGenerator[str, None]:
    async with migrated() as url:
        yield url


def adds(name: str, value: str = "") -> Callable[[Transaction], Awaitable[None]]:
    async def work(tx: Transaction) -> None:
        await tx.execute(ADD, {"name": name, "value": value})

    return work


async def facts(database: PostgresDatabase) -> dict[str, str]:
    async def work(tx: Transaction) -> dict[str, str]:
        return {row["name"]: row["value"] for row in await tx.rows(ALL)}

    return await database.read(work)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["a", "b", "c"], ["abc"]),
        (["c", "a", "b"], ["abc"]),
        (["a", "b", "a", "c"], ["ab", "ac"]),
        (["a", None, "b"], ["a", "*", "b"]),
        ([None, None], ["*", "*"]),
        (["ab", "bc", "d"], ["A", "Bd"]),
    ],
)
async def test_only_what_touches_nothing_in_common_is_run_side_by_side(
    given: list[str | None], found: list[str]
) -> None:
    async def nothing(tx: Transaction) -> None: ...

    loop = asyncio.get_running_loop()
    names = {"ab": "A", "bc": "B", None: "*"}
    pieces = [Piece(nothing, loop.create_future(), None if each is None else frozenset(each)) for each in given]
    labels = {id(piece): names.get(each, each) for piece, each in zip(pieces, given, strict=True)}
    assert ["".join(str(labels[id(piece)]) for piece in wave) for wave in waves(pieces)] == found


async def test_pieces_run_side_by_side_have_their_own_rows_counts_and_failures(url: str) -> None:
    taken: dict[str, object] = {}

    async def run(database: PostgresDatabase, name: str) -> None:
        async def work(tx: Transaction) -> tuple[int, list[str], int]:
            before = await tx.execute(SET, {"name_": name, "value_": "early"})
            if name == "fact 7":
                raise ValueError(name)
            await tx.execute(ADD, {"name": name, "value": name})
            if name == "fact 8":
                raise LookupError(name)
            added = await tx.rows(ADD.returning(FACTS.c.name), {"name": f"{name} too", "value": ""})
            await tx.execute_many(ADD, [{"name": f"{name} {n}", "value": ""} for n in range(2)])
            return before, [row["name"] for row in added], await tx.execute(SET, {"name_": name, "value_": "late"})

        try:
            taken[name] = await database.write(work, touching=(name,))
        except (ValueError, LookupError) as error:
            taken[name] = type(error)

    async with PostgresDatabase(url, writers=1) as database:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(run, database, f"fact {number}")
        kept = {name: value for name, value in (await facts(database)).items() if name.startswith("fact ")}
    assert taken.pop("fact 7") is ValueError
    assert taken.pop("fact 8") is LookupError
    assert taken == {name: (0, [f"{name} too"], 1) for name in taken}
    assert len(taken) == 18
    assert len(kept) == 18 * 4
    assert {kept[name] for name in taken} == {"late"}


async def test_works_that_wait_for_each_other_in_a_circle_both_come_to_their_end(url: str) -> None:
    def crosses(first: str, second: str) -> Callable[[Transaction], Awaitable[None]]:
        async def work(tx: Transaction) -> None:
            await tx.execute(SET, {"name_": first, "value_": first})
            await gate.wait(tx)
            await tx.execute(SET, {"name_": second, "value_": first})

        return work

    async with PostgresDatabase(url) as one, PostgresDatabase(url) as other, postgres_gate(url) as gate:
        await one.write(adds("a"))
        await one.write(adds("b"))
        async with anyio.create_task_group() as group:
            group.start_soon(one.write, crosses("a", "b"))
            group.start_soon(other.write, crosses("b", "a"))
            await gate.reached(2)
            await gate.open()
        assert len(set((await facts(one)).values())) == 1


async def test_a_text_that_cannot_be_kept_is_the_callers_fault(url: str) -> None:
    async with PostgresDatabase(url) as database:
        with pytest.raises(InvalidRequest) as refused:
            await database.write(adds("a\0b"))
        assert refused.value.code == "invalid_text"
        noise = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(9_000))
        with pytest.raises(InvalidRequest) as refused:
            await database.write(adds(noise))
        assert refused.value.code == "text_too_long"
        assert await facts(database) == {}


async def test_a_cancelled_read_leaves_nothing_to_the_next_one(url: str) -> None:
    async with PostgresDatabase(url, readers=1) as database, postgres_gate(url) as gate:
        await database.write(adds("a"))
        async with anyio.create_task_group() as group:
            group.start_soon(database.read, gate.wait)
            await gate.reached()
            group.cancel_scope.cancel()
        await database.write(adds("b"))
        assert set(await facts(database)) == {"a", "b"}


async def test_connections_that_are_cut_are_made_anew(url: str) -> None:
    async with PostgresDatabase(url, writers=1) as database, PostgresDatabase(url) as other:
        await database.write(adds("a"))
        await facts(database)

        async def cut(tx: Transaction) -> None:
            await tx.rows(OTHERS_END)

        await other.write(cut)
        refusals = 0
        while True:
            try:
                await database.write(adds("b"))
                break
            except Unavailable:
                refusals += 1
        assert refusals <= 1
        assert set(await facts(database)) == {"a", "b"}


async def test_a_database_that_is_not_there_refuses(url: str) -> None:
    gone = urlsplit(url)._replace(netloc="postgres@127.0.0.1:1").geturl()
    async with PostgresDatabase(gone) as database:
        for use in (lambda: database.write(adds("a")), lambda: facts(database)):
            with pytest.raises(Unavailable) as refused:
                await use()
            assert refused.value.code == "storage_unavailable"


@asynccontextmanager
async def losing_commit(url: str, *, deliver: bool) -> AsyncGenerator[str, None]:
    """Stand before the server; lose the answer to the first COMMIT, or (not `deliver`) the COMMIT itself."""
    server, lost = urlsplit(url), anyio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(server.hostname, server.port)
        losing = anyio.Event()

        async def up() -> None:
            while data := await reader.read(65_536):
                if not lost.is_set() and b"COMMIT" in data:
                    lost.set()
                    losing.set()
                    if not deliver:
                        break
                up_writer.write(data)
            up_writer.close()

        async def down() -> None:
            while (data := await up_reader.read(65_536)) and not losing.is_set():
                writer.write(data)
            writer.close()

        async with anyio.create_task_group() as group:
            group.start_soon(up)
            group.start_soon(down)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield server._replace(netloc=f"{server.username}@127.0.0.1:{port}").geturl()
    finally:
        listening.close()


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_commit_whose_answer_is_lost_is_asked_about(url: str, *, deliver: bool) -> None:
    async with losing_commit(url, deliver=deliver) as lossy, PostgresDatabase(lossy, writers=1) as database:
        if deliver:
            await database.write(adds("a"))
        else:
            with pytest.raises(Unavailable):
                await database.write(adds("a"))
        assert list(await facts(database)) == (["a"] if deliver else [])


async def test_what_waited_while_the_lease_was_lost_is_not_written(url: str) -> None:
    held = True

    def allowed() -> None:
        if not held:
            raise Unavailable("no lease")

    async with PostgresDatabase(url, writers=1, allowed=allowed) as database, postgres_gate(url) as gate:
        refused: list[Unavailable] = []

        async def write(name: str) -> None:
            try:
                await database.write(adds(name))
            except Unavailable as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(database.write, gate.wait)
            await gate.reached()
            for name in ("a", "b"):
                group.start_soon(write, name)
            await anyio.wait_all_tasks_blocked()
            held = False
            await gate.open()
        assert len(refused) == 2
        assert await facts(database) == {}


async def test_one_server_holds_a_database_and_gives_it_back(url: str) -> None:
    prepared: list[int] = []

    async def prepare() -> None:
        prepared.append(1)

    def report(message: str, error: BaseException) -> None:
        raise AssertionError(message) from error

    async with Owner(url, report, prepare=prepare) as owner, PostgresDatabase(url, allowed=owner.check) as database:
        await database.write(adds("a"))
        with pytest.raises(Taken):
            await Owner(url, report, prepare=prepare).__aenter__()
    async with Owner(url, report, prepare=prepare):
        pass
    assert len(prepared) == 2


async def test_a_server_whose_database_went_away_writes_again_unless_another_was_there(url: str) -> None:
    reports: list[str] = []

    async def prepare() -> None: ...

    async def settled(owner: Owner) -> None:
        with anyio.fail_after(20):
            while not reports:
                try:
                    return owner.check()
                except Unavailable:
                    await anyio.sleep(0.02)

    async def cut(tx: Transaction) -> None:
        await tx.rows(OTHERS_END)

    def report(message: str, error: BaseException) -> None:
        assert isinstance(error, Taken)
        reports.append(message)

    async with Owner(url, report, prepare=prepare) as owner:
        async with PostgresDatabase(url) as other:
            for rob in (False, True):
                if rob:
                    await other.write(lambda tx: tx.execute(SET, {"name_": "owner", "value_": "another"}))
                await other.write(cut)
                with pytest.raises(Unavailable), anyio.fail_after(20):
                    while True:  # at every turn of the loop: the lock may be taken again within milliseconds
                        owner.check()
                        await anyio.lowlevel.checkpoint()
                await settled(owner)
                assert bool(reports) is rob
        with pytest.raises(Unavailable):
            owner.check()
