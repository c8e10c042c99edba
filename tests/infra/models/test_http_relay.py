"""The chat relay against the scripted upstream: what its faults mean, and who hangs up on whom."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.errors import (
    ChatError,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import fixed
from chatbackend.infra.models.http_relay import MAX_ERROR_BYTES, HttpRelay, RelayedHttpAnswer
from chatbackend.infra.models.lean_client import LeanClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect_s=10, first_byte_s=20, between_s=20)
HASTY = Timeouts(connect_s=1, first_byte_s=0.4, between_s=0.4)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[LeanClient]:
    async with LeanClient() as running:
        yield running


Passing = Callable[..., Awaitable[RelayedHttpAnswer]]


def relay(client: LeanClient, url: str, timeouts: Timeouts = PATIENT, key: str = "sk-1") -> Passing:
    credential = fixed({"authorization": f"Bearer {key}"})
    to = endpoint_url(url, "/chat/completions")
    passing = HttpRelay(client, ChatCodec(ModelProfile()), url=to, credential=credential)
    return partial(passing, timeouts=timeouts, headers={})


def body(script: str, *, stream: bool) -> bytes:
    streamed = "true" if stream else "false"
    return f'{{"model":"{script}","stream":{streamed},"messages":[{{"role":"user","content":"on"}}]}}'.encode()


async def read(answer: RelayedHttpAnswer, *, stream: bool) -> bytes:
    if not stream:
        return await answer.whole()
    client = Client()
    client.got.append(await answer.pass_on(client.take, client.drained))
    return b"".join(client.got)


class Client:
    """Takes what is passed on; `full` ones want no more until `room` is set."""

    def __init__(self, *, full: bool = False) -> None:
        self.got: list[bytes] = []
        self.room = asyncio.Event()
        self.waits = asyncio.Event()
        self.took = asyncio.Event()
        self._full = full

    def take(self, chunk: bytes) -> bool:
        self.got.append(chunk)
        self.took.set()
        return not self._full

    async def drained(self) -> None:
        self.waits.set()
        await self.room.wait()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_comes_through_and_its_connection_is_used_again(
    client: LeanClient,
    upstream: Upstream,
    stream: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    passing = relay(client, upstream.url)
    for number in range(3):
        answer = await passing(body("scripted-n5", stream=stream), stream=stream)
        assert answer.content_type.startswith("text/event-stream" if stream else "application/json")
        call = await upstream.call(number)
        assert f"{call.salt}:4".encode() in await read(answer, stream=stream)
        assert call.headers["Authorization"] == "Bearer sk-1"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("status-400", UpstreamRefused),
        ("status-401", UpstreamDenied),
        ("status-429", UpstreamOverloaded),
        ("status-500", UpstreamError),
        ("status-302", UpstreamError),
    ],
)
async def test_a_refusal_is_told_by_its_status(
    client: LeanClient, upstream: Upstream, script: str, kind: type[ChatError]
) -> None:
    for calls, stream in enumerate((True, False), start=1):
        with pytest.raises(ChatError) as caught:
            await relay(client, upstream.url)(body(script, stream=stream), stream=stream)
        assert type(caught.value) is kind
        assert len(upstream.calls) == calls


@pytest.mark.parametrize("script", ["cut-at-7", "cut-in-character"])
async def test_a_cut_comes_after_what_came_before_it(client: LeanClient, upstream: Upstream, script: str) -> None:
    answer = await relay(client, upstream.url)(body(script, stream=True), stream=True)
    call = await upstream.call(0)
    client_side = Client()
    with pytest.raises(UpstreamCut, match="cut off"):
        await answer.pass_on(client_side.take, client_side.drained)
    assert f"{call.salt}:0".encode() in b"".join(client_side.got)


async def test_another_kind_of_content_is_passed_on_under_its_name(client: LeanClient, upstream: Upstream) -> None:
    answer = await relay(client, upstream.url)(body("wrong-type", stream=True), stream=True)
    assert answer.content_type.startswith("text/html")
    answer.close()


@pytest.mark.parametrize("asked", ["no-headers whole", "no-headers", "silent", "stall-at-2"])
async def test_silence_ends_in_a_timeout_and_a_closed_upstream(
    client: LeanClient, upstream: Upstream, asked: str
) -> None:
    script, stream = asked.split(maxsplit=1)[0], not asked.endswith("whole")
    with pytest.raises(UpstreamTimeout):
        await read(await relay(client, upstream.url, HASTY)(body(script, stream=stream), stream=stream), stream=stream)
    call = await upstream.call(0)
    await asyncio.wait_for(call.ended.wait(), 20)
    assert call.outcome == "closed-by-client"


async def test_a_client_that_is_full_stops_the_upstream_and_loses_nothing(client: LeanClient) -> None:
    sent, slow = 0, Client(full=True)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 64000001\r\n\r\nx")
        await slow.took.wait()  # what comes before is stopped by another limit
        for _ in range(1000):
            writer.write(b"x" * 64_000)
            await writer.drain()
            sent += 64_000
        writer.close()

    async with await asyncio.start_server(flood, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        answer = await relay(client, url)(b"{}", stream=True)
        passing = asyncio.create_task(answer.pass_on(slow.take, slow.drained))
        await asyncio.wait_for(slow.waits.wait(), 20)
        before = -1
        while before != sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 32_000_000  # what the sockets of both ends hold, not all there is
        slow.room.set()
        last = await asyncio.wait_for(passing, 20)
    assert sum(map(len, slow.got)) + len(last) == 64_000_001


async def test_closing_the_answer_closes_the_upstream(client: LeanClient, upstream: Upstream) -> None:
    passing = relay(client, upstream.url)
    answer = await passing(body("endless-d1", stream=True), stream=True)
    assert await answer.read()
    answer.close()
    (await passing(body("endless-d1", stream=True), stream=True)).close()
    for number in range(2):
        call = await upstream.call(number)
        await asyncio.wait_for(call.ended.wait(), 20)
        assert call.outcome == "closed-by-client"


@pytest.mark.parametrize("script", ["no-headers", "slow"])
async def test_cancelling_a_whole_answer_closes_the_upstream(
    client: LeanClient, upstream: Upstream, script: str
) -> None:
    async def ask() -> bytes:
        return await (await relay(client, upstream.url)(body(script, stream=False), stream=False)).whole()

    task = asyncio.create_task(ask())
    call = await upstream.call(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(call.ended.wait(), 20)
    assert call.outcome == "closed-by-client"


@pytest.mark.parametrize("length", ["content-length: 99\r\n", "content-length: 200000\r\n", ""])
async def test_a_refusal_is_judged_by_what_came_of_it(client: LeanClient, length: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 400 Bad\r\n{length}\r\n".encode() + b"x" * (0 if "99" in length else MAX_ERROR_BYTES))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(UpstreamRefused, match="The provider refused this request"):
            await relay(client, url)(b"{}", stream=True)


async def test_a_large_whole_answer_comes_whole(client: LeanClient) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + b"x" * 3_000_000)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await (await relay(client, url)(b"", stream=False)).whole() == b"x" * 3_000_000


async def test_a_whole_answer_without_an_end_is_given_up(client: LeanClient, upstream: Upstream) -> None:
    answer = await relay(client, upstream.url)(body("endless", stream=False), stream=False)
    with pytest.raises(UpstreamError, match="too large"):
        await answer.whole()
    async with asyncio.timeout(5):
        await upstream.calls[0].ended.wait()
    assert upstream.calls[0].outcome == "closed-by-client"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:99999"])
async def test_an_endpoint_that_cannot_be_reached_fails_the_call(client: LeanClient, url: str) -> None:
    with pytest.raises(UpstreamError):
        await relay(client, url)(b"{}", stream=False)


async def test_a_key_that_is_no_header_fails_the_call_and_is_not_sent(client: LeanClient, upstream: Upstream) -> None:
    with pytest.raises(UpstreamError):
        await relay(client, upstream.url, key="sk-1\r\nx: y")(b"{}", stream=False)
    assert upstream.calls == []
