"""The log on Redis while Redis dies, freezes, forgets and comes back: nothing doubled, lost unheard or spliced."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest

from chatbackend.domain.errors import Gone, Unavailable
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.usecases.follow_response import follow
from chatbackend.usecases.ports import Behind, EventLog, LogEvent
from tests.support.flaky_proxy import FlakyProxy
from tests.support.redis import OwnRedis, ask, own_redis

pytestmark = pytest.mark.anyio
END = "response.completed"
FREEZE_S = float(os.environ.get("CHATBACKEND_FAULT_FREEZE_S", "3"))


@pytest.fixture
def server(tmp_path: Path) -> Generator[OwnRedis]:
    with own_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def log(server: OwnRedis) -> AsyncGenerator[RedisEventLog, None]:
    async with hasty(server.url) as log:
        yield log


def hasty(url: str, *, patience_s: float = 30.0) -> RedisEventLog:
    return RedisEventLog(url, timeout_s=0.5, patience_s=patience_s, owner_patience_s=patience_s, poll_s=0.1)


def event(number: int) -> LogEvent:
    return LogEvent(number, "response.output_text.delta", b'{"n":%d}' % number)


async def put(log: EventLog, *numbers: int, ended: bool = False) -> None:
    events = [event(number) for number in numbers]
    if ended:
        events[-1] = LogEvent(numbers[-1], END, b"{}")
    await log.append("r", fence=1, expected=numbers[0], events=events, ended=ended)


async def numbers(log: EventLog) -> list[int]:
    return [event.number for event in await log.read("r", after=-1, limit=1_000)]


async def goes_on() -> bool:
    return True


async def watched(log: EventLog, seen: list[LogEvent], after: int = -1) -> None:
    """Follow a stream to its end."""
    async for batch in follow(log, "r", after=after, idle_s=30, goes_on=goes_on):
        seen += batch


async def restarted(server: OwnRedis) -> None:
    await anyio.to_thread.run_sync(server.kill)
    await anyio.to_thread.run_sync(server.start)


async def emptied(server: OwnRedis) -> None:
    await ask(server.url, "FLUSHALL")


async def frozen(server: OwnRedis) -> None:
    server.freeze()
    await anyio.sleep(FREEZE_S)  # the fault itself
    server.thaw()


@pytest.mark.parametrize("fault", [restarted, frozen])
async def test_a_fault_amid_a_stream_is_not_seen_by_anyone(
    fault: Callable[[OwnRedis], Awaitable[None]], server: OwnRedis, log: RedisEventLog
) -> None:
    seen, late = list[LogEvent](), list[LogEvent]()
    await log.open("r", fence=1)

    async def own() -> None:
        for number in range(300):
            await put(log, number)
            await anyio.sleep(0.005)  # the pace of a model
        await put(log, 300, ended=True)

    with anyio.fail_after(FREEZE_S + 30):
        async with hasty(server.url) as elsewhere, anyio.create_task_group() as group:
            group.start_soon(own)
            group.start_soon(watched, elsewhere, seen)
            group.start_soon(watched, log, late, 50)
            await until(lambda: len(seen) > 60)
            await fault(server)
            await until(lambda: len(seen) > 150)
            await fault(server)
    assert [event.number for event in seen] == list(range(301))
    assert [event.number for event in late] == list(range(51, 301))
    assert await numbers(log) == list(range(301))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what another task has seen
        await anyio.sleep(0.01)


async def test_while_redis_is_away_calls_are_refused_in_time_and_may_be_made_again(server: OwnRedis) -> None:
    async with hasty(server.url, patience_s=0.3) as log:
        await log.open("r", fence=1)
        await put(log, 0)
        server.freeze()
        with anyio.fail_after(5):
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await put(log, 1, 2)
            with pytest.raises(Unavailable):
                await log.read("r", after=-1, limit=10)
            assert not await log.moved("r", after=0, timeout_s=0.2)
        server.thaw()
        with anyio.fail_after(5):
            await put(log, 1, 2)
        assert await numbers(log) == [0, 1, 2]


async def test_an_append_whose_reply_is_lost_is_done_once(server: OwnRedis) -> None:
    proxy = FlakyProxy(server.url)
    async with proxy.running(), hasty(proxy.url) as log:
        await log.open("r", fence=1)
        for number in range(0, 20, 2):
            proxy.swallow_next(b"EVALSHA")
            await put(log, number, number + 1, ended=number == 18)
        assert proxy.swallowed == 10
        assert await numbers(log) == list(range(20))


async def test_a_takeover_or_a_deletion_whose_reply_is_lost_is_done_once(server: OwnRedis) -> None:
    proxy = FlakyProxy(server.url)
    async with proxy.running(), hasty(proxy.url) as log:
        await log.open("r", fence=1)
        await put(log, 0)
        for step in (
            partial(log.open, "r", fence=2),
            partial(log.delete, "r"),
        ):
            before = proxy.swallowed
            proxy.swallow_next(b"EVAL")
            await step()
            assert proxy.swallowed == before + 1
        with pytest.raises(Gone):
            await log.append("r", fence=2, expected=1, events=[event(1)], ended=False)


async def test_what_waits_at_the_same_time_shares_a_round_trip(server: OwnRedis) -> None:
    proxy = FlakyProxy(server.url)
    async with proxy.running(), hasty(proxy.url) as log:
        names = [f"r{number}" for number in range(200)]

        async def own(name: str) -> None:
            await log.open(name, fence=1)
            for number in range(5):
                await log.append(name, fence=1, expected=number, events=[event(number)], ended=False)

        before = proxy.sent
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(own, name)
        assert proxy.sent - before < 60  # of 1,000 appends; each of our rounds may come in some segments
        for name in names:
            assert await log.extent(name) is not None


async def test_one_that_is_refused_in_a_shared_round_trip_harms_no_other(log: RedisEventLog) -> None:
    results = dict[str, str]()

    async def append(name: str, expected: int) -> None:
        try:
            await log.append(name, fence=1, expected=expected, events=[event(expected)], ended=False)
        except (Behind, Gone) as error:
            results[name] = type(error).__name__
        else:
            results[name] = "done"

    for name in ("good", "ahead", "deleted"):
        await log.open(name, fence=1)
    await log.delete("deleted")
    async with anyio.create_task_group() as group:
        for name, expected in (("ahead", 7), ("deleted", 0), ("good", 0), ("unknown", 0)):
            group.start_soon(append, name, expected)
    assert results == {"good": "done", "ahead": "Behind", "deleted": "Gone", "unknown": "Behind"}


async def test_scripts_that_redis_forgot_are_sent_again(server: OwnRedis, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    for number in range(4):
        await ask(server.url, "SCRIPT", "FLUSH")
        await put(log, number)
    assert await numbers(log) == [0, 1, 2, 3]


async def test_a_redis_that_refuses_to_write_is_waited_for(server: OwnRedis, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await ask(server.url, "CONFIG", "SET", "maxmemory", "1")
    async with hasty(server.url, patience_s=0.2) as impatient:
        with pytest.raises(Unavailable):
            await put(impatient, 0)
    async with anyio.create_task_group() as group:
        group.start_soon(put, log, 0, 1)
        await anyio.sleep(0.2)  # it is refused meanwhile
        await ask(server.url, "CONFIG", "SET", "maxmemory", "0")
    assert await numbers(log) == [0, 1]


async def test_a_log_that_was_emptied_tells_its_owner_that_it_is_behind(server: OwnRedis, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 1, 2)
    await emptied(server)
    assert await log.extent("r") is None
    with pytest.raises(Behind) as lost:
        await put(log, 3)
    assert lost.value.following == 0
    assert await log.open("r", fence=1) == 0
    await put(log, 0, 1, 2, 3)
    assert await numbers(log) == [0, 1, 2, 3]


@pytest.mark.parametrize("torn", [0, 9])
async def test_a_log_that_lost_its_tail_tells_its_owner_how_far_it_is(
    torn: int, server: OwnRedis, log: RedisEventLog
) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 1)
    size = server.written()
    await put(log, 2, 3)
    await put(log, 4)
    await anyio.to_thread.run_sync(server.kill)
    server.cut(size + torn)
    await anyio.to_thread.run_sync(server.start)
    with pytest.raises(Behind) as lost:
        await put(log, 5)
    assert lost.value.following == 2
    assert await log.open("r", fence=1) == 2
    await put(log, 0, 1, 2, 3, 4, 5)
    assert await numbers(log) == [0, 1, 2, 3, 4, 5]


async def test_a_reader_above_the_head_waits_until_the_log_is_there_again(server: OwnRedis, log: RedisEventLog) -> None:
    seen = list[LogEvent]()
    await log.open("r", fence=1)
    await put(log, *range(10))
    with anyio.fail_after(20):
        async with hasty(server.url) as elsewhere, anyio.create_task_group() as group:
            group.start_soon(watched, elsewhere, seen)
            await until(lambda: len(seen) == 10)
            await emptied(server)
            assert await log.open("r", fence=1) == 0
            for number in range(12):
                await put(log, number)
            await put(log, 12, ended=True)
    assert [event.number for event in seen] == list(range(13))


async def test_no_reader_asks_without_end_for_what_the_log_lost(server: OwnRedis, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 1, 2)
    seen = list[LogEvent]()
    async with anyio.create_task_group() as group:
        group.start_soon(watched, log, seen, 0)
        await until(lambda: len(seen) == 2)
        await put(log, 3)
        await until(lambda: len(seen) == 3)
        await emptied(server)
        late = list[LogEvent]()
        group.start_soon(watched, log, late, 1)
        before = await asked(server)
        await anyio.sleep(1)  # time in which it could ask
        assert await asked(server) - before < 200
        group.cancel_scope.cancel()


async def asked(server: OwnRedis) -> int:
    return int((await told(server, "stats")).partition(b"total_commands_processed:")[2].partition(b"\r\n")[0])


async def told(server: OwnRedis, section: str) -> bytes:
    """Return what Redis tells of itself."""
    return cast("bytes", await ask(server.url, "INFO", section))


async def test_a_lost_subscription_misses_nothing(server: OwnRedis) -> None:
    async with RedisEventLog(server.url, poll_s=60) as log:
        await log.open("r", fence=1)
        for number in range(10):
            moved = list[bool]()

            async def wait(after: int = number - 1, moved: list[bool] = moved) -> None:
                moved.append(await log.moved("r", after=after, timeout_s=60))

            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    group.start_soon(wait)
                    await anyio.wait_all_tasks_blocked()
                    await ask(server.url, "CLIENT", "KILL", "TYPE", "pubsub")
                    await put(log, number)
            assert moved == [True]


async def test_what_is_appended_before_a_subscription_is_confirmed_is_seen_at_once_then(server: OwnRedis) -> None:
    proxy = FlakyProxy(server.url)
    proxy.hold = lambda request: b"SUBSCRIBE" in request
    moved = list[bool]()

    async def wait(log: EventLog) -> None:
        moved.append(await log.moved("r", after=-1, timeout_s=60))

    with anyio.fail_after(5):
        async with proxy.running(), RedisEventLog(proxy.url, poll_s=60) as log, anyio.create_task_group() as group:
            await log.open("r", fence=1)
            await ask(server.url, "CONFIG", "RESETSTAT")  # the script asks so, too
            group.start_soon(wait, log)
            while b"cmdstat_hmget:" not in await told(server, "commandstats"):  # noqa: ASYNC110 - Redis tells nobody that it was asked
                await anyio.sleep(0.01)
            await put(log, 0)
            assert moved == []
            proxy.released.set()
    assert moved == [True]


async def test_where_no_subscription_is_confirmed_heads_are_asked_for(server: OwnRedis) -> None:
    proxy = FlakyProxy(server.url)
    proxy.hold = lambda request: b"SUBSCRIBE" in request
    async with proxy.running(), hasty(proxy.url) as log:
        await each_seen_at_once(log)


async def test_where_subscriptions_are_forbidden_heads_are_asked_for(server: OwnRedis, log: RedisEventLog) -> None:
    await ask(server.url, "ACL", "SETUSER", "default", "-subscribe")
    await each_seen_at_once(log)


async def test_what_a_lost_subscription_told_is_not_relied_on(server: OwnRedis, log: RedisEventLog) -> None:
    async def forbid() -> None:
        await ask(server.url, "ACL", "SETUSER", "default", "-subscribe")
        await ask(server.url, "CLIENT", "KILL", "TYPE", "pubsub")

    await each_seen_at_once(log, between=forbid)


async def each_seen_at_once(log: RedisEventLog, between: Callable[[], Awaitable[None]] | None = None) -> None:
    """Append event by event, each when a follower has seen the last."""
    seen = list[LogEvent]()
    with anyio.fail_after(4):
        async with anyio.create_task_group() as group:
            await log.open("r", fence=1)
            group.start_soon(watched, log, seen)
            for number in range(6):
                if number == 3 and between is not None:
                    await between()
                await put(log, number)
                await until(lambda expected=number: len(seen) == expected + 1)
            await put(log, 6, ended=True)
    assert [event.number for event in seen] == list(range(7))


async def test_cancelled_calls_leave_no_reply_to_the_next(log: RedisEventLog) -> None:
    names = [f"r{number}" for number in range(20)]
    for at, name in enumerate(names):
        await log.open(name, fence=1)
        await log.append(name, fence=1, expected=0, events=[LogEvent(0, "own", name.encode())], ended=False)
        assert at < 20

    async def read(name: str) -> None:
        for _ in range(30):
            [found] = await log.read(name, after=-1, limit=5)
            assert found.data == name.encode()

    async def leave(name: str, step: int) -> None:
        for patience in range(30):
            with anyio.move_on_after((patience * step % 7) / 10_000):
                await log.read(name, after=-1, limit=5)

    async with anyio.create_task_group() as group:
        for step, name in enumerate(names):
            group.start_soon(read, name)
            group.start_soon(leave, name, step + 1)


async def test_a_log_that_is_left_refuses_and_leaves_no_call_waiting(server: OwnRedis) -> None:
    async with anyio.create_task_group() as group:
        async with hasty(server.url) as log:
            await log.open("r", fence=1)
            server.freeze()
            group.start_soon(refused, log)
            await anyio.wait_all_tasks_blocked()
        await refused(log)
    server.thaw()


async def refused(log: EventLog) -> None:
    with pytest.raises(Unavailable):
        await put(log, 0)
