"""A server among others stops: what has not ended there goes on elsewhere, at once and not when its lease is over."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import pytest

from tests.support import sdk
from tests.support.cluster import Cluster, Replica, cluster
from tests.support.openai_types import checked_event
from tests.support.postgres import rows
from tests.support.raw_socket import raw_socket
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]

AT_ONCE_S = 10.0  # far above what it takes, and below the lease
SILENT = "llama31/scripted-n3-d3000"  # says nothing for three seconds


@pytest.fixture(scope="module")
async def upstream() -> AsyncGenerator[Upstream, None]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Cluster, None]:
    settings = {"LLAMA31_ENDPOINT": upstream.url, "CHATBACKEND_LOG_LEVEL": "warning", "CHATBACKEND_DRAIN_S": "0.5"}
    with ExitStack() as stack:
        opened = cluster(tmp_path_factory.mktemp("handing-over"), settings)
        yield await anyio.to_thread.run_sync(stack.enter_context, opened)
        await anyio.to_thread.run_sync(stack.close)


@pytest.fixture
async def both(running: Cluster) -> AsyncGenerator[tuple[Replica, Replica], None]:
    """Give the two servers; one that a test has stopped is started again for the next."""
    first, second = running.servers
    yield first, second
    for each in (first, second):
        if each.process is None:
            await anyio.to_thread.run_sync(each.start)


async def followed(
    server: Replica, response_id: str, after: int = -1, begun: anyio.Event | None = None
) -> list[dict[str, Any]]:
    """Return the events of a response that a server tells, up to its end or until the connection ends."""
    found: list[dict[str, Any]] = []
    query = f"?stream=true&starting_after={after}" if after >= 0 else "?stream=true"
    with suppress(aiohttp.ClientPayloadError):  # the connection was cut
        async with listening(server, f"/responses/{response_id}{query}") as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    found.append(checked_event(line.removeprefix(b"data: ")))
                    if begun is not None:
                        begun.set()
    return found


@asynccontextmanager
async def listening(server: Replica, path: str) -> AsyncGenerator[aiohttp.ClientResponse, None]:
    """Open a stream of events."""
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {server.key}"}) as session,
        session.get(server.base_url + path) as answer,
    ):
        assert answer.status == 200
        yield answer


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["sequence_number"] for event in events]


async def test_a_device_that_follows_at_the_server_that_stops_goes_on_at_another(
    both: tuple[Replica, Replica],
) -> None:
    first, second = both
    cut, on_sse, on_socket = list[dict[str, Any]](), anyio.Event(), anyio.Event()
    async with raw_socket(first) as owner:
        await owner.create("llama31/scripted-n300-d20")
        response_id = (await owner.first("response.created"))["response"]["id"]

        async def over_sse() -> None:
            cut.extend(await followed(second, response_id, begun=on_sse))

        async def over_socket() -> None:
            async with raw_socket(second, [("resume", response_id)]) as socket:
                await socket.first("response.output_text.delta")
                on_socket.set()
                assert await socket.closed() == (1012, "the server stops")

        async with anyio.create_task_group() as group:
            group.start_soon(over_sse)
            group.start_soon(over_socket)
            await on_sse.wait()
            await on_socket.wait()
            await anyio.to_thread.run_sync(second.stop)
        assert cut[-1]["type"] not in sdk.TERMINAL
        rest = await followed(first, response_id, cut[-1]["sequence_number"])
    assert numbers([*cut, *rest]) == list(range(len(cut) + len(rest)))
    assert rest[-1]["type"] == "response.completed"


async def test_a_response_whose_model_has_said_nothing_yet_is_made_elsewhere_at_once(
    running: Cluster, both: tuple[Replica, Replica], upstream: Upstream
) -> None:
    first, second = both
    calls = len(upstream.calls)
    async with sdk.async_client(first) as client:
        created = await client.responses.create(model=SILENT, input="x", background=True)
    await upstream.call(calls)
    assert await anyio.to_thread.run_sync(first.stop) == 0
    stopped = time.monotonic()
    await upstream.call(calls + 1)
    assert time.monotonic() - stopped < AT_ONCE_S
    events = await followed(second, created.id)
    assert events[-1]["type"] == "response.completed"
    assert numbers(events) == list(range(len(events)))
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == "".join(f"{upstream.calls[calls + 1].salt}:{number} " for number in range(3))
    found = await rows(running.postgres.url, f"SELECT status FROM ledger WHERE response_id = '{created.id}'")  # noqa: S608
    assert sorted(row["status"] for row in found) == ["settled", "settled"]  # both calls


async def test_a_turn_that_waits_behind_another_has_its_turn_elsewhere(both: tuple[Replica, Replica]) -> None:
    first, second = both
    async with sdk.async_client(first) as client:
        conversation = await client.conversations.create()
        asks: list[str] = []
        for model in ("llama31/scripted-endless-d15", "llama31/scripted-n3-d5"):
            made = await client.responses.create(model=model, input="x", background=True, conversation=conversation.id)
            asks.append(made.id)
        await said_something(first, asks[0])
        assert (await client.responses.retrieve(asks[1])).status == "queued"
    assert await anyio.to_thread.run_sync(first.stop) == 0
    [cut, *_] = [(await followed(second, asks[0]))[-1]]
    assert cut["response"]["incomplete_details"]["chatbackend_reason"] == "interrupted"
    with anyio.fail_after(AT_ONCE_S):
        events = await followed(second, asks[1])
    assert events[-1]["type"] == "response.completed"
    assert numbers(events) == list(range(len(events)))


async def said_something(server: Replica, response_id: str) -> None:
    """Wait for a response's first words."""
    async with listening(server, f"/responses/{response_id}?stream=true") as answer:
        async for line in answer.content:
            if line.startswith(b"data: ") and json.loads(line[6:])["type"] == "response.output_text.delta":
                return
