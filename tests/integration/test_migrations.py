"""The migrations make exactly the schema that the code is written against, from nothing and once."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from chatbackend.infra.db import migrate
from chatbackend.infra.db.tables import METADATA
from chatbackend.infra.db.tables.events import EVENTS_METADATA

SCHEMA = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.db"
    migrate.migrate(path)
    return path


@pytest.fixture
def connection(truth: Path) -> Iterator[Connection]:
    engine = create_engine(f"sqlite:///{truth}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def schema(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(SCHEMA).fetchall()


def test_the_migrated_schema_is_the_one_in_the_code(connection: Connection) -> None:
    assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_schema_that_lacks_something_is_seen(connection: Connection) -> None:
    connection.exec_driver_sql("DROP INDEX ledger_open")
    connection.exec_driver_sql("ALTER TABLE items DROP COLUMN body")
    kinds = {entry[0] for entry in compare_metadata(MigrationContext.configure(connection), METADATA)}
    assert {"add_index", "add_column"} <= kinds


def test_indexes_have_the_conditions_that_the_code_gives_them(truth: Path, tmp_path: Path) -> None:
    """Alembic does not compare the WHERE of an index."""
    made = tmp_path / "made.db"
    engine = create_engine(f"sqlite:///{made}")
    METADATA.create_all(engine)
    engine.dispose()

    def indexes(path: Path) -> set[str]:
        return {" ".join(sql.split()) for _, sql in schema(path) if sql.startswith("CREATE ") and "INDEX" in sql}

    assert indexes(truth) == indexes(made)


def test_migrating_again_changes_nothing(truth: Path) -> None:
    before = schema(truth)
    migrate.migrate(truth)
    assert schema(truth) == before
    assert migrate.pending(truth) == []


def test_what_is_pending_is_named_oldest_first(tmp_path: Path) -> None:
    pending = migrate.pending(tmp_path / "new.db")
    assert pending == sorted(pending)
    assert pending[0] == "0001"


def test_every_migration_can_be_undone(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.downgrade(config, "base")
    tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
    assert set(tables) <= {"alembic_version", "sqlite_sequence"}


def test_the_event_log_is_made_where_it_is_missing_and_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    migrate.make_event_log(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO streams (response_id, fence, next) VALUES ('resp_1', 1, 0)")
        connection.commit()
    migrate.make_event_log(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM streams").fetchone() == (1,)
    assert {name for name, _ in schema(path)} >= set(EVENTS_METADATA.tables)


def test_what_was_said_before_a_release_is_found_by_it(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for name in ("conv_a", "conv_b"):
            row = (name, "t", "o", 7, b"{}", 3)
            connection.exec_driver_sql(
                "INSERT INTO conversations (id, tenant, owner, created_at, metadata, next_turn) VALUES (?,?,?,?,?,?)",
                row,
            )
        said = [
            ("assistant", "output_text", "Hello"),
            ("user", "input_text", "About  tea"),
            ("user", "input_text", "!"),
        ]
        items = [
            {"type": "message", "id": f"msg_{number}", "role": role, "content": [{"type": kind, "text": text}]}
            for number, (role, kind, text) in enumerate(said * 100)  # more than are read at once
        ]
        items.append({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"})
        for turn, item in enumerate(reversed(items)):  # written in another order than that of the turns
            place = (item["id"], "t", "o", "conv_a", len(items) - turn, "input", 0, json.dumps(item).encode())
            connection.exec_driver_sql(
                "INSERT INTO items (id, tenant, owner, conversation_id, turn, direction, position, body)"
                " VALUES (?,?,?,?,?,?,?,?)",
                place,
            )
    engine.dispose()
    migrate.migrate(tmp_path / "old.db")
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT id, derived_title, updated_at FROM conversations ORDER BY id").all()
        words = connection.exec_driver_sql("SELECT item_id, words FROM conversation_words").all()
    engine.dispose()
    assert [tuple(row) for row in found] == [("conv_a", "About tea", 7), ("conv_b", None, 7)]
    assert len(words) == 200
    assert {tuple(row) for row in words} >= {("msg_0", " hello"), ("msg_298", " about tea")}
