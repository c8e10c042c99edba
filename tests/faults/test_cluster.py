"""Faults of several servers and of both stores under the same crowd break no invariant either."""

import sys
from pathlib import Path

import pytest

from tests.faults.cluster_campaign import Plan, run
from tests.faults.crowd import Crowd
from tests.faults.invariants import violations
from tests.faults.planted import PLANTED
from tests.faults.strikes import Weather

pytestmark = pytest.mark.anyio

STRIKES = 6


@pytest.mark.timeout(240)
async def test_faults_of_servers_and_stores_break_no_invariant(tmp_path: Path) -> None:
    weather = Weather(strikes=STRIKES, store_every_s=5, longest_absence_s=3, empties=True)
    history = await run(Plan(weather=weather, crowd=Crowd(asking=10)), tmp_path)
    assert violations(history) == []
    assert len(history.held) >= STRIKES


@pytest.mark.timeout(240)
async def test_a_bug_that_is_planted_into_every_server_is_caught(tmp_path: Path) -> None:
    program = (sys.executable, str(PLANTED), "splice")
    plan = Plan(weather=Weather(strikes=4), seed=2, crowd=Crowd(asking=12, uploading=0), program=program)
    assert any(problem.startswith("I4") for problem in violations(await run(plan, tmp_path)))
