"""On PostgreSQL the same migrations make the same schema: from nothing, from an older release with data, once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from chatbackend.infra.db import migrate
from chatbackend.infra.db.migrate import NewerDatabase
from chatbackend.infra.db.postgres import schema
from chatbackend.infra.db.tables import METADATA
from tests.support.postgres import database

pytestmark = pytest.mark.anyio
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
UNORDERED = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
)
SAID = '{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where do herons nest?"}]}'
OLD = (
    "INSERT INTO conversations (id, tenant, owner, created_at, metadata, next_turn)"
    " VALUES ('conv', 't', 'o', 5, '{}', 2)",
    "INSERT INTO items (id, tenant, owner, conversation_id, turn, direction, position, body)"  # noqa: S608  # our text
    f" VALUES ('msg', 't', 'o', 'conv', 1, 'input', 0, convert_to('{SAID}', 'UTF8'))",
    "INSERT INTO responses (id, tenant, owner, account, key_id, model, status, created_at, body)"
    " VALUES ('resp', 't', 'o', 'a', 'k', 'm', 'completed', 5, '{}')",
    "INSERT INTO ledger (id, tenant, owner, key_id, response_id, attempt, model, status, started_at)"
    " VALUES ('call', 't', 'o', 'k', 'resp', 1, 'm', 'settled', 5)",
)


async def on(url: str, work: Callable[[Connection], object]) -> object:
    """Run synchronous work on a connection, in a transaction."""
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


async def rows(url: str, statement: str) -> Sequence[object]:
    found = await on(url, lambda connection: [tuple(row) for row in connection.execute(text(statement))])
    assert isinstance(found, list)
    return found  # pyright: ignore[reportUnknownVariableType]  # rows of any shape


def to(revision: str, *, down: bool = False) -> Callable[[Connection], None]:
    """Return what brings a database to a revision."""

    def work(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)

    return work


def difference(connection: Connection) -> object:
    return compare_metadata(MigrationContext.configure(connection, opts={"compare_server_default": True}), METADATA)


async def test_the_migrated_schema_is_the_one_in_the_code() -> None:
    async with database() as made, database() as migrated:
        applied = await anyio.to_thread.run_sync(schema.upgrade, migrated)
        await on(made, METADATA.create_all)
        assert applied == sorted(applied)
        assert await on(migrated, difference) == []
        assert [await rows(url, UNORDERED) for url in (migrated, made)] == [[], []]
        ours = [row for row in await rows(migrated, INDEXES) if "alembic" not in str(row)]
        assert ours == await rows(made, INDEXES)


async def test_a_database_of_an_older_release_keeps_its_rows() -> None:
    async with database() as url:
        await on(url, to("0002"))
        for statement in OLD:
            await on(url, lambda connection, statement=statement: connection.exec_driver_sql(statement))
        applied = await anyio.to_thread.run_sync(schema.upgrade, url)
        assert applied[0] == "0003"
        assert await on(url, difference) == []
        assert await rows(url, "SELECT id, served FROM responses") == [("resp", None)]
        assert await rows(url, "SELECT id, outcome, cost_nano_usd FROM ledger") == [("call", None, None)]
        assert await rows(url, "SELECT id, updated_at, derived_title FROM conversations") == [
            ("conv", 5, "Where do herons nest?")
        ]


async def test_migrating_again_does_nothing_and_two_at_once_do_it_once() -> None:
    async with database() as url:
        found: list[list[str]] = []

        async def upgrade() -> None:
            found.append(await anyio.to_thread.run_sync(schema.upgrade, url))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(upgrade)
        assert sorted(map(bool, found)) == [False, False, True]
        assert await anyio.to_thread.run_sync(schema.pending, url) == []


async def test_a_migration_that_fails_leaves_what_was_there() -> None:
    async with database() as url:
        await on(url, to("0003"))
        await on(url, lambda connection: connection.exec_driver_sql("CREATE TABLE conversation_words (id text)"))
        with pytest.raises(Exception, match="conversation_words"):
            await anyio.to_thread.run_sync(schema.upgrade, url)
        assert (await anyio.to_thread.run_sync(schema.pending, url))[0] == "0004"


async def test_a_database_is_refused_once_a_newer_release_has_taken_something_away() -> None:
    async with database() as url:
        await anyio.to_thread.run_sync(schema.upgrade, url)
        await on(url, lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
        assert await anyio.to_thread.run_sync(schema.upgrade, url) == []  # it has only added what we do not know
        fact = "INSERT INTO facts (name, value) VALUES ('contracted', '9998')"
        await on(url, lambda connection: connection.exec_driver_sql(fact))
        for look in (schema.upgrade, schema.pending):
            with pytest.raises(NewerDatabase, match="9998"):
                await anyio.to_thread.run_sync(look, url)


async def test_every_migration_can_be_undone() -> None:
    async with database() as url:
        await anyio.to_thread.run_sync(schema.upgrade, url)
        await on(url, to("base", down=True))
        tables = await rows(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert tables == [("alembic_version",)]
