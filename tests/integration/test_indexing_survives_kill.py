"""A worker killed at any stage of indexing is taken over by the next start, and nobody can tell from the chunks."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.requires import ROOT

PLACES = ["parse", "text", *[f"embed {n}" for n in range(4)], "complete"]
DUMP = (
    'SELECT number, start, "end", page, header, text, vector FROM chunks ORDER BY number',
    "SELECT number, term, tf, length FROM postings ORDER BY number, term",
    "SELECT chunking, status, done, length, fingerprint, embedder, usage_bytes FROM chunk_sets",
    "SELECT stage, percent, reason_code FROM files",
    "SELECT text FROM file_texts",
    "SELECT kind FROM jobs",
)


def child(folder: Path, place: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.support.index_child", str(folder), place]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at(folder: Path, place: str) -> None:
    """Let a child come to a place and kill it there."""
    with child(folder, place) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        while said and said.strip() != place:
            said = process.stdout.readline()  # lines of the log
        process.send_signal(signal.SIGKILL)
        assert said.strip() == place, process.communicate()[1]


def ended(folder: Path) -> list[list[Any]]:
    """Let a child finish, and return everything it stored."""
    with child(folder, "end") as process:
        _, said = process.communicate(timeout=50)
        assert process.returncode == 0, said
    connection = sqlite3.connect(folder / "truth.db")
    try:
        return [connection.execute(statement).fetchall() for statement in DUMP]
    finally:
        connection.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    found = ended(tmp_path_factory.mktemp("undisturbed"))
    assert len(found[0]) > 3 * 32
    assert found[3] == [("ready", 100, None)]
    assert found[5] == []
    return found


@pytest.mark.parametrize("place", PLACES)
def test_a_worker_killed_at_a_stage_leaves_no_trace(tmp_path: Path, undisturbed: list[list[Any]], place: str) -> None:
    killed_at(tmp_path, place)
    assert ended(tmp_path) == undisturbed


def test_a_worker_killed_at_every_stage_in_turn_leaves_no_trace(tmp_path: Path, undisturbed: list[list[Any]]) -> None:
    for place in ("parse", "parse", "embed 1", "embed 1", "embed 0", "complete"):
        killed_at(tmp_path, place)
    assert ended(tmp_path) == undisturbed
