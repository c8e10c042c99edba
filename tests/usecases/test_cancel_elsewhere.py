"""Wishes to cancel: written, told and waited for on one side, looked for and heeded on the other."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.domain.identity import Principal
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.cancel_elsewhere import WISHES, CancelElsewhere, HeedWishes
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.live import Live
from tests.support.fakes import ME, Stage, Step, forever, stage

pytestmark = pytest.mark.anyio

ENDLESS: list[Step] = [TextDelta("Hel"), forever]
NEVER_S = 60.0


class FakeWishes:
    """`Wishes` of responses in a stage's truth."""

    def __init__(self, on: Stage) -> None:
        self._on = on
        self.ids: set[str] = set()
        self.looks = 0

    async def wish(self, principal: Principal, response_id: str) -> bool:
        self._on.trouble.strike("wish")
        found = await self._on.truth.get(principal, response_id)
        alive = found is not None and not found.ended
        if alive:
            self.ids.add(response_id)
        return alive

    async def wished(self) -> Collection[str]:
        self.looks += 1
        await anyio.lowlevel.checkpoint()
        self._on.trouble.strike("wished")
        return list(self.ids)


class Elsewhere:
    """A server beside the one of a stage: it runs nothing."""

    def __init__(self, on: Stage, *, poll_s: float, heed_s: float, patience_s: float) -> None:
        self.changes, self.wishes = Wakeups(), FakeWishes(on)
        ask = CancelElsewhere(on.truth, self.wishes, self.changes, poll_s=poll_s)
        live = Live(on.clock.now, max_running=1)
        self.live = live
        self.cancel = CancelResponse(on.truth, live, elsewhere=ask, patience_s=patience_s)
        self.heed = HeedWishes(self.wishes, on.live, self.changes, on.ports.report, poll_s=heed_s)


@asynccontextmanager
async def beside(
    on: Stage, *, poll_s: float = NEVER_S, heed_s: float = NEVER_S, patience_s: float = 10.0
) -> AsyncGenerator[Elsewhere, None]:
    """Open a second server; the stage's own heeds wishes meanwhile."""
    other = Elsewhere(on, poll_s=poll_s, heed_s=heed_s, patience_s=patience_s)
    async with anyio.create_task_group() as group:
        group.start_soon(other.heed.run)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            yield other
        group.cancel_scope.cancel()


async def speaking(on: Stage) -> str:
    response_id = await on.started()
    await anyio.wait_all_tasks_blocked()
    return response_id


async def test_what_runs_elsewhere_is_stopped_there() -> None:
    async with stage(ENDLESS) as on, beside(on) as other:
        response_id = await speaking(on)
        assert (await other.cancel(ME, response_id)).status == "cancelled"
        assert on.model.hung_up == 1


async def test_who_runs_nothing_does_not_ask() -> None:
    async with stage(ENDLESS) as on, beside(on, heed_s=0.001) as other:
        await anyio.sleep(0.02)
        assert other.wishes.looks == 0
        await speaking(on)
        while not other.wishes.looks:
            await anyio.lowlevel.checkpoint()


async def test_a_wish_that_nobody_told_is_found_by_looking() -> None:
    async with stage(ENDLESS) as on, beside(on, poll_s=0.001, heed_s=0.001) as other:
        response_id = await speaking(on)
        other.wishes.ids.add(response_id)
        assert (await on.ended(response_id)).status == "cancelled"


async def test_wishes_for_what_runs_nowhere_here_are_left_to_others() -> None:
    async with stage(ENDLESS) as on, beside(on) as other:
        response_id = await speaking(on)
        other.wishes.ids.add("resp_other")
        other.changes.wake(WISHES)
        await anyio.wait_all_tasks_blocked()
        assert on.live.running(response_id) is not None
        assert other.wishes.looks == 1


async def test_an_end_is_told_once_however_often_it_is_wished() -> None:
    async with stage(ENDLESS) as on, beside(on) as other:
        response_id = await speaking(on)
        on.log.taking = anyio.Event()  # the end cannot be logged yet
        other.wishes.ids.add(response_id)
        for looks in (1, 2):
            other.changes.wake(WISHES)
            await anyio.wait_all_tasks_blocked()
            assert other.wishes.looks == looks
        told = other.changes.event(response_id)
        assert not told.is_set()
        on.log.taking.set()
        await told.wait()


async def test_a_store_that_cannot_tell_is_asked_again() -> None:
    async with stage(ENDLESS) as on, beside(on, heed_s=0.001) as other:
        on.trouble.plan("wished", Unavailable("down"), Unavailable("down"))
        response_id = await speaking(on)
        other.wishes.ids.add(response_id)
        assert (await on.ended(response_id)).status == "cancelled"
        assert [message for message, _ in on.reports] == ["the wishes to cancel could not be read"] * 2


async def test_a_wish_that_cannot_be_written_is_no_success() -> None:
    async with stage(ENDLESS) as on, beside(on) as other:
        response_id = await speaking(on)
        on.trouble.plan("wish", Unavailable("down"))
        with pytest.raises(Unavailable):
            await other.cancel(ME, response_id)
        assert on.live.running(response_id) is not None


async def test_what_ends_while_the_wish_is_written_is_returned_as_it_ended() -> None:
    gate = anyio.Event()
    async with stage([gate, TextDelta("Hello"), Finished("stop")]) as on, beside(on) as other:
        response_id = await speaking(on)
        found = await on.truth.get(ME, response_id)
        assert found is not None
        gate.set()
        await on.ended(response_id)
        ask = CancelElsewhere(on.truth, other.wishes, other.changes, poll_s=NEVER_S)
        ended = await ask(ME, response_id)
        assert ended is not None
        assert (ended.status, other.wishes.ids) == ("completed", set())


async def test_what_nobody_ends_in_time_is_no_success_and_the_wish_stays() -> None:
    async with stage([]) as on, beside(on, patience_s=0.01) as other:
        dead = on.orphan()
        with pytest.raises(Unavailable):
            await other.cancel(ME, dead.id)
        assert other.wishes.ids == {dead.id}


async def test_what_somebody_deletes_meanwhile_is_not_found() -> None:
    async with stage([]) as on, beside(on, poll_s=0.001) as other, anyio.create_task_group() as group:
        dead = on.orphan()

        async def delete() -> None:
            while not other.wishes.ids:
                await anyio.lowlevel.checkpoint()
            await on.truth.delete(ME, dead.id)

        group.start_soon(delete)
        with pytest.raises(NotFound):
            await other.cancel(ME, dead.id)


async def test_what_was_taken_over_meanwhile_is_stopped_where_it_runs_now() -> None:
    async with stage(ENDLESS) as on, beside(on) as other:
        response_id = await speaking(on)
        running = on.live.running(response_id)
        assert running is not None
        stale = other.live.add(running.response, running.ask)
        async with anyio.create_task_group() as group:

            async def notice() -> None:
                while stale.outcome is None:
                    await anyio.lowlevel.checkpoint()
                other.live.ended(stale)  # fenced off: it ends without a word

            group.start_soon(notice)
            assert (await other.cancel(ME, response_id)).status == "cancelled"
        assert on.model.hung_up == 1
