"""kill -9 at random moments under streaming clients: nothing acknowledged is lost, doubled, gapped or spliced."""

import sys
from pathlib import Path

import pytest

from tests.faults.campaign import Plan, run
from tests.faults.crowd import Crowd
from tests.faults.invariants import violations
from tests.faults.planted import BUGS, PLANTED

pytestmark = pytest.mark.anyio

KILLS = 10


@pytest.mark.timeout(160)
async def test_kill_9_under_a_crowd_breaks_no_invariant(tmp_path: Path) -> None:
    history = await run(Plan(kills=KILLS), tmp_path)
    assert violations(history) == []
    assert len(history.held) >= KILLS  # the storm was one


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("bug", "invariants"),
    [
        ("emit-before-append", ("I3",)),
        ("no-idempotency", ("I2",)),
        ("splice", ("I4",)),
        ("gap", ("I3",)),
        ("end-before-commit", ("I3", "I5")),  # a second end in the log, or one that the truth contradicts
    ],
)
async def test_the_checker_catches_a_planted_bug(tmp_path: Path, bug: str, invariants: tuple[str, ...]) -> None:
    assert bug in BUGS
    program = (sys.executable, str(PLANTED), bug)
    history = await run(Plan(kills=5, crowd=Crowd(asking=12, uploading=0), program=program), tmp_path)
    assert any(problem.startswith(invariants) for problem in violations(history))
