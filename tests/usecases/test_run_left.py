"""Which runs may be left to other processes, and how they go."""

import anyio
import pytest

from chatbackend.domain.events import TextDelta
from chatbackend.domain.responses import CANCELLED
from tests.support.fakes import forever, stage

pytestmark = pytest.mark.anyio


async def test_what_has_shown_nothing_may_be_left_to_others_and_ends_without_a_word() -> None:
    async with stage([forever]) as on:
        response_id = await on.started()
        entry = on.live.running(response_id)
        assert entry is not None
        await anyio.wait_all_tasks_blocked()
        assert entry.movable
        entry.leave()
        await entry.done.wait()
        assert entry.fenced
        assert on.live.running(response_id) is None
        assert await on.types(response_id) == ["created", "in_progress"]
        assert on.truth.rows[response_id].response.status == "in_progress"


@pytest.mark.parametrize("store", [True, False])
async def test_what_has_shown_something_or_is_not_stored_is_left_to_nobody(*, store: bool) -> None:
    async with stage([TextDelta("Hel"), forever] if store else [forever]) as on:
        entry = on.live.running(await on.started(store=store))
        assert entry is not None
        await anyio.wait_all_tasks_blocked()
        assert not entry.movable


async def test_what_somebody_stopped_is_left_to_nobody() -> None:
    async with stage([forever]) as on:
        entry = on.live.running(await on.started())
        assert entry is not None
        entry.stop(CANCELLED)
        assert not entry.movable
