"""The log on Redis beyond the contract: its name, what is kept how long, readers in other processes."""

import itertools
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import pytest

from chatbackend.domain.errors import Internal
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.usecases.follow_response import follow
from chatbackend.usecases.ports import EventLog, Fenced, LogEvent
from tests.support.redis import address, ask, prefix

pytestmark = pytest.mark.anyio
DAY_S = 86_400


@pytest.fixture
async def name() -> AsyncGenerator[str, None]:
    async with prefix() as name:
        yield name


@pytest.fixture
async def log(name: str) -> AsyncGenerator[RedisEventLog, None]:
    async with RedisEventLog(address(), prefix=name) as log:
        yield log


async def put(log: EventLog, first: int, count: int = 1, *, fence: int = 1, ended: bool = False) -> None:
    events = [LogEvent(number, "delta", b"%d" % number) for number in range(first, first + count)]
    if ended:
        events[-1] = LogEvent(first + count - 1, "response.completed", b"{}")
    await log.append("r", fence=fence, expected=first, events=events, ended=ended)


async def test_a_number_has_the_stream_id_that_follows_it(name: str, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, 2)
    entries = await ask(address(), "XRANGE", f"{name}:{{r}}:events", "-", "+")
    assert entries == [[b"1-0", [b"t", b"delta", b"d", b"0"]], [b"2-0", [b"t", b"delta", b"d", b"1"]]]


async def test_the_keys_of_a_response_share_one_slot_of_a_cluster(name: str, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0)
    keys = [f"{name}:{{r}}:{part}" for part in ("meta", "events")]
    assert await ask(address(), "EXISTS", *keys) == 2
    assert {str(key).partition("{")[2].partition("}")[0] for key in keys} == {"r"}


async def test_an_ended_stream_is_kept_for_a_day_and_no_stream_for_ever(name: str, log: RedisEventLog) -> None:
    keys = [f"{name}:{{r}}:{part}" for part in ("meta", "events")]
    await log.open("r", fence=1)
    await put(log, 0)
    for key in keys:
        left = await ask(address(), "TTL", key)
        assert isinstance(left, int)
        assert left > 6 * DAY_S
    await put(log, 1, ended=True)
    for key in keys:
        left = await ask(address(), "TTL", key)
        assert isinstance(left, int)
        assert DAY_S <= left < 2 * DAY_S


async def test_an_end_that_is_all_of_a_stream_is_kept_no_longer(name: str, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await log.append("r", fence=1, expected=0, events=[LogEvent(1_000, "end", b"{}")], ended=True)
    left = await ask(address(), "TTL", f"{name}:{{r}}:events")
    assert isinstance(left, int)
    assert DAY_S <= left < 2 * DAY_S


async def test_streams_that_lack_their_end_are_known(name: str, log: RedisEventLog) -> None:
    for response_id in ("r", "ended", "deleted"):
        await log.open(response_id, fence=1)
    await put(log, 0)
    await log.append("ended", fence=1, expected=0, events=[LogEvent(0, "end", b"{}")], ended=True)
    await log.delete("deleted")
    assert await log.unended() == ["r"]
    assert await ask(address(), "SMEMBERS", f"{name}:unended") == [b"r"]


async def test_a_stream_whose_state_was_lost_still_lacks_its_end(name: str, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0)
    await ask(address(), "DEL", f"{name}:{{r}}:meta")
    assert await log.unended() == ["r"]
    assert await log.open("r", fence=1) == 0
    await put(log, 0, 2)
    assert [event.number for event in await log.read("r", after=-1, limit=9)] == [0, 1]


async def test_long_streams_are_read_in_pages_that_are_bounded(log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    for first in range(0, 2_500, 500):
        await put(log, first, 500)
    found, after = list[int](), -1
    while page := await log.read("r", after=after, limit=10_000):
        assert len(page) <= 1_000
        found += [event.number for event in page]
        after = found[-1]
    assert found == list(range(2_500))


async def test_a_log_is_called_the_same_until_it_may_have_lost_events(log: RedisEventLog, name: str) -> None:
    known = await log.identity()
    async with RedisEventLog(address(), prefix=name) as other:
        assert await other.identity() == known
    await ask(address(), "DEL", f"{name}:mark")  # as emptying does
    assert await log.identity() != known


async def test_an_ended_stream_that_is_looked_at_again_lacks_no_end(name: str, log: RedisEventLog) -> None:
    await log.open("r", fence=1)
    await put(log, 0, ended=True)
    assert await log.open("r", fence=2) == 1
    await log.extent("r")  # behind what was posted
    assert await log.unended() == []


async def test_a_reply_of_redis_that_makes_no_sense_is_our_fault(name: str, log: RedisEventLog) -> None:
    await ask(address(), "SET", f"{name}:{{r}}:meta", "not a hash")
    with pytest.raises(Internal):
        await log.open("r", fence=1)


READER = """
import sys, anyio
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.usecases.follow_response import follow

async def goes_on():
    return True

async def main(url, prefix):
    async with RedisEventLog(url, prefix=prefix) as log:
        print("ready", flush=True)
        async for batch in follow(log, "r", after=-1, idle_s=5, goes_on=goes_on):
            for event in batch:
                print(event.number, event.data.decode(), flush=True)

anyio.run(main, *sys.argv[1:])
"""


async def test_clients_here_and_in_other_processes_read_what_one_appends(name: str, log: RedisEventLog) -> None:
    seen = list[list[str]]()

    async def elsewhere() -> None:
        command = [sys.executable, "-c", READER, address(), name]
        done = await anyio.run_process(command, stderr=subprocess.STDOUT, check=True)
        seen.append(done.stdout.decode().splitlines()[1:])

    async def here() -> None:
        async def goes_on() -> bool:
            return True

        async with RedisEventLog(address(), prefix=name) as other:
            batches = follow(other, "r", after=-1, idle_s=5, goes_on=goes_on)
            seen.append([f"{event.number} {event.data.decode()}" async for batch in batches for event in batch])

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(elsewhere)
            group.start_soon(elsewhere)
            group.start_soon(here)
            await log.open("r", fence=1)
            for number in range(400):
                await put(log, number)
                await anyio.sleep(0.003)  # the pace of a model: readers come while it goes on
            await put(log, 400, ended=True)
    assert seen == [[*(f"{number} {number}" for number in range(400)), "400 {}"]] * 3


async def test_owners_in_many_places_leave_one_answer_after_the_other_without_a_gap(name: str) -> None:
    fences = itertools.count(1)

    async def own() -> None:
        async with RedisEventLog(address(), prefix=name) as log:
            for _ in range(12):
                fence = next(fences)
                with suppress(Fenced):
                    at = await log.open("r", fence=fence)
                    for number in range(at, at + 20):
                        event = LogEvent(number, "delta", b"%d" % fence)
                        await log.append("r", fence=fence, expected=number, events=[event], ended=False)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(own)
    async with RedisEventLog(address(), prefix=name) as log:
        events = await log.read("r", after=-1, limit=1_000)
    assert [event.number for event in events] == list(range(len(events)))
    writers = [int(event.data) for event in events]
    assert writers == sorted(writers)
    assert len(set(writers)) > 1  # they did race
