"""What servers ask at every turn and every second is found by an index, among however many that have ended."""

import sqlite3
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.base import Executable

from chatbackend.domain.responses import Response
from chatbackend.infra.db.conversations import running
from chatbackend.infra.db.requests import Requests
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.servers import Servers
from chatbackend.infra.db.sqlite import SqliteTransaction
from chatbackend.infra.db.transaction import Database, Params, Row, Transaction, drive
from chatbackend.usecases.ports import Once
from tests.support.fakes import ME
from tests.support.truth_world import World
from tests.support.truths import truth

pytestmark = pytest.mark.anyio
T = TypeVar("T")


class Explaining(SqliteTransaction):
    """A transaction that also says how SQLite goes about each statement, whatever is bound."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.connection = connection
        self.plans: list[str] = []

    async def rows(self, statement: Executable, params: Params | None = None) -> list[Row]:
        self.explain(statement)
        return await super().rows(statement, params)

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        self.explain(statement)
        return await super().execute(statement, params)

    def explain(self, statement: Any) -> None:  # noqa: ANN401  # Executable lacks `compile` in its stubs
        compiled = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
        found = self.connection.execute(f"EXPLAIN QUERY PLAN {compiled}", dict.fromkeys(compiled.params))
        self.plans += [row[3] for row in found]


class Explained:
    """A database whose transactions are such, one after the other, at once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.tx = Explaining(connection)

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, touching: Collection[str] | None = None) -> T:
        return await work(self.tx)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await work(self.tx)


async def tidied(database: Database, world: World) -> None:
    servers = Servers(database, "a", lease_s=15)
    await servers.draw("log")
    await servers.tidy()


ASKED: dict[str, tuple[Callable[[Database, World], Coroutine[Any, Any, object]], list[str]]] = {
    "how many lost their owner": (lambda database, world: Responses(database, world).orphans(), ["responses_alive"]),
    "which to take over": (lambda database, world: Responses(database, world).take_over(fence=9), ["responses_alive"]),
    "which calls are open": (
        lambda database, world: Responses(database, world).settle_abandoned(),
        ["ledger_open", "responses_alive"],
    ),
    "which answers are made": (lambda database, world: Requests(database, world).unended(), ["requests_owned"]),
    "whether one is made": (lambda database, world: Requests(database, world).under_way("a"), ["requests_owned"]),
    "whether a key came before": (
        lambda database, world: Requests(database, world).begin(ME, Once("/v1", "body", key="k"), "b", fence=1),
        ["requests_by_key"],
    ),
    "what was said in a conversation": (
        lambda database, world: Responses(database, world).context(Response("r", ME, "m", 0, conversation_id="c")),
        ["items_by_conversation"],
    ),
    "who runs in a conversation": (
        lambda database, _: database.read(lambda tx: running(tx, "c")),
        ["responses_by_conversation"],
    ),
    "which fences are needed": (tidied, ["ledger_open", "responses_alive", "requests_owned"]),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_what_is_asked_often_is_asked_of_the_index_that_is_for_it(asked: str, tmp_path: Path) -> None:
    async with truth("sqlite", tmp_path) as database:
        world = World(database)
        await world.ended("done")
        await world.begun()
    ask, indexes = ASKED[asked]

    def explained() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "truth.db", isolation_level=None)) as connection:
            database = Explained(connection)
            drive(ask(database, world))
            return database.tx.plans

    plans = await anyio.to_thread.run_sync(explained)
    assert [index for index in indexes if not any(f"INDEX {index}" in plan for plan in plans)] == []
    assert [plan for plan in plans if plan in ("SCAN responses", "SCAN ledger", "SCAN requests")] == []
