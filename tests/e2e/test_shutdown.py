"""SIGTERM under running streams: who ends in time is whole, who does not ends interrupted, and the process goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import openai
import pytest
from websockets.exceptions import InvalidStatus

from tests.support import sdk
from tests.support.openai_types import checked_event
from tests.support.raw_socket import raw_socket
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

GONE_S = 20.0
IDLE_STOP_S = 2.5  # with nothing to wait for; far above what it takes
TERMINAL = ("response.completed", "response.failed", "response.incomplete")


@pytest.fixture
async def server(upstream: Upstream, tmp_path: Path) -> AsyncGenerator[Server, None]:
    with Server(tmp_path, {"LLAMA31_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "2"}) as server:
        yield server


class Watcher:
    """One client over SSE or a WebSocket; `begun` once its answer streams, `close_code` as a socket saw it."""

    def __init__(self, server: Server, transport: str, model: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.begun = anyio.Event()
        self.close_code: int | None = None
        self.transport = transport
        self._server = server
        self._request = {"model": model, "input": "x"}

    @property
    def end(self) -> dict[str, Any]:
        return self.events[-1]

    async def watch(self) -> None:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {self._server.key}"}) as session:
            frames = self._sse(session) if self.transport == "sse" else self._socket(session)
            async with aclosing(frames):
                async for frame in frames:
                    self.events.append(checked_event(frame))
                    if self.end["type"] == "response.output_text.delta":
                        self.begun.set()

    async def _sse(self, session: aiohttp.ClientSession) -> AsyncGenerator[bytes, None]:
        url = f"{self._server.base_url}/responses"
        async with session.post(url, json={**self._request, "stream": True}) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    yield line.removeprefix(b"data: ")

    async def _socket(self, session: aiohttp.ClientSession) -> AsyncGenerator[bytes, None]:
        async with session.ws_connect(f"{self._server.ws_url}/v1/responses") as socket:
            await socket.send_json({**self._request, "type": "response.create"})
            async for message in socket:
                yield message.data.encode()
            self.close_code = socket.close_code


async def test_sigterm_lets_short_answers_end_and_interrupts_long_ones(server: Server, upstream: Upstream) -> None:
    short = [Watcher(server, transport, "llama31/scripted-n40-d15") for transport in ("sse", "ws")]
    endless = [Watcher(server, transport, "llama31/scripted-endless-d15") for transport in ("sse", "ws") * 5]
    async with anyio.create_task_group() as group:
        for watcher in [*short, *endless]:
            group.start_soon(watcher.watch)
        for watcher in [*short, *endless]:
            await watcher.begun.wait()
        began = time.monotonic()
        assert await anyio.to_thread.run_sync(server.stop) == 0
        assert time.monotonic() - began < GONE_S
    for watcher in short:
        assert watcher.end["type"] == "response.completed"
        assert text_of(watcher.end["response"]).count(":") == 40
    for watcher in endless:
        assert watcher.end["type"] == "response.incomplete"
        details = {"reason": None, "chatbackend_reason": "interrupted"}
        assert watcher.end["response"]["incomplete_details"] == details
        streamed = [event["delta"] for event in watcher.events if event["type"] == "response.output_text.delta"]
        assert "".join(streamed) == text_of(watcher.end["response"]) != ""
    sockets = [watcher for watcher in [*short, *endless] if watcher.transport == "ws"]
    assert {watcher.close_code for watcher in sockets} == {1012}  # going away, come back
    assert all(call.outcome != "open" for call in upstream.calls)
    await anyio.to_thread.run_sync(server.start)
    async with sdk.async_client(server) as client:
        for watcher in [*short, *endless]:
            assert (await client.responses.retrieve(watcher.end["response"]["id"])).output_text == text_of(
                watcher.end["response"]
            )


async def test_a_request_that_still_waits_at_the_end_is_refused_like_a_new_one(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.key}\r\ncontent-length: 9\r\n"
    writer.write(f"{head}expect: 100-continue\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")  # it waits for the body
    assert await anyio.to_thread.run_sync(server.stop) == 0
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"stopping"' in answer
    assert "Exception" not in server.log()
    writer.close()


async def test_while_it_drains_the_server_takes_nothing_new(server: Server) -> None:
    watcher = Watcher(server, "sse", "llama31/scripted-endless-d15")
    async with anyio.create_task_group() as group, sdk.async_client(server) as client:
        group.start_soon(watcher.watch)
        await watcher.begun.wait()
        group.start_soon(anyio.to_thread.run_sync, server.stop)
        await until_not_ready(server)
        with pytest.raises(openai.InternalServerError) as refused:
            await client.responses.create(model="local", input="x")
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        running = await client.responses.retrieve(watcher.events[0]["response"]["id"])
        assert running.status == "in_progress"


async def test_new_work_on_a_live_socket_is_refused_and_who_knows_our_events_is_told(server: Server) -> None:
    async with (
        raw_socket(server, [("chatbackend", 1)]) as told,
        raw_socket(server) as other,
        raw_socket(server) as idle,
    ):
        await told.create("llama31/scripted-endless-d15")
        await told.first("response.output_text.delta")
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, server.stop)
            draining = await told.first("chatbackend.draining")
            assert draining["seconds"] == 2.0
            await other.create("local")
            refused = await other.event()
            assert (refused["status"], refused["error"]["code"]) == (503, "stopping")
            with pytest.raises(InvalidStatus) as handshake:
                async with raw_socket(server):
                    pass
            assert handshake.value.response.status_code == 503
            assert (await told.through())[-1]["type"] == "response.incomplete"
            assert [await each.closed() for each in (told, other, idle)] == [(1012, "the server stops")] * 3


async def test_streams_of_conversations_and_idle_connections_hold_nothing_up(server: Server) -> None:
    async with sdk.async_client(server) as client:
        conversation = await client.conversations.create()
    key = {"authorization": f"Bearer {server.key}"}
    async with aiohttp.ClientSession(headers=key) as session, raw_socket(server) as idle:
        async with session.get(f"{server.base_url}/models") as answer:
            assert "connection" not in answer.headers
        async with session.get(f"{server.base_url}/conversations/{conversation.id}/events") as events:
            began = time.monotonic()
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, server.stop)
                with anyio.fail_after(5):
                    assert await events.content.read() == b""  # a whole body: the client comes back with its cursor
                    assert await idle.closed() == (1012, "the server stops")
        assert time.monotonic() - began < IDLE_STOP_S


async def test_the_stream_of_a_file_ends_whole_before_the_file_does_and_goes_on_at_the_next_start(
    server: Server,
) -> None:
    words = "\n\n".join(f"Paragraph {number}: the wind turns north before noon." for number in range(40_000)).encode()
    key = {"authorization": f"Bearer {server.key}"}
    async with sdk.async_client(server) as client:
        file = await client.files.create(file=("big.md", words), purpose="assistants")
    async with (
        aiohttp.ClientSession(headers=key) as session,
        session.get(f"{server.base_url}/files/{file.id}/events") as events,
    ):
        told = await events.content.readline()
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, server.stop)
            with anyio.fail_after(5):
                told += await events.content.read()  # a whole body, not a cut one
        assert time.monotonic() - began < IDLE_STOP_S
    assert b'"uploaded"' in told
    assert b'"processed"' not in told
    await anyio.to_thread.run_sync(server.start)
    async with (
        aiohttp.ClientSession(headers=key) as session,
        session.get(f"{server.base_url}/files/{file.id}/events") as events,
    ):
        assert file.id.encode() in await events.content.readuntil(b"\n\n")


async def test_answers_of_a_stopping_server_close_their_connection(server: Server) -> None:
    watcher = Watcher(server, "sse", "llama31/scripted-endless-d15")
    key = {"authorization": f"Bearer {server.key}"}
    async with anyio.create_task_group() as group, aiohttp.ClientSession(headers=key) as session:
        group.start_soon(watcher.watch)
        await watcher.begun.wait()
        group.start_soon(anyio.to_thread.run_sync, server.stop)
        await until_not_ready(server)
        async with session.get(f"{server.base_url}/models") as answer:
            assert (answer.status, answer.headers["connection"]) == (200, "close")
        async with session.post(f"{server.base_url}/chat/completions", json={"model": "local"}) as refused:
            assert (refused.status, refused.headers["connection"]) == (503, "close")
            assert int(refused.headers["retry-after"]) >= 1


async def test_a_socket_is_sent_everything_before_it_is_closed(server: Server) -> None:
    large = " ".join(["x" * 9_999] * 90)  # far more than the buffers on the way hold
    async with raw_socket(server) as socket, anyio.create_task_group() as group:
        await socket.create("llama31/scripted-echo", large)
        seen = await socket.until("response.output_text.delta")
        group.start_soon(anyio.to_thread.run_sync, server.stop)
        seen += await socket.through()
        assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
        assert await socket.closed() == (1012, "the server stops")


async def test_a_relayed_answer_that_ends_in_time_is_whole(server: Server) -> None:
    server.stop()
    server.start({"CHATBACKEND_DRAIN_S": "10"})
    chat = {"model": "llama31/scripted-n150-d20", "messages": [{"role": "user", "content": "x"}], "stream": True}
    key = {"authorization": f"Bearer {server.key}"}
    async with (
        aiohttp.ClientSession(headers=key) as session,
        session.post(f"{server.base_url}/chat/completions", json=chat) as answer,
    ):
        body = await answer.content.readline()
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, server.stop)
            body += await answer.content.read()
    assert body.endswith(b"data: [DONE]\n\n")


async def test_sigterm_under_two_hundred_streams_cuts_none_that_ends_in_time(server: Server) -> None:
    short = [Watcher(server, transport, "llama31/scripted-n20-d50") for transport in ("sse", "ws") * 80]
    long = [Watcher(server, transport, "llama31/scripted-endless-d50") for transport in ("sse", "ws") * 20]
    server.stop()
    server.start({"CHATBACKEND_DRAIN_S": "8"})
    async with anyio.create_task_group() as group:
        for watcher in [*short, *long]:
            group.start_soon(watcher.watch)
        for watcher in [*short, *long]:
            await watcher.begun.wait()
        began = time.monotonic()
        assert await anyio.to_thread.run_sync(server.stop) == 0
        assert time.monotonic() - began < GONE_S
    assert {watcher.end["type"] for watcher in short} == {"response.completed"}
    assert {watcher.end["type"] for watcher in long} == {"response.incomplete"}
    for watcher in [*short, *long]:
        numbers = [event["sequence_number"] for event in watcher.events]
        assert numbers == list(range(len(numbers)))


async def test_a_second_sigterm_does_not_wait_and_the_next_start_ends_the_rest(
    server: Server, upstream: Upstream
) -> None:
    watcher = Watcher(server, "sse", "llama31/scripted-endless-d15")
    server.stop()
    server.start({"CHATBACKEND_DRAIN_S": "15"})
    process = server.process
    assert process is not None
    async with anyio.create_task_group() as group:
        group.start_soon(cut_short, watcher)
        await watcher.begun.wait()
        process.terminate()
        await until_not_ready(server)
        began = time.monotonic()
        process.terminate()
        assert await anyio.to_thread.run_sync(process.wait, 10) is not None
        assert time.monotonic() - began < 10
    server.stop()
    await anyio.to_thread.run_sync(server.start)
    async with sdk.async_client(server) as client:
        kept = await client.responses.retrieve(watcher.events[0]["response"]["id"])
    assert kept.status == "incomplete"
    assert kept.output_text.startswith(upstream.calls[-1].salt)


async def cut_short(watcher: Watcher) -> None:
    with contextlib.suppress(aiohttp.ClientError):
        await watcher.watch()


async def until_not_ready(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        with anyio.fail_after(5):
            while True:
                async with session.get(f"{server.url}/readyz") as answer:
                    if answer.status == 503:
                        return
                await anyio.sleep(0.01)


def text_of(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)
