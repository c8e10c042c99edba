"""The way out to a client: one write an answer, framed chunks, and word of a client that left or is full."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from chatbackend.infra.web.http import ASGIApp, Receive, Scope, Send
from chatbackend.infra.web.server import bind
from chatbackend.infra.web.wire import Wire, WireProtocol, wire_of
from tests.support.garbage import alive, uncollected

pytestmark = pytest.mark.anyio

LENGTH = [(b"content-length", b"5")]
Handler = Callable[[Wire, Send], Awaitable[None]]


def app(handler: Handler) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(wire_of(scope), send)

    return answer


def client(handler: Handler) -> AbstractAsyncContextManager[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return serving(app(handler))


@asynccontextmanager
async def serving(answer: ASGIApp) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(
        answer, http=WireProtocol, lifespan="off", log_config=None, date_header=False, server_header=False
    )
    server = uvicorn.Server(config)
    listener = bind("127.0.0.1", 0)
    serving = asyncio.create_task(server._serve([listener]))  # pyright: ignore[reportPrivateUsage]  # `serve` takes the test's signals
    reader, writer = await asyncio.open_connection(*listener.getsockname(), limit=1 << 26)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.should_exit = True
        await serving


async def start(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def test_an_answer_of_known_length_leaves_in_one_write_after_another() -> None:
    async def whole(_: Wire, send: Send) -> None:
        await start(send, LENGTH)
        await asyncio.sleep(0.01)  # a head that had left by itself would be read by itself
        await send({"type": "http.response.body", "body": b"hello"})

    async with client(whole) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n")
            got = await reader.read(1 << 16)
            assert got == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def test_an_answer_to_head_has_its_head() -> None:
    async def whole(_: Wire, send: Send) -> None:
        await start(send, LENGTH)
        await send({"type": "http.response.body", "body": b"hello"})

    async with client(whole) as (reader, writer):
        writer.write(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


async def test_an_answer_that_breaks_off_shows_its_head_and_hangs_up() -> None:
    async def broken(_: Wire, send: Send) -> None:
        await start(send, LENGTH)

    async with client(broken) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.read() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


async def test_chunks_are_framed_and_end_with_the_answer() -> None:
    async def streamed(wire: Wire, send: Send) -> None:
        await start(send, [])
        assert wire.write(b"one")
        assert wire.write(b"")
        assert wire.write(b"sixteen letters!")
        await send({"type": "http.response.body", "body": b"end"})

    async with client(streamed) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        got = await reader.readuntil(b"0\r\n\r\n")
        assert got == b"3\r\none\r\n10\r\nsixteen letters!\r\n3\r\nend\r\n0\r\n\r\n"


async def test_a_body_of_another_length_than_promised_ends_the_connection() -> None:
    for body in (b"four", b"six...", b""):

        async def wrong(_: Wire, send: Send, body: bytes = body) -> None:
            await start(send, LENGTH)
            await send({"type": "http.response.body", "body": body})

        async with client(wrong) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await reader.read() == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


async def test_a_body_may_come_in_pieces_of_a_known_length() -> None:
    async def pieces(_: Wire, send: Send) -> None:
        await start(send, LENGTH)
        await send({"type": "http.response.body", "body": b"he", "more_body": True})
        await send({"type": "http.response.body", "body": b"llo"})

    async with client(pieces) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await reader.readexactly(43) == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


async def test_a_line_break_in_a_header_splits_no_answer() -> None:
    for value in (b"a\r\nset-cookie: b=c", b"a\nb", b"a\rb"):

        async def split(_: Wire, send: Send, value: bytes = value) -> None:
            await start(send, [(b"x-name", value)])

        async with client(split) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"x-name" not in await reader.read()


async def test_http_1_0_gets_a_stream_without_chunks_that_ends_with_the_connection() -> None:
    async def streamed(wire: Wire, send: Send) -> None:
        await start(send, [])
        assert wire.write(b"one")
        await send({"type": "http.response.body", "body": b"end"})

    async with client(streamed) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\nhost: x\r\n\r\n")
        assert await reader.read() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\noneend"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_frame(status: int) -> None:
    async def bodiless(_: Wire, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async with client(bodiless) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).count(b"\r\n") == 2


async def test_a_client_that_does_not_read_is_full_until_it_does() -> None:
    sent = asyncio.get_running_loop().create_future()

    async def flooded(wire: Wire, send: Send) -> None:
        await start(send, [])
        count = 1
        while wire.write(b"x" * 65_536):
            count += 1
        sent.set_result(count)
        await wire.drained()
        await send({"type": "http.response.body", "body": b"end"})

    async with client(flooded) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        count: int = await asyncio.wait_for(sent, 20)
        got = await asyncio.wait_for(reader.readuntil(b"end\r\n0\r\n\r\n"), 20)
        assert got.count(b"10000\r\n") == count


async def test_a_client_that_leaves_an_answer_is_told() -> None:
    gone = asyncio.Event()

    async def waits(wire: Wire, send: Send) -> None:
        wire.on_gone = gone.set
        await start(send, [])
        await gone.wait()
        assert wire.write(b"nobody reads it")

    async with client(waits) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_client_that_has_its_whole_answer_may_leave_unnoticed() -> None:
    gone = asyncio.Event()

    async def whole(wire: Wire, send: Send) -> None:
        wire.on_gone = gone.set
        await start(send, LENGTH)
        await send({"type": "http.response.body", "body": b"hello"})

    async with client(whole) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"hello")
        writer.close()
    assert not gone.is_set()  # the server has seen the end of every connection by now


async def test_a_client_that_leaves_with_a_second_request_under_way_is_gone_for_the_first_too() -> None:
    began, heard = asyncio.Event(), asyncio.Queue[str]()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        wire = wire_of(scope)
        while (await receive()).get("more_body"):
            pass
        began.set()
        heard.put_nowait((await receive())["type"])
        assert wire.write(b"nobody")

    async with serving(waiting) as (_, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" * 2)
        await began.wait()
        writer.close()
        async with asyncio.timeout(5):
            assert await heard.get() == "http.disconnect"


async def test_an_answer_that_is_complete_leaves_nothing_to_the_garbage_collector() -> None:
    async def whole(_: Wire, send: Send) -> None:
        await start(send, LENGTH)
        await send({"type": "http.response.body", "body": b"hello"})

    async with client(whole) as (reader, writer):
        with uncollected():
            before = alive(Wire, RequestResponseCycle)
            for _ in range(3):
                writer.write(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n")
                await reader.readuntil(b"hello")
            assert alive(Wire, RequestResponseCycle) <= before + 2  # the connection's last one
