"""Signals among processes on Redis: heard everywhere, made good after a loss, bounded while nobody hears."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from chatbackend.infra.log.redis import signals as bus
from chatbackend.infra.log.redis.signals import RedisSignals
from tests.support import signals_child
from tests.support.flaky_proxy import FlakyProxy
from tests.support.redis import OwnRedis, address, ask, own_redis, prefix

pytestmark = pytest.mark.anyio
NEVER_S = 60.0


@pytest.fixture
async def name() -> AsyncGenerator[str, None]:
    async with prefix() as name:
        yield name


@asynccontextmanager
async def hearing(url: str, name: str, *, poll_s: float = NEVER_S, beat_s: float = 0.5) -> AsyncGenerator[RedisSignals]:
    """Enter signals, and wait until they can be heard."""
    async with RedisSignals(url, prefix=name, poll_s=poll_s, beat_s=beat_s, timeout_s=0.5) as signals:
        confirmed = signals.topic("file").event("a")
        with anyio.fail_after(10):
            await confirmed.wait()
        yield signals


async def woken(event: anyio.Event, *, within_s: float = 10.0) -> bool:
    with anyio.move_on_after(within_s):
        await event.wait()
    return event.is_set()


async def test_a_name_is_heard_by_everyone_else_and_by_nobody_who_waits_for_another(name: str) -> None:
    async with hearing(address(), name) as one, hearing(address(), name) as two, hearing(address(), name) as three:
        events = [each.topic("file").event("f") for each in (one, two, three)]
        others = [two.topic("job").event("f"), three.topic("file").event("g")]
        one.topic("file").wake("f")
        assert all([await woken(event) for event in events])
        assert not any(event.is_set() for event in others)


async def test_an_own_signal_does_not_come_back(name: str) -> None:
    async with hearing(address(), name) as one, hearing(address(), name) as two:
        mine, theirs = one.topic("file"), two.topic("file")
        heard = theirs.event("f")
        mine.wake("f")
        echo = mine.event("f")
        assert await woken(heard)
        answer = mine.event("g")
        theirs.wake("g")  # behind the echo, on the same channel
        assert await woken(answer)
        assert not echo.is_set()


async def test_two_deployments_on_one_redis_do_not_hear_each_other(name: str) -> None:
    async with hearing(address(), name) as one, hearing(address(), f"{name}:other") as two:
        event = two.topic("file").event("f")
        one.topic("file").wake("f")
        await ask(address(), "PUBLISH", f"{name}:other:signals", "stranger file:g")
        assert not event.is_set()


async def test_what_strangers_say_on_the_channel_is_survived(name: str) -> None:
    async with hearing(address(), name) as signals:
        event = signals.topic("file").event("f")
        for words in (b"", b"\xff\xfe", b"x", b"x  file:", b"x file:f"):
            assert await ask(address(), "PUBLISH", f"{name}:signals", words) == 1
        assert await woken(event)


async def test_processes_hear_each_other(name: str) -> None:
    command = [sys.executable, "-m", signals_child.__name__, address(), name]
    root = Path(__file__).parents[3]
    async with hearing(address(), name) as signals:
        child = await anyio.open_process(command, stderr=subprocess.STDOUT, cwd=root)
        try:
            with anyio.fail_after(30):
                assert child.stdout is not None
                said = ""
                async for piece in TextReceiveStream(child.stdout):
                    said += piece
                    if "ready" in said:
                        break
                files = signals.topic("file")
                for number in range(200):
                    pong = files.event(f"pong{number}")
                    files.wake(f"ping{number}")
                    await pong.wait()
        finally:
            child.kill()
            await child.wait()


async def killed_and_started(redis: OwnRedis) -> None:
    redis.kill()
    await anyio.to_thread.run_sync(redis.start)


async def test_after_a_loss_everybody_is_woken_and_signals_are_heard_again(tmp_path: Path) -> None:
    with own_redis(tmp_path) as redis:
        async with hearing(redis.url, "cb") as one, hearing(redis.url, "cb") as two:
            waiting = [each.topic("file").event(f"{number}") for number, each in enumerate((one, two, two))]
            await killed_and_started(redis)
            assert all([await woken(event) for event in waiting])
            event = two.topic("file").event("f")
            one.topic("file").wake("f")
            assert await woken(event)


async def test_while_nothing_can_be_heard_everybody_is_woken_again_and_again(tmp_path: Path) -> None:
    with own_redis(tmp_path) as redis:
        async with hearing(redis.url, "cb", poll_s=0.05) as signals:
            redis.kill()
            for _ in range(3):
                assert await woken(signals.topic("file").event("f"))


async def test_a_redis_that_falls_silent_counts_as_lost(tmp_path: Path) -> None:
    with own_redis(tmp_path) as redis:
        async with hearing(redis.url, "cb", poll_s=0.05, beat_s=0.1) as signals:
            redis.freeze()
            for _ in range(3):
                assert await woken(signals.topic("file").event("f"))
            redis.thaw()


async def test_what_could_not_be_sent_is_told_when_redis_can_be_reached_again(name: str) -> None:
    proxy = FlakyProxy(address())
    async with proxy.running(), hearing(address(), name) as listener, hearing(proxy.url, name) as speaker:
        proxy.hold = lambda request: b"PUBLISH" in request  # and it never gets further
        event = listener.topic("file").event("f")
        speaker.topic("file").wake("f")
        assert not await woken(event, within_s=1.5)  # longer than one call has patience
        proxy.hold = lambda request: False
        assert await woken(event)


async def test_too_much_to_tell_is_told_in_one_word(name: str) -> None:
    async with hearing(address(), name) as one, hearing(address(), name) as two:
        event = two.topic("file").event("never said")
        for number in range(bus.UNSENT_MAX + 1):
            one.topic("file").wake(f"{number}")
        assert await woken(event)


async def test_outside_of_its_time_a_wake_up_stays_at_home(name: str) -> None:
    signals = RedisSignals(address(), prefix=name)
    for _ in range(2):
        event = signals.topic("file").event("f")
        signals.topic("file").wake("f")
        assert event.is_set()
        async with signals:
            pass
