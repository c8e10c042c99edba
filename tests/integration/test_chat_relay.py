"""`POST /v1/chat/completions` over a real server and our scripted upstream: bytes pass through, the ledger knows."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "say on"}]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Server]:
    settings = {"LLAMA31_ENDPOINT": f"{upstream.url}/v1", "CLAUDE_ENDPOINT": upstream.url}
    async with serving(tmp_path, settings) as running:
        yield running


@pytest.fixture
async def sdk(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key=server.key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def ledger(server: Server) -> list[tuple[str, str, int, int, int]]:
    with closing(sqlite3.connect(server.data / "truth.db")) as truth:
        found = truth.execute("SELECT model, status, input_tokens, output_tokens, estimated FROM ledger")
        return found.fetchall()


async def settled(server: Server, rows: int = 1) -> list[tuple[str, str, int, int, int]]:
    with anyio.fail_after(10):
        while True:
            found = await anyio.to_thread.run_sync(ledger, server)
            if len(found) == rows and all(row[1] == "settled" for row in found):
                return found
            await anyio.sleep(0.01)


async def test_a_whole_answer_passes_with_the_providers_own_usage(
    server: Server, upstream: Upstream, sdk: openai.AsyncOpenAI
) -> None:
    answer = await sdk.chat.completions.create(model="llama31/scripted-n5-d0", messages=MESSAGES)
    call = await upstream.call(0)
    assert call.asked.model == "scripted-n5-d0"
    assert (answer.choices[0].message.content or "").startswith(f"{call.salt}:0 {call.salt}:1 ")
    assert answer.usage is not None
    counted = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert await settled(server) == [("llama31/scripted-n5-d0", "settled", *counted, 0)]


async def test_a_stream_passes_as_it_comes_and_its_usage_is_read(
    server: Server, upstream: Upstream, sdk: openai.AsyncOpenAI
) -> None:
    stream = await sdk.chat.completions.create(
        model="llama31/scripted-n9-d1", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    salt = (await upstream.call(0)).salt
    assert text.split() == [f"{salt}:{number}" for number in range(9)]
    usage = chunks[-1].usage
    assert usage is not None
    assert await settled(server) == [
        ("llama31/scripted-n9-d1", "settled", usage.prompt_tokens, usage.completion_tokens, 0)
    ]


async def test_usage_that_is_not_told_is_estimated_and_says_so(server: Server, sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(model="llama31/scripted-n9", messages=MESSAGES, stream=True)
    assert [chunk async for chunk in stream]
    (row,) = await settled(server)
    assert row[3] >= 9
    assert row[4] == 1


async def test_a_cut_stream_ends_with_an_error_and_without_the_end_mark(server: Server) -> None:
    body = {"model": "llama31/scripted-cut-at-3", "messages": MESSAGES, "stream": True}
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {server.key}"}) as client:
        answer = await client.post(f"{server.base_url}/chat/completions", json=body)
    assert '"error":{' in answer.text.rstrip().rpartition("\n")[2]
    assert "[DONE]" not in answer.text
    assert (await settled(server))[0][4] == 1


async def test_the_providers_refusals_keep_their_meaning(server: Server, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        await sdk.chat.completions.create(model="llama31/scripted-status-429", messages=MESSAGES)
    assert limited.value.response.headers["retry-after"] == "2"
    with pytest.raises(openai.BadRequestError):
        await sdk.chat.completions.create(model="llama31/scripted-status-400", messages=MESSAGES)
    assert len(await settled(server, rows=2)) == 2


async def test_a_client_that_leaves_closes_the_upstream_streamed_or_not(server: Server, upstream: Upstream) -> None:
    for number, stream in enumerate((True, False)):
        body = {"model": "llama31/scripted-n400-d50", "messages": MESSAGES, "stream": stream}
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {server.key}"}) as client:
            with anyio.move_on_after(0.5):
                await client.post(f"{server.base_url}/chat/completions", json=body, timeout=30)
        call = await upstream.call(number)
        with anyio.fail_after(5):
            await call.ended.wait()
        assert call.outcome == "closed-by-client"
    assert len(await settled(server, rows=2)) == 2


async def test_what_cannot_be_relayed_is_refused_clearly(server: Server, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Known models"):
        await sdk.chat.completions.create(model="nobody", messages=MESSAGES)
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {server.key}"}) as client:
        answer = await client.post(f"{server.base_url}/chat/completions", content=b'{"model": 7')
    assert answer.status_code == 400
    assert ledger(server) == []


@pytest.mark.parametrize("script", ["truncated-at-3", "cut-in-character"])
async def test_what_broke_off_inside_an_event_is_not_shown_and_the_error_is(
    sdk: openai.AsyncOpenAI, script: str
) -> None:
    stream = await sdk.chat.completions.create(model=f"llama31/{script}", messages=MESSAGES, stream=True)
    texts: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        async for chunk in stream:
            texts += [choice.delta.content or "" for choice in chunk.choices]
    assert caught.value.code == "upstream_cut"
    assert "".join(texts).count(":") >= 1
