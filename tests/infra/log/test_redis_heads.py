"""One subscribed connection: it lets go of streams that nobody watches, and notices that it is dead."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest

from chatbackend.infra.log.redis.heads import Heads
from chatbackend.infra.log.redis.links import Links
from tests.support.flaky_proxy import FlakyProxy
from tests.support.redis import address, ask, prefix

pytestmark = pytest.mark.anyio


class Told:
    """What is asked for instead of a log, and how often."""

    def __init__(self) -> None:
        self.head = 0
        self.times = 0

    async def ask(self, response_id: str) -> int:
        assert response_id
        self.times += 1
        return self.head


@asynccontextmanager
async def running(url: str, told: Told, name: str, *, beat_s: float, idle_s: float = 30) -> AsyncGenerator[Heads, None]:
    """Run heads that never poll while a test lasts."""
    heads = Heads(
        Links(url), told.ask, lambda stream: f"{name}:{stream}", timeout_s=2, poll_s=60, beat_s=beat_s, idle_s=idle_s
    )
    async with anyio.create_task_group() as group:
        group.start_soon(heads.run)
        yield heads
        group.cancel_scope.cancel()


async def subscribed(channel: str, count: int) -> None:
    """Wait until so many connections are subscribed."""
    while await ask(address(), "PUBSUB", "NUMSUB", channel) != [channel.encode(), count]:  # noqa: ASYNC110 - only asking tells
        await anyio.sleep(0.01)


async def test_a_stream_that_nobody_watches_is_unsubscribed_and_can_be_watched_again() -> None:
    told = Told()
    with anyio.fail_after(10):
        async with prefix() as name, running(address(), told, name, beat_s=0.05, idle_s=0.1) as heads:
            for _ in range(2):
                async with anyio.create_task_group() as group:
                    group.start_soon(watch, heads)
                    await subscribed(f"{name}:r", 1)
                    await anyio.sleep(0.3)  # longer than an idle one is kept
                    assert await ask(address(), "PUBLISH", f"{name}:r", 5) == 1
                await subscribed(f"{name}:r", 0)


async def watch(heads: Heads) -> None:
    assert await heads.moved("r", after=3, timeout_s=60)


async def test_a_known_head_is_not_asked_for_again() -> None:
    told = Told()
    with anyio.fail_after(10):
        async with prefix() as name, running(address(), told, name, beat_s=5) as heads:
            async with anyio.create_task_group() as group:
                group.start_soon(watch, heads)
                await subscribed(f"{name}:r", 1)
                await ask(address(), "PUBLISH", f"{name}:r", 5)
            before = told.times
            assert await heads.moved("r", after=3, timeout_s=60)
            assert not await heads.moved("r", after=4, timeout_s=0.05)
            assert told.times == before


async def test_a_connection_that_falls_silent_is_given_up() -> None:
    told = Told()
    proxy = FlakyProxy(address())
    with anyio.fail_after(10):
        async with (
            prefix() as name,
            proxy.running(),
            running(proxy.url, told, name, beat_s=0.2) as heads,
            anyio.create_task_group() as group,
        ):
            group.start_soon(watch, heads)
            await subscribed(f"{name}:r", 1)
            proxy.hold = bool  # every request
            told.head = 5  # and nobody publishes it
