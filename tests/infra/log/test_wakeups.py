"""Wake-ups in one process: what is kept of them."""

import gc
import weakref

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
