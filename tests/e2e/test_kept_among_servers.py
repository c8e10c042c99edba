"""Answers under an Idempotency-Key on two real servers: one generation, the same bytes at either, whoever dies."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from tests.support.cluster import Cluster, Replica, cluster
from tests.support.postgres import rows
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
DIALECTS = pytest.mark.parametrize("path", [CHAT, MESSAGES])
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
TAKEN_OVER_S = 20.0  # what is promised
TALKS = "n400-d20"  # eight seconds of tokens
_numbers = count()


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Cluster, None]:
    settings = {"LLAMA31_ENDPOINT": upstream.url, "CLAUDE_ENDPOINT": upstream.url, "CHATBACKEND_LOG_LEVEL": "warning"}
    with cluster(tmp_path_factory.mktemp("cluster"), settings) as both:
        yield both


@pytest.fixture
async def both(running: Cluster) -> AsyncGenerator[tuple[Replica, Replica], None]:
    """Give the two servers; one that a test has killed is started again for the next."""
    first, second = running.servers
    yield first, second
    for each in (first, second):
        if each.process is None:
            await anyio.to_thread.run_sync(each.start)


class Asked:
    """A request under a key, which any server may be asked."""

    def __init__(self, path: str, script: str, *, stream: bool) -> None:
        self.path, self.name = path, f"scripted-{script}-of-{next(_numbers)}"
        words = [{"role": "user", "content": "say on"}]
        self.body: dict[str, Any] = {"messages": words, "stream": stream, "max_tokens": 9_999}
        self.body["model"] = f"llama31/{self.name}"

    @asynccontextmanager
    async def open(self, server: Replica) -> AsyncGenerator[httpx2.Response]:
        """Open the answer of a server, unread."""
        headers = {"authorization": f"Bearer {server.key}", "idempotency-key": self.name}
        async with (
            httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60) as http,
            http.stream("POST", self.path, json=self.body) as answer,
        ):
            yield answer

    async def of(self, server: Replica) -> httpx2.Response:
        """Return the whole answer of a server."""
        async with self.open(server) as answer:
            await answer.aread()
            return answer

    def calls(self, upstream: Upstream) -> int:
        """Return how often the provider was asked."""
        return sum(call.asked.model == self.name for call in upstream.calls)

    async def told(self, running: Cluster) -> list[str]:
        """Return how the calls have ended, by the ledger, once all have."""
        wanted = f"SELECT status, outcome FROM ledger WHERE model = '{self.body['model']}'"  # noqa: S608
        with anyio.fail_after(TAKEN_OVER_S):
            while True:
                found = await rows(running.postgres.url, wanted)
                if found and all(row["status"] == "settled" for row in found):
                    return [row["outcome"] for row in found]
                await anyio.sleep(0.1)


def bytes_of(*answers: httpx2.Response) -> list[tuple[int, str, bytes]]:
    """Return what must be the same, without the comments of silent streams."""
    return [
        (each.status_code, each.headers["content-type"], each.content.replace(b": ping\n\n", b"")) for each in answers
    ]


@DIALECTS
@STREAMED
async def test_what_one_server_answers_every_other_repeats_while_it_is_made_and_after(
    both: tuple[Replica, Replica], upstream: Upstream, *, path: str, stream: bool
) -> None:
    first, second = both
    asked, found = Asked(path, "n40-d20", stream=stream), list[httpx2.Response]()

    async def ask(server: Replica) -> None:
        found.append(await asked.of(server))

    before = len(upstream.calls)
    async with anyio.create_task_group() as group:
        group.start_soon(ask, first)
        await upstream.call(before)
        group.start_soon(ask, second)
    found += [await asked.of(server) for server in both]
    shown = bytes_of(*found)
    assert [each == shown[0] for each in shown] == [True] * 4
    assert (found[0].status_code, found[0].text.count(f"{upstream.calls[before].salt}:")) == (200, 40)
    assert sorted(each.headers.get("idempotent-replayed", "") for each in found) == ["", "true", "true", "true"]
    assert asked.calls(upstream) == 1


@STREAMED
async def test_of_many_that_ask_everywhere_at_once_one_is_answered(
    both: tuple[Replica, Replica], upstream: Upstream, *, stream: bool
) -> None:
    asked, found = Asked(CHAT, "n5", stream=stream), list[httpx2.Response]()

    async def ask(server: Replica) -> None:
        found.append(await asked.of(server))

    async with anyio.create_task_group() as group:
        for server in both * 8:
            group.start_soon(ask, server)
    shown = bytes_of(*found)
    assert [each == shown[0] for each in shown] == [True] * 16
    assert asked.calls(upstream) == 1


@DIALECTS
async def test_a_stream_whose_server_is_killed_ends_interrupted_at_every_other_and_is_never_made_anew(
    running: Cluster, both: tuple[Replica, Replica], upstream: Upstream, path: str
) -> None:
    first, second = both
    asked, begun, heard = Asked(path, TALKS, stream=True), anyio.Event(), bytearray()

    async def listen() -> None:
        with suppress(httpx2.HTTPError):
            async with asked.open(first) as answer:
                async for part in answer.aiter_bytes():
                    heard.extend(part)
                    if heard.count(b":5 "):
                        begun.set()

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await begun.wait()
        await anyio.to_thread.run_sync(first.kill)
    with anyio.fail_after(TAKEN_OVER_S + 5):
        follower = await asked.of(second)
    await anyio.to_thread.run_sync(first.start)
    repeats = [await asked.of(server) for server in both]
    shown = bytes_of(follower, *repeats)
    assert shown[0] == shown[1] == shown[2]
    assert shown[0][2].startswith(bytes(heard))
    assert b'"interrupted"' in shown[0][2] or b"another Idempotency-Key" in shown[0][2]
    assert asked.calls(upstream) == 1
    assert await asked.told(running) == ["interrupted"]


async def test_a_whole_answer_whose_server_is_killed_is_an_error_at_every_other(
    both: tuple[Replica, Replica], upstream: Upstream
) -> None:
    first, second = both
    asked, before = Asked(CHAT, TALKS, stream=False), len(upstream.calls)

    async def ask() -> None:
        with suppress(httpx2.HTTPError):
            await asked.of(first)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await upstream.call(before)
        await anyio.to_thread.run_sync(first.kill)
    told = await asked.of(second)
    assert (told.status_code, told.json()["error"]["code"]) == (500, "interrupted")
    assert told.headers["x-should-retry"] == "false"
    assert asked.calls(upstream) == 1


async def test_a_server_that_hung_for_longer_than_its_lease_tells_what_the_other_has_ended(
    both: tuple[Replica, Replica], upstream: Upstream
) -> None:
    first, second = both
    asked, begun, heard = Asked(CHAT, "n3000-d10", stream=True), anyio.Event(), bytearray()

    async def listen() -> None:
        async with asked.open(first) as answer:
            async for part in answer.aiter_bytes():
                heard.extend(part)
                if heard.count(b":5 "):
                    begun.set()

    ended = list[httpx2.Response]()
    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await begun.wait()
        first.freeze()
        try:
            ended.append(await asked.of(second))
        finally:
            first.thaw()
    shown = bytes_of(*ended, await asked.of(first), await asked.of(second))
    assert shown[0] == shown[1] == shown[2]
    assert b'"interrupted"' in shown[0][2]
    assert bytes(heard).replace(b": ping\n\n", b"") == shown[0][2]  # its own client, too, and nothing behind it
    assert asked.calls(upstream) == 1


async def test_a_key_that_was_freed_or_used_at_one_server_is_so_at_every_other(
    both: tuple[Replica, Replica], upstream: Upstream
) -> None:
    first, second = both
    asked = Asked(CHAT, "status-429", stream=False)
    assert [(await asked.of(server)).status_code for server in (first, second)] == [429, 429]
    assert asked.calls(upstream) == 2
    asked = Asked(CHAT, "n2", stream=False)
    assert (await asked.of(first)).status_code == 200
    asked.body["stream"] = True
    assert (await asked.of(second)).json()["error"]["code"] == "idempotency_key_reused"


async def test_what_redis_has_lost_is_gone_and_not_made_anew(
    running: Cluster, both: tuple[Replica, Replica], upstream: Upstream
) -> None:
    asked = Asked(CHAT, "n2", stream=False)
    assert (await asked.of(both[0])).status_code == 200
    await anyio.to_thread.run_sync(running.redis.empty)
    gone = await asked.of(both[1])
    assert (gone.status_code, gone.json()["error"]["code"]) == (409, "idempotent_result_gone")
    assert asked.calls(upstream) == 1


async def test_an_answer_that_redis_loses_while_it_is_made_is_whole_again(
    running: Cluster, both: tuple[Replica, Replica], upstream: Upstream
) -> None:
    first, second = both
    asked, begun, heard = Asked(CHAT, "n200-d10", stream=True), anyio.Event(), bytearray()

    async def listen() -> None:
        async with asked.open(first) as answer:
            async for part in answer.aiter_bytes():
                heard.extend(part)
                if heard.count(b":5 "):
                    begun.set()

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await begun.wait()
        await anyio.to_thread.run_sync(running.redis.empty)
    again = await asked.of(second)
    assert bytes_of(again)[0][2] == bytes(heard)
    [salt] = [call.salt for call in upstream.calls if call.asked.model == asked.name]
    assert [again.text.count(f"{salt}:{number} ") for number in range(200)] == [1] * 200
