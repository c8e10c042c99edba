"""Wake-ups in one process: what is kept of them."""

import gc
import weakref

import anyio
import pytest

from chatbackend.infra.log.wakeups import Wakeups

pytestmark = pytest.mark.anyio


async def test_names_that_nobody_waits_for_are_not_kept() -> None:
    wakeups = Wakeups()
    waiting = wakeups.event("a")
    kept = weakref.ref(waiting)
    assert wakeups.event("a") is waiting
    del waiting
    gc.collect()
    assert kept() is None


async def test_all_are_woken_at_once() -> None:
    wakeups = Wakeups()
    events = [wakeups.event(name) for name in ("a", "b")]
    wakeups.wake_all()
    assert all(event.is_set() for event in events)
    assert not wakeups.event("a").is_set()


async def test_who_waits_is_woken_once_by_name_or_with_all() -> None:
    wakeups, woken = Wakeups(), list[tuple[str, bool]]()

    async def wait(name: str, timeout_s: float) -> None:
        woken.append((name, await wakeups.wait(name, timeout_s)))

    async with anyio.create_task_group() as group:
        for name in ("a", "a", "b"):
            group.start_soon(wait, name, 20)
        await anyio.wait_all_tasks_blocked()
        wakeups.wake("a")
        await anyio.wait_all_tasks_blocked()
        assert woken == [("a", True), ("a", True)]
        wakeups.wake_all()
    assert woken[2:] == [("b", True)]
    await wait("a", 0.01)
    assert woken[3:] == [("a", False)]


async def test_who_gives_up_keeps_no_other_from_being_woken() -> None:
    wakeups, woken = Wakeups(), list[bool]()

    async def wait() -> None:
        woken.append(await wakeups.wait("a", 20))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        with anyio.move_on_after(0.01):
            await wakeups.wait("a", 20)
        wakeups.wake("a")
    assert woken == [True]
