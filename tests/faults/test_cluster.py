"""Faults of several servers and of both stores under streaming clients break no invariant either."""

import os
import sys
from pathlib import Path

import pytest

from tests.faults.cluster_campaign import Plan, run
from tests.faults.history import violations
from tests.faults.planted import PLANTED

pytestmark = pytest.mark.anyio

FAULTS = int(os.environ.get("CHATBACKEND_FAULT_CLUSTER", "5"))
SEED = int(os.environ.get("CHATBACKEND_FAULT_SEED", "1"))


@pytest.mark.timeout(240 + 20 * FAULTS)
async def test_faults_of_servers_and_stores_break_no_invariant(tmp_path: Path) -> None:
    history, done = await run(Plan(faults=FAULTS, seed=SEED), tmp_path)
    print(f"{'; '.join(done)}: {len(history.held)} responses")  # noqa: T201 - the figures of `make faults`
    assert violations(history) == []
    assert len(history.held) >= FAULTS


@pytest.mark.timeout(240)
async def test_a_bug_that_is_planted_into_every_server_is_caught(tmp_path: Path) -> None:
    program = (sys.executable, str(PLANTED), "splice")
    history, _ = await run(Plan(faults=4, seed=2, program=program), tmp_path)
    assert any(problem.startswith("I4") for problem in violations(history))
