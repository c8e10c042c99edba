"""The scripted upstream goes wrong as its script says, in every dialect, streamed and whole, and logs that it did."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import anyio
import pytest

from tests.support.unreachable import Unreachable
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "azure-chat": "/openai/v1/chat/completions",
    "azure-responses": "/openai/v1/responses",
    "perplexity": "/chat/completions",
}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def session(upstream: Upstream) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(upstream.url) as session:
        yield session


def asking(script: str, *, stream: bool, text: str = "hi") -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": script, "stream": stream, "messages": messages, "input": messages}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("script", ["cut-before-first", "cut-at-2", "cut-in-character"])
async def test_a_cut_answer_never_ends_properly(
    session: aiohttp.ClientSession, upstream: Upstream, dialect: str, *, script: str, stream: bool
) -> None:
    async with session.post(PATHS[dialect], json=asking(script, stream=stream)) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert [(call.dialect, call.outcome) for call in upstream.calls] == [(dialect, "cut")]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", PATHS)
async def test_a_truncated_answer_ends_properly_in_the_middle_of_its_json(
    session: aiohttp.ClientSession, dialect: str, *, stream: bool
) -> None:
    async with session.post(PATHS[dialect], json=asking("truncated-at-2", stream=stream)) as answer:
        body = await answer.text()
    if not stream:
        with pytest.raises(json.JSONDecodeError):
            json.loads(body)
        return
    *events, last = body.split("\n\n")
    assert last
    assert all(json.loads(event.rpartition("data: ")[2]) for event in events)


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_character_is_torn(session: aiohttp.ClientSession, dialect: str) -> None:
    seen = b""
    async with session.post(PATHS[dialect], json=asking("cut-in-character", stream=True)) as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            async for chunk in answer.content.iter_any():
                seen += chunk
    assert seen.endswith("ï".encode()[:1])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", PATHS)
async def test_an_endless_answer_ends_when_its_client_has_had_enough(
    session: aiohttp.ClientSession, upstream: Upstream, dialect: str, *, stream: bool
) -> None:
    async with session.post(PATHS[dialect], json=asking("endless", stream=stream)) as answer:
        await answer.content.readexactly(300_000)
    with anyio.fail_after(5):
        await upstream.calls[0].ended.wait()
    assert upstream.calls[0].outcome == "closed-by-client"


async def test_a_hundred_megabytes_of_headers_come_until_the_client_hangs_up(upstream: Upstream) -> None:
    host, port = upstream.url.removeprefix("http://").split(":")
    body = json.dumps(asking("huge-headers", stream=True)).encode()
    head = f"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    async with await anyio.connect_tcp(host, int(port)) as peer:
        await peer.send(head.encode() + body)
        received = 0
        while received < 2 << 20:
            part = await peer.receive()
            assert b"\r\n\r\n" not in part
            received += len(part)
    with anyio.fail_after(5):
        await upstream.calls[0].ended.wait()
    assert upstream.calls[0].outcome == "closed-by-client"


async def test_a_question_fails_as_often_as_it_says_and_is_then_answered(session: aiohttp.ClientSession) -> None:
    async def status(text: str) -> int:
        asked = asking("fail-2-times-status-503-r50-n2", stream=False, text=text)
        async with session.post(PATHS["responses"], json=asked) as answer:
            assert answer.headers.get("retry-after-ms") == ("50" if answer.status == 503 else None)
            return answer.status

    assert [await status("a"), await status("b"), await status("a")] == [503, 503, 503]
    assert [await status("a"), await status("b"), await status("b")] == [200, 503, 200]


@pytest.mark.parametrize(
    ("dialect", "script", "words"),
    [
        ("chat", "context-length", "maximum context length"),
        ("chat", "context-length-vllm", "However, you requested"),
        ("chat", "context-length-llama-cpp", "available context size"),
        ("responses", "context-length", "exceeds the context window"),
        ("messages", "context-length", "prompt is too long"),
        ("azure-chat", "context-length", "exceed the configured limit"),
        ("azure-chat", "blocked", "content management policy"),
    ],
)
async def test_each_vendor_refuses_in_its_own_words(
    session: aiohttp.ClientSession, dialect: str, script: str, words: str
) -> None:
    async with session.post(PATHS[dialect], json=asking(script, stream=True)) as answer:
        assert answer.status == 400
        assert words in await answer.text()


async def test_nobody_answers_at_an_unreachable_address() -> None:
    with Unreachable() as nobody:
        timeout = aiohttp.ClientTimeout(sock_connect=0.3)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with pytest.raises(aiohttp.ConnectionTimeoutError):
                await session.get(nobody.url)
