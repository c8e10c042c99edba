"""A journal on a Redis that forgets: readers get every event once, and those who come later the same ones."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path

import anyio
import pytest

from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.domain.answer import PartGrew
from chatbackend.domain.responses import COMPLETED, Response, end
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.usecases.follow_response import follow
from chatbackend.usecases.journal import COPY_BYTES, Journal
from chatbackend.usecases.ports import LogEvent
from tests.support.fakes import ME
from tests.support.model_events import numbered
from tests.support.redis import OwnRedis, ask, own_redis

pytestmark = pytest.mark.anyio
Fault = Callable[[OwnRedis, int], Awaitable[None]]


@pytest.fixture
def server(tmp_path: Path) -> Generator[OwnRedis]:
    with own_redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
async def log(server: OwnRedis) -> AsyncGenerator[RedisEventLog, None]:
    async with RedisEventLog(server.url, timeout_s=0.5, patience_s=30.0, poll_s=0.1) as log:
        yield log


@pytest.fixture
def response() -> Response:
    shown = shapes.ask(shapes.read({"model": "m", "input": ""}), numbered()).shown
    return Response("resp_1", ME, "m", 1, shown=shown)


def write(journal: Journal, text: str) -> None:
    journal.steps([PartGrew("msg_1", 0, 0, "output_text", text)])


async def reserved(numbers: int) -> None:
    assert numbers % 1_000 == 0


async def emptied(server: OwnRedis, size: int) -> None:
    assert size
    await ask(server.url, "FLUSHALL")


async def set_back(server: OwnRedis, size: int) -> None:
    await anyio.to_thread.run_sync(server.kill)
    server.cut(size)
    await anyio.to_thread.run_sync(server.start)


async def watched(log: RedisEventLog, seen: list[LogEvent]) -> None:
    async def goes_on() -> bool:
        return True

    async for batch in follow(log, "resp_1", after=-1, idle_s=30, goes_on=goes_on):
        seen += batch


@pytest.mark.parametrize("fault", [emptied, set_back])
async def test_readers_see_each_event_once_though_the_log_forgot_some(
    fault: Fault, server: OwnRedis, log: RedisEventLog, response: Response
) -> None:
    journal = Journal(log, ResponseEvents(), response, fence=1, reserve=reserved)
    early, late = list[LogEvent](), list[LogEvent]()
    await journal.open()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(watched, log, early)
            size = 0
            for number in range(90):
                if number == 20:
                    size = server.written()
                if number in {40, 70}:
                    await fault(server, size)
                write(journal, str(number))
                await journal.flush()
            end(response, COMPLETED, at=1)
            await journal.end("response.completed")
        await watched(log, late)
    assert [event.number for event in early] == list(range(91))
    assert early == late


async def test_where_the_copy_is_too_short_readers_get_the_end_and_nothing_false(
    server: OwnRedis, log: RedisEventLog, response: Response
) -> None:
    journal = Journal(log, ResponseEvents(), response, fence=1, reserve=reserved)
    early, late = list[LogEvent](), list[LogEvent]()
    await journal.open()
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(watched, log, early)
            for number in range(6):
                if number == 4:
                    while len(early) < 4:  # noqa: ASYNC110 - what another task has seen
                        await anyio.sleep(0.01)
                    await emptied(server, 1)
                write(journal, str(number) * (COPY_BYTES // 3))
                await journal.flush()
            end(response, COMPLETED, at=1)
            await journal.end("response.completed")
        await watched(log, late)
    assert [event.number for event in early] == [0, 1, 2, 3, 6]
    assert late == early[-1:]
