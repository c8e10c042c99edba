"""Migrations that expand and that contract: what is applied when, who is refused, and backfills that are cut short."""

import ast
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from chatbackend.bootstrap.releases import refuse_lacking
from chatbackend.config import BadSetting
from chatbackend.infra.db import migrate
from tests.support.server import PROGRAM, Server

VERSIONS = migrate.SCRIPTS / "versions"
TAKES_AWAY = frozenset(("drop_column", "drop_table", "drop_constraint", "alter_column", "rename_table"))
HEAD = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}
branch_labels = None
depends_on = None
phase = "{phase}"
"""
BACKFILL = """
def backfill(connection, place):
    rows = connection.exec_driver_sql(
        f"SELECT id FROM t WHERE id > {int(place or 0)} ORDER BY id LIMIT 10"
    ).scalars().all()
    for number in rows:
        connection.exec_driver_sql(f"INSERT INTO filled VALUES ({number})")
    if 50 in rows and connection.exec_driver_sql("SELECT count(*) FROM facts WHERE name = 'break'").scalar():
        raise RuntimeError("cut short")
    return str(rows[-1]) if rows else None
"""


def write(scripts: Path, revision: str, phase: str, *sql: str, more: str = "") -> None:
    """Add a migration to a chain."""
    down = f"{int(revision) - 1:04}"
    body = "".join(f"    op.execute({statement!r})\n" for statement in sql)
    head = HEAD.format(revision=revision, down=None if revision == "0001" else repr(down), phase=phase)
    (scripts / "versions" / f"{revision}.py").write_text(f"{head}\n\ndef upgrade():\n{body}\n{more}")
    migrate.chain.cache_clear()


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A chain of our own: 0002 expands with a backfill, 0003 contracts."""
    found = tmp_path / "migrations"
    (found / "versions").mkdir(parents=True)
    shutil.copy(migrate.SCRIPTS / "env.py", found)
    rows = ", ".join(f"({number}, 'x')" for number in range(1, 96))
    write(
        found,
        "0001",
        "expand",
        "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, old TEXT)",
        f"INSERT INTO t VALUES {rows}",  # noqa: S608  # our own numbers
    )
    return found


def older(scripts: Path, path: Path) -> None:
    """Make a database of the first release, and two more releases behind it."""
    migrate.migrate(path, scripts=scripts)
    write(scripts, "0002", "expand", "CREATE TABLE filled (id INTEGER PRIMARY KEY)", more=BACKFILL)
    write(scripts, "0003", "contract", "ALTER TABLE t DROP COLUMN old")


def read(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def columns(path: Path) -> list[object]:
    return [row[1] for row in read(path, "PRAGMA table_info(t)")]


def names(found: list[migrate.Migration]) -> list[str]:
    return [migration.revision for migration in found]


def test_what_contracts_is_applied_only_where_it_is_asked_for(scripts: Path, tmp_path: Path) -> None:
    path = tmp_path / "truth.db"
    older(scripts, path)
    assert migrate.migrate(path, scripts=scripts) == ["0002"]
    assert columns(path) == ["id", "old"]
    assert (names(migrate.look(path, scripts)), migrate.pending(path, scripts)) == (["0003"], [])
    assert migrate.migrate(path, contract=True, scripts=scripts) == ["0003"]
    assert (columns(path), migrate.look(path, scripts)) == (["id"], [])


def test_what_expands_behind_what_contracts_waits_for_it_and_is_missed(scripts: Path, tmp_path: Path) -> None:
    path = tmp_path / "truth.db"
    older(scripts, path)
    write(scripts, "0004", "expand", "CREATE TABLE further (id INTEGER)")
    assert migrate.migrate(path, scripts=scripts) == ["0002"]
    assert migrate.pending(path, scripts) == ["0003", "0004"]
    assert migrate.migrate(path, contract=True, scripts=scripts) == ["0003", "0004"]
    assert migrate.pending(path, scripts) == []


def test_a_new_database_is_made_whole(scripts: Path, tmp_path: Path) -> None:
    older(scripts, tmp_path / "older.db")
    path = tmp_path / "new.db"
    assert migrate.migrate(path, scripts=scripts) == ["0001", "0002", "0003"]
    assert columns(path) == ["id"]


def test_a_release_goes_on_with_what_a_newer_one_added_but_not_without_what_it_took(
    scripts: Path, tmp_path: Path
) -> None:
    path, old = tmp_path / "truth.db", tmp_path / "old"
    shutil.copytree(scripts, old)
    older(scripts, path)
    migrate.migrate(path, scripts=scripts)
    assert migrate.migrate(path, scripts=old) == []
    assert migrate.pending(path, old) == []
    migrate.migrate(path, contract=True, scripts=scripts)
    for look in (migrate.migrate, migrate.pending):
        with pytest.raises(migrate.NewerDatabase, match="0003"):
            look(path, scripts=old)


def test_a_backfill_that_is_cut_short_goes_on_where_it_was_and_is_done_once(scripts: Path, tmp_path: Path) -> None:
    path = tmp_path / "truth.db"
    older(scripts, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO facts VALUES ('break', '')")
        connection.commit()
    with pytest.raises(RuntimeError, match="cut short"):
        migrate.migrate(path, contract=True, scripts=scripts)
    assert read(path, "SELECT count(*), max(id) FROM filled") == [(40, 40)]  # whole batches, each with its place
    assert read(path, "SELECT value FROM facts WHERE name = 'backfill 0002'") == [("40",)]
    assert columns(path) == ["id", "old"]  # nothing is taken away before it
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM facts WHERE name = 'break'")
        connection.commit()
    assert migrate.migrate(path, scripts=scripts) == []
    assert read(path, "SELECT count(*) FROM filled") == [(95,)]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM filled")
        connection.commit()
    migrate.migrate(path, scripts=scripts)
    assert read(path, "SELECT count(*) FROM filled") == [(0,)]


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("0*.py")), ids=lambda path: path.stem)
def test_every_migration_says_which_it_is_and_what_expands_takes_nothing_away(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    [phase] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["phase"]
    ]
    assert phase in {"expand", "contract"}
    applied = [node for node in tree.body if not (isinstance(node, ast.FunctionDef) and node.name == "downgrade")]
    calls = {node.attr for part in applied for node in ast.walk(part) if isinstance(node, ast.Attribute)}
    assert phase == "contract" or not calls & TAKES_AWAY


def test_the_chain_is_one_line_of_what_is_in_the_folder() -> None:
    found = [migration.revision for migration in migrate.chain()]
    assert found == sorted(found) == sorted(path.stem.partition("_")[0] for path in VERSIONS.glob("0*.py"))


def mark(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_server_runs_on_what_a_newer_release_expanded_and_refuses_in_one_line_what_it_contracted(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    server.start()
    server.stop()
    mark(server.data / "truth.db", "UPDATE alembic_version SET version_num = '9999'")
    server.start()
    assert "pending: nothing" in server.run("migrate")
    server.stop()
    mark(server.data / "truth.db", "INSERT INTO facts VALUES ('contracted', '9998')")
    done = subprocess.run(
        [str(PROGRAM), "serve"], env=server.environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "lacks what a newer release took away (9998)" in done.stderr


def test_a_schema_that_is_too_old_is_refused_with_what_to_do() -> None:
    refuse_lacking([], "here")
    with pytest.raises(BadSetting, match=r"needs 0004: run 'chatbackend migrate --contract'. Releases before 0003"):
        refuse_lacking(["0003", "0004"], "here")
