"""`chatbackend move` takes everything from the data folder's SQLite into PostgreSQL, or nothing."""

import hashlib
import sqlite3
import subprocess
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import openai
import pytest

from chatbackend.infra.db import migrate
from chatbackend.infra.db.move import Differs, NotEmpty, move
from chatbackend.infra.db.postgres import schema
from chatbackend.infra.db.postgres.links import connect
from chatbackend.infra.db.tables import METADATA
from tests.support.postgres import database, migrated
from tests.support.server import PROGRAM, Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def target() -> AsyncGenerator[str, None]:
    async with migrated() as url:
        yield url


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A truth with more keys than go in one batch, of a kind that locales order in their own ways."""
    path = tmp_path / "truth.db"
    migrate.migrate(path)
    keys = [
        ("a_b", "ab"),
        ("A", "x"),
        ("\U0001f600", "\u00e9"),
        ("\uffff", "z"),
        *((f"k{n}", "v") for n in range(2_500)),
    ]
    with closing(sqlite3.connect(path)) as connection:
        connection.executemany("INSERT INTO facts (name, value) VALUES (?, ?)", keys)
        connection.execute(
            "INSERT INTO jobs (id, tenant, owner, kind, subject, state, run_after, created_at)"
            " VALUES (41, 't', 'o', 'index', '1', 'queued', 0, 0)"
        )
        connection.execute(
            "INSERT INTO vector_store_file_attributes (vector_store_id, file_id, key, tenant, owner, kind, number)"
            " VALUES ('vs', 'f', 'year', 't', 'o', 'number', 0.1)"
        )
        connection.commit()
    return path


def nothing(table: str, rows: int, total: int) -> None:
    assert rows <= total, table


async def test_every_row_is_there_and_numbers_go_on_behind_the_last(source: Path, target: str) -> None:
    steps: list[tuple[str, int, int]] = []

    def moved(table: str, rows: int, total: int) -> None:
        steps.append((table, rows, total))

    found = await move(source, target, moved)
    assert set(found) == set(METADATA.tables)
    assert {name: content.rows for name, content in found.items() if content.rows} == {
        "facts": 2_505,  # one says that a backfill is done
        "jobs": 1,
        "vector_store_file_attributes": 1,
    }
    assert [step[1:] for step in steps if step[0] == "facts"] == [
        (0, 2_505),
        (1_000, 2_505),
        (2_000, 2_505),
        (2_505, 2_505),
    ]
    connection = await connect(target)
    assert await connection.fetchval("SELECT number FROM vector_store_file_attributes") == 0.1
    added = (
        "INSERT INTO jobs (tenant, owner, kind, subject, state, run_after, created_at) VALUES ('t','o','k','s','q',0,0)"
    )
    assert await connection.fetchval(f"{added} RETURNING id") == 42
    await connection.close()


async def test_a_target_with_a_row_is_refused_and_left(source: Path, target: str) -> None:
    connection = await connect(target)
    await connection.execute("INSERT INTO facts (name, value) VALUES ('mine', '1')")
    with pytest.raises(NotEmpty, match="facts"):
        await move(source, target, nothing)
    assert await connection.fetchval("SELECT count(*) FROM facts WHERE name = 'mine'") == 1
    await connection.close()


async def test_what_comes_out_different_is_seen_and_nothing_is_kept(source: Path) -> None:
    """A trigger of the target changes one of thousands of rows: by a single character."""
    change = "IF NEW.name = 'k77' THEN NEW.value = 'w'; END IF; RETURN NEW;"
    async with database() as url:
        await anyio.to_thread.run_sync(schema.upgrade, url)
        connection = await connect(url)
        await connection.execute(f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {change} END$$")
        await connection.execute("CREATE TRIGGER t BEFORE INSERT ON facts FOR EACH ROW EXECUTE FUNCTION f()")
        with pytest.raises(Differs, match="facts"):
            await move(source, url, nothing)
        assert await connection.fetchval("SELECT name FROM facts") == "backfill 0005"  # as it was
        await connection.close()


@pytest.mark.timeout(120)
async def test_a_server_goes_on_from_where_it_was_moved(tmp_path: Path) -> None:
    async with database() as url:
        await anyio.to_thread.run_sync(_moved, Server(tmp_path), url)


def _moved(server: Server, url: str) -> None:
    server.start()
    with openai.OpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as chat:
        conversation = chat.conversations.create(metadata={"a": "b"})
        first = chat.responses.create(model="local", input="one", conversation=conversation.id)
        file = chat.files.create(file=("notes.txt", b"The heron stands in the river."), purpose="assistants")
        store = chat.vector_stores.create(name="birds")
        chat.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id)
        assert "A server is running" in _refused(server, url)
        server.stop()
        before = _digest(server)
        assert "Everything is there and the same." in server.run("move", "--to", url)
        assert _digest(server) == before
        assert "not empty" in _refused(server, url)
        server.start({"DATABASE_URL": url})
        assert chat.responses.retrieve(first.id).output_text == first.output_text
        assert [item.type for item in chat.conversations.items.list(conversation.id).data] == ["message", "message"]
        assert chat.files.content(file.id).read() == b"The heron stands in the river."
        assert chat.vector_stores.search(store.id, query="heron").data[0].filename == "notes.txt"
        events = [event.type for event in chat.responses.retrieve(first.id, stream=True)]
        assert events[-1] == "response.completed"
        chat.responses.create(model="local", input="two", conversation=conversation.id)
        server.stop()


def _refused(server: Server, url: str) -> str:
    command = [PROGRAM, "move", "--to", url]
    done = subprocess.run(command, env=server.environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def _digest(server: Server) -> str:
    return hashlib.sha256((server.data / "truth.db").read_bytes()).hexdigest()
