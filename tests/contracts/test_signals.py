"""What every `Signals` promises within one process: who waits for a name is woken by it, and nobody else."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from chatbackend.infra.log.redis.signals import RedisSignals
from chatbackend.infra.log.wakeups import LocalSignals
from chatbackend.usecases.replica_ports import Signals
from tests.support.redis import address, prefix

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["local", "redis"])
async def signals(request: pytest.FixtureRequest) -> AsyncGenerator[Signals, None]:
    if request.param == "local":
        yield LocalSignals()
        return
    async with prefix() as name, RedisSignals(address(), prefix=name, poll_s=60) as signals:
        with anyio.fail_after(10):
            confirmed = signals.topic("file").event("a")
            await confirmed.wait()  # everybody is woken by the confirmed subscription
        yield signals


async def test_everybody_who_waits_for_a_name_is_woken_at_once(signals: Signals) -> None:
    files = signals.topic("file")
    first, second = files.event("a"), files.event("a")
    files.wake("a")
    assert (first.is_set(), second.is_set()) == (True, True)


async def test_other_names_and_other_topics_sleep_on(signals: Signals) -> None:
    files, others = signals.topic("file"), signals.topic("conversation")
    events = [files.event("b"), files.event(""), others.event("a"), signals.topic("job").event("a")]
    files.wake("a")
    assert not any(event.is_set() for event in events)


async def test_who_comes_after_a_wake_waits_for_the_next_one(signals: Signals) -> None:
    files = signals.topic("file")
    files.wake("a")
    event = files.event("a")
    assert not event.is_set()
    signals.topic("file").wake("a")
    assert event.is_set()


@pytest.mark.parametrize("name", ["", "*", "a b", "é\ud800", "\0\n", "x" * 100_000])
async def test_whatever_clients_call_things_hurts_nobody(signals: Signals, name: str) -> None:
    files = signals.topic("file")
    other, event = files.event("a"), files.event(name)
    files.wake(name)
    assert event.is_set()
    assert not other.is_set()
    files.wake("a")
    assert other.is_set()
