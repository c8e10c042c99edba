"""kill -9 before system calls of a commit: what was acknowledged is whole, whichever call it was."""

import sys
from pathlib import Path

import pytest

from tests.faults.crash_points import cut_all, spread
from tests.faults.invariants import violations
from tests.faults.planted import PLANTED

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(180)
async def test_a_kill_before_any_call_of_a_commit_breaks_no_invariant(tmp_path: Path) -> None:
    history, cuts = await cut_all(tmp_path, ["ask", "relay", "upload"], spread(4))
    assert violations(history) == []
    assert cuts.killed >= cuts.tried * 2 / 3  # later calls of a thread are fewer, now and then


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("bug", "work", "invariants"),
    [
        ("answer-before-commit", "ask", ("I1", "I2")),
        ("end-before-commit", "ask", ("I3", "I5")),
        ("wipe-before-write", "relay", ("I7",)),
        ("wipe-before-write", "ask", ("I3",)),
    ],
)
async def test_the_checker_catches_a_planted_bug(
    tmp_path: Path, bug: str, work: str, invariants: tuple[str, ...]
) -> None:
    history, _ = await cut_all(tmp_path, [work], spread(8), (sys.executable, str(PLANTED), bug))
    assert any(problem.startswith(invariants) for problem in violations(history))
