"""The HTTP model against real servers on loopback: scripted ones, broken ones and recorded ones."""

import asyncio
import gzip
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial

import pytest
from aiohttp import web

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.errors import (
    ChatError,
    UpstreamCut,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatbackend.domain.events import Finished
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.http_relay import FOREIGN, MAX_ERROR_BYTES, translate
from chatbackend.infra.models.lean_client import LeanClient, Unreachable
from tests.adapters.providers.heard import hear, replay
from tests.adapters.providers.recordings import recordings
from tests.support.asking import PATIENT, Asked, answer, answer_until_error, asking, first_text, salted
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

PROFILE = ModelProfile()
CODECS = {"chat": ChatCodec(PROFILE), "messages": ClaudeCodec(PROFILE)}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
HELLO = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'


@pytest.fixture
async def session() -> AsyncIterator[LeanClient]:
    async with LeanClient() as session:
        yield session


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


def model(session: LeanClient, url: str, dialect: str = "chat", timeouts: Timeouts = PATIENT) -> Asked:
    credential = fixed({"authorization": "Bearer sk-1", "x-api-key": "sk-1"})
    return Asked(
        HttpModel(session, url=partial(endpoint_url, url), codec=CODECS[dialect], credential=credential), timeouts
    )


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """Serve one handler on every path; yield the address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(talk: bytes, *, hold: bool = False) -> AsyncGenerator[str]:
    """Serve these raw bytes to every connection once its request was read, then close it or hold it open."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        writer.write(talk)
        if hold:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def chunked(*chunks: bytes, end: bool = False) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if end else b"")


async def test_a_json_answer_to_a_stream_request_is_read_too(session: LeanClient) -> None:
    async def ignores_stream(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})

    async with serving(ignores_stream) as url:
        assert (await answer(model(session, url), asking("m"))).text == "hello"


async def test_the_key_and_the_request_go_out_as_the_codec_says(session: LeanClient, upstream: Upstream) -> None:
    await answer(model(session, upstream.url), asking("m"))
    call = await upstream.call(0)
    assert call.headers["Authorization"] == "Bearer sk-1"
    assert call.headers["Accept-Encoding"] == "identity"
    assert call.asked.body["messages"] == [{"role": "user", "content": "hi there"}]


async def test_a_connection_is_used_again_although_the_end_of_the_body_comes_late(
    session: LeanClient,
) -> None:
    peers: set[object] = set()
    finished = asyncio.Event()
    patient = Timeouts(end_s=20)

    async def holds_back(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport and request.transport.get_extra_info("peername"))
        told = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await told.prepare(request)
        await told.write(HELLO + STOP + b"data: [DONE]\n\n")
        await finished.wait()
        return told

    async with serving(holds_back) as url:
        for _ in range(3):
            async with aclosing(model(session, url, timeouts=patient).stream(asking("m"))) as events:
                async for event in events:
                    if isinstance(event, Finished):
                        finished.set()
            finished.clear()
    assert len(peers) == 1


async def test_a_connection_is_not_used_again_after_a_cut(session: LeanClient, upstream: Upstream) -> None:
    asked = model(session, upstream.url)
    async with aclosing(asked.stream(asking("endless-d1"))) as events:
        await first_text(events)
    heard = await answer(asked, asking("scripted-n5"))
    assert heard.text == salted(await upstream.call(1), 5)


async def test_silence_between_tokens_ends_in_a_timeout(session: LeanClient) -> None:
    between = Timeouts(connect_s=10, first_byte_s=20, between_s=0.1)
    async with talking(chunked(HELLO), hold=True) as url:
        text, error = await answer_until_error(model(session, url, timeouts=between), asking("m"))
    assert (text, type(error)) == ("hello", UpstreamTimeout)


@pytest.mark.parametrize("hold", [True, False])
async def test_an_answer_that_said_why_it_stopped_is_whole_however_its_connection_ends(
    session: LeanClient,
    hold: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    between = Timeouts(connect_s=10, first_byte_s=20, between_s=0.1)
    async with talking(chunked(HELLO, STOP), hold=hold) as url:
        heard = await answer(model(session, url, timeouts=between), asking("m"))
    assert (heard.text, heard.finish) == ("hello", "stop")


async def test_an_end_mark_is_the_end_though_the_connection_stays_open(session: LeanClient) -> None:
    async with talking(chunked(HELLO, STOP, b"data: [DONE]\n\n"), hold=True) as url:
        heard = await answer(model(session, url), asking("m"))
    assert (heard.text, heard.finish) == ("hello", "stop")


@pytest.mark.parametrize(
    ("talk", "kind"),
    [
        (b"", UpstreamCut),
        (b"HTTP/1.1 200 OK\r\ncontent-ty", UpstreamCut),
        (b"no HTTP at all\r\n\r\n", UpstreamError),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{}", UpstreamCut),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            UpstreamError,
        ),
        (chunked(b'data: {"choi'), UpstreamCut),
        (chunked(HELLO, end=True), UpstreamCut),
        (chunked(b"data: " + b"x" * (5 << 20), end=True), UpstreamError),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: br\r\ncontent-length: 0\r\n\r\n",
            UpstreamError,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", UpstreamError),
        (b"HTTP/1.1 400 Bad\r\ncontent-length: 99\r\n\r\n{", UpstreamRefused),
    ],
)
async def test_a_broken_answer_is_told_by_how_it_broke(session: LeanClient, talk: bytes, kind: type[ChatError]) -> None:
    async with talking(talk) as url:
        _, error = await answer_until_error(model(session, url), asking("m"))
    assert type(error) is kind


async def test_a_refusal_without_end_is_read_no_further_than_its_bound(session: LeanClient) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        told = web.StreamResponse(status=400)
        await told.prepare(request)
        while True:
            await told.write(b"x" * MAX_ERROR_BYTES)

    async with serving(endless) as url:
        _, error = await answer_until_error(model(session, url), asking("m"))
    assert type(error) is UpstreamRefused
    assert error.message == "The provider refused this request."


async def test_a_compressed_refusal_is_not_unpacked(session: LeanClient) -> None:
    async def compressed(_: web.Request) -> web.Response:
        body = gzip.compress(b'{"error": {"message": "unpacked"}}')
        return web.Response(status=400, body=body, headers={"content-encoding": "gzip"})

    async with serving(compressed) as url:
        _, error = await answer_until_error(model(session, url), asking("m"))
    assert error.message == "The provider refused this request."


async def test_a_redirect_is_not_followed_with_the_key(session: LeanClient, upstream: Upstream) -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": f"{upstream.url}/v1/chat/completions"})

    async with serving(redirect) as url:
        _, error = await answer_until_error(model(session, url), asking("m"))
    assert type(error) is UpstreamError
    assert upstream.calls == []


async def test_recorded_answers_come_over_a_real_connection_in_small_pieces(session: LeanClient) -> None:
    streams = [recorded for recorded in recordings(tuple(CODECS)) if recorded.sse and '"error"' not in recorded.sse]

    async def play(request: web.Request) -> web.StreamResponse:
        told = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await told.prepare(request)
        text = (streams[int(request.path.split("/")[1])].sse or "").encode()
        for start in range(0, len(text), 997):
            await told.write(text[start : start + 997])
        return told

    async with serving(play) as url:
        for number, recorded in enumerate(streams):
            heard = await answer(model(session, f"{url}/{number}/v1", recorded.api), asking("m"))
            assert heard == hear(replay(CODECS[recorded.api], (recorded.sse or "").encode()))


async def test_the_client_reads_no_proxy(monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with LeanClient() as session:
        await answer(model(session, upstream.url), asking("m"))


async def test_the_profile_is_the_codecs(session: LeanClient) -> None:
    assert model(session, "http://x").model.profile is CODECS["chat"].profile


@pytest.mark.parametrize("kind", [*FOREIGN, ConnectionResetError, Unreachable, ssl.SSLError, socket.gaierror])
def test_every_error_of_the_client_is_translated(kind: type[Exception]) -> None:
    assert issubclass(kind, FOREIGN)
    assert isinstance(translate(kind("x")), UpstreamError)
