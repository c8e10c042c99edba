"""Clients that are too many or too slow: refused with words, closed in time, and never noticed by others."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest
from websockets.exceptions import InvalidStatus

from chatbackend.infra.web.outbox import STALL_S
from tests.support import sdk
from tests.support.processes import peak_memory_kib
from tests.support.raw_socket import raw_socket
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
CLOSED_S = 15.0  # what docs/guarantees.md promises
HEAD = b"POST /v1/responses HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "LLAMA31_ENDPOINT": upstream.url,
        "CHATBACKEND_MAX_SOCKETS_PER_USER": "3",
        "CHATBACKEND_MAX_RUNNING_PER_USER": "2",
        "CHATBACKEND_DRAIN_S": "0.1",
    }
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server


async def test_a_user_has_so_many_sockets_and_a_closed_one_makes_room(running: Server) -> None:
    async with AsyncExitStack() as open_sockets:
        for _ in range(2):
            await open_sockets.enter_async_context(raw_socket(running))
        last = await open_sockets.enter_async_context(raw_socket(running))
        with pytest.raises(InvalidStatus) as refused:
            await open_sockets.enter_async_context(raw_socket(running))
        answer = refused.value.response
        assert answer.status_code == 429
        assert json.loads(answer.body or b"")["error"]["code"] == "too_many_sockets"
        assert int(answer.headers["retry-after"]) >= 1
        async with raw_socket(running, headers={"chatbackend-user": "another"}) as other:
            await other.create("local")
            assert (await other.through())[-1]["type"] == "response.completed"
        await last.connection.close()
        with anyio.fail_after(5):
            while True:
                try:
                    async with raw_socket(running):
                        break
                except InvalidStatus:  # the server has not seen the end yet
                    await anyio.sleep(0.01)


async def test_a_user_has_so_many_running_responses_on_sockets_and_over_http(running: Server) -> None:
    async with raw_socket(running) as socket, sdk.async_client(running) as client:
        asked = [("llama31/scripted-endless-d20", lane) for lane in ("a", "b")]
        for model, lane in asked:
            await socket.create(model, stream_id=lane)
        begun = await socket.until("response.in_progress", times=2)
        await socket.create("local", stream_id="c")
        refused = await socket.first("error")
        assert (refused["status"], refused["error"]["code"]) == (429, "too_many_responses")
        assert (refused["stream_id"], int(refused["error"]["headers"]["retry-after"])) == ("c", 1)
        with pytest.raises(openai.RateLimitError) as over_http:
            await client.with_options(max_retries=0).responses.create(model="local", input="x")
        assert over_http.value.code == "too_many_responses"
        other = client.with_options(default_headers={"chatbackend-user": "another"})
        assert (await other.responses.create(model="local", input="x")).status == "completed"
        for response_id in {event["response"]["id"] for event in begun}:
            await socket.send("chatbackend.cancel", response_id=response_id)
        await socket.until("chatbackend.cancelled", times=2)


@pytest.mark.parametrize("key", [False, True], ids=["responses", "answers under a key"])
async def test_of_many_at_once_a_user_gets_no_more_than_so_many(running: Server, *, key: bool) -> None:
    answers: list[int] = []

    async def ask(number: int) -> None:
        headers = {"chatbackend-user": f"many-{key}"} | ({"idempotency-key": f"many {number}"} if key else {})
        path, input_ = ("/v1/chat/completions", "messages") if key else ("/v1/responses", "input")
        body = {"model": "llama31/scripted-endless-d20", "stream": True, input_: [{"role": "user", "content": "x"}]}
        async with client.stream("POST", path, json=body, headers=headers) as answer:
            answers.append(answer.status_code)
            if len(answers) == 200:
                all_answered.set()
            await all_answered.wait()

    all_answered = anyio.Event()
    key_of = {"authorization": f"Bearer {running.key}"}
    limits = httpx2.Limits(max_connections=200)
    async with (
        httpx2.AsyncClient(base_url=running.url, headers=key_of, limits=limits, timeout=30) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(200):
            group.start_soon(ask, number)
    assert (answers.count(200), answers.count(429)) == (2, 198)


async def slow(server: Server, first: bytes, drip: bytes, answers: list[bytes]) -> None:
    """Send the beginning of a request and then a drip each half second; note what comes back until it is closed."""
    answer = b""

    async def dripping() -> None:
        with suppress(anyio.BrokenResourceError):
            while drip:
                await stream.send(drip)
                await anyio.sleep(0.5)

    async with await anyio.connect_tcp("127.0.0.1", server.port) as stream, anyio.create_task_group() as group:
        await stream.send(first)
        group.start_soon(dripping)
        async for piece in stream:
            answer += piece
        group.cancel_scope.cancel()
    answers.append(answer)


async def test_five_hundred_slow_connections_are_closed_in_time_and_others_never_notice(running: Server) -> None:
    authorized = HEAD + b"authorization: Bearer " + running.key.encode() + b"\r\n"
    kinds = (
        (b"", b""),  # nothing at all
        (HEAD, b""),  # half the headers
        (HEAD, b"x-a: b\r\n"),  # headers without an end
        (authorized + b"content-length: 100000\r\n\r\n{", b" "),  # a body, byte by byte
        (authorized + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    )
    before, answers = peak_memory_kib(running.pid), list[bytes]()
    began = time.monotonic()
    async with sdk.async_client(running) as client:
        with anyio.fail_after(CLOSED_S + 5):
            async with anyio.create_task_group() as group:
                for first, drip in kinds * 100:
                    group.start_soon(slow, running, first, drip, answers)
                assert (await client.responses.create(model="local", input="x")).status == "completed"
    assert time.monotonic() - began < CLOSED_S
    assert len(answers) == 500
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert json.loads(body)["error"]["code"] == "request_timeout"
    assert peak_memory_kib(running.pid) - before < 32 * 1024


async def test_a_body_that_makes_progress_is_waited_for(running: Server) -> None:
    """It takes longer than the deadline, but never sends less than it has to."""
    text = json.dumps({"model": "local", "input": "x" * 60_000}).encode()
    head = HEAD + b"authorization: Bearer " + running.key.encode() + b"\r\nconnection: close\r\n"
    async with await anyio.connect_tcp("127.0.0.1", running.port) as stream:
        await stream.send(head + f"content-length: {len(text)}\r\n\r\n".encode())
        for start in range(0, len(text), 2_400):
            await stream.send(text[start : start + 2_400])
            await anyio.sleep(0.5)
        answer = b"".join([piece async for piece in stream])
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_connection_too_many_is_refused_in_words(tmp_path: Path) -> None:
    async with serving(tmp_path, {"CHATBACKEND_MAX_CONNECTIONS": "16"}) as server:
        async with AsyncExitStack() as held:
            for _ in range(16):
                await held.enter_async_context(await anyio.connect_tcp("127.0.0.1", server.port))
            with anyio.fail_after(10):
                async with await anyio.connect_tcp("127.0.0.1", server.port) as one_more:
                    await one_more.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
                    answer = b"".join([piece async for piece in one_more])
            assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            assert b"retry-after: 1\r\n" in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        async with sdk.async_client(server) as client:
            assert (await client.responses.create(model="local", input="x")).status == "completed"


@contextmanager
def stopped_client(server: Server, what: str) -> Generator[None]:
    """Run a client in a process of its own that connects and stands still: no FIN, no reading, no pong."""
    program = Path(__file__).with_name("half_open.py")
    command = [sys.executable, str(program), what, str(server.port), server.key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        os.kill(client.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            client.kill()


async def freed_s(server: Server, what: str) -> float:
    """Return how long a client that stands still keeps its connection, by the server's own descriptors."""

    def until_freed() -> float:
        with stopped_client(server, what):
            began = time.monotonic()
            assert open_sockets(server) > before
            while open_sockets(server) > before:
                time.sleep(0.05)
            return time.monotonic() - began

    before = open_sockets(server)
    return await anyio.to_thread.run_sync(until_freed, abandon_on_cancel=True)


def open_sockets(server: Server) -> int:
    """Return how many connections of the API the server holds, as the kernel has them."""
    held: set[str] = set()
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            held.add(os.readlink(link))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f"{server.port:04X}"
    return sum(f"socket:[{row[9]}]" in held for row in rows if row[1].endswith(f":{port}") and row[3] != "0A")


@pytest.mark.parametrize("what", ["socket", "sse"])
async def test_a_half_open_peer_with_undelivered_data_is_freed(upstream: Upstream, tmp_path: Path, what: str) -> None:
    settings = {"LLAMA31_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "0.1"}
    async with serving(tmp_path, settings) as server:
        with anyio.fail_after(2 * CLOSED_S):
            assert STALL_S < await freed_s(server, what) < CLOSED_S


async def test_an_idle_socket_that_answers_no_ping_is_freed(tmp_path: Path) -> None:
    async with serving(tmp_path, {"CHATBACKEND_PING_S": "1"}) as server:
        with anyio.fail_after(CLOSED_S):
            assert await freed_s(server, "idle") < 5
