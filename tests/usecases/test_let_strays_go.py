"""What began and has nobody to run it is let go, and then taken over."""

import anyio
import pytest

from chatbackend.domain.events import Finished, TextDelta
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.let_strays_go import EVERY_S, SURE_S, LetStraysGo
from tests.support.fakes import Stage, stage
from tests.usecases.test_recover_responses import recovered

pytestmark = pytest.mark.anyio


def strays(on: Stage) -> LetStraysGo:
    known = KnownLog(on.live)
    known.begin("log")
    return LetStraysGo(on.truth, on.live, on.clock, fences=on.fences, known=known, fence=1)


async def test_a_response_that_nobody_runs_is_taken_over_and_answered() -> None:
    async with stage([TextDelta("late"), Finished("stop")]) as on:
        found = on.orphan()
        on.truth.rows[found.id].response.fence = 1
        await recovered(on)
        assert on.model.requests == []  # it may be about to begin
        on.clock.time += SURE_S + 1
        await strays(on)()
        await recovered(on)
        assert on.truth.rows[found.id].response.status == "completed"


async def test_what_runs_is_kept() -> None:
    go_on = anyio.Event()
    async with stage([go_on, TextDelta("slow"), Finished("stop")]) as on:
        response_id = await on.started()
        on.clock.time += SURE_S + 1
        await strays(on)()
        go_on.set()
        assert (await on.ended(response_id)).status == "completed"


async def test_it_looks_now_and_then_whichever_way_the_clock_jumps() -> None:
    async with stage([]) as on:
        look = strays(on)
        for jump in (0, EVERY_S - 1, 2, -10 * EVERY_S):
            on.clock.time += jump
            await look()
        assert sum(step.startswith("owned") for step in on.happened) == 3
