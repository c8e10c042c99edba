"""The release before this one, out of the repository.

It is what `CHATBACKEND_TEST_PREVIOUS` names, else the last tag, else the last commit that gave the changelog a release.
"""

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.requires import ROOT

VARIABLE = "CHATBACKEND_TEST_PREVIOUS"
_RELEASED = ("log", "-1", "--format=%h", "--pickaxe-regex", r"-S^## \[[0-9]", "--", "CHANGELOG.md")
PROGRAM = (sys.executable, "-m", "chatbackend")


@dataclass(frozen=True, slots=True)
class Previous:
    """A checked out release, run with the libraries of this one. `head`: its last migration."""

    ref: str
    env: Mapping[str, str]
    head: str


@contextmanager
def previous(folder: Path) -> Generator[Previous]:
    """Check it out; the test is skipped where this is no checkout of git with its history."""
    ref = os.environ.get(VARIABLE) or _git("describe", "--tags", "--abbrev=0") or _git(*_RELEASED)
    if not ref:
        pytest.skip(f"no release to compare with: git knows of none, and {VARIABLE} names no commit")
    tree = folder / "previous"
    assert _git("worktree", "add", "--detach", str(tree), ref) is not None, f"git has no {ref}"
    try:
        yield Previous(ref, {"PYTHONPATH": str(tree / "src")}, newest(tree))
    finally:
        _git("worktree", "remove", "--force", str(tree))


def newest(tree: Path) -> str:
    """Return the last migration in a checked out repository."""
    versions = tree / "src" / "chatbackend" / "infra" / "db" / "migrations" / "versions"
    return max(path.name[:4] for path in versions.glob("[0-9]*.py"))


def _git(*words: str) -> str | None:
    """Return what git says, None where it refuses or is absent."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
