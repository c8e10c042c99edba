"""kill -9 at random moments under streaming clients: nothing acknowledged is lost, doubled, gapped or spliced."""

import os
import sys
from pathlib import Path

import pytest

from tests.faults.campaign import Plan, run, summary
from tests.faults.history import violations
from tests.faults.planted import BUGS, PLANTED

pytestmark = pytest.mark.anyio

KILLS = int(os.environ.get("CHATBACKEND_FAULT_KILLS", "10"))
SEED = int(os.environ.get("CHATBACKEND_FAULT_SEED", "1"))


@pytest.mark.timeout(60 + 10 * KILLS)
async def test_kill_9_under_twenty_streaming_clients_breaks_no_invariant(tmp_path: Path) -> None:
    plan = Plan(kills=KILLS, seed=SEED)
    history = await run(plan, tmp_path)
    print(summary(plan, history))  # noqa: T201 - the figures of `make faults`
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
    history = await run(Plan(kills=5, clients=12, program=program), tmp_path)
    assert any(problem.startswith(invariants) for problem in violations(history))
