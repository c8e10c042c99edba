"""Answers under an Idempotency-Key through `kill -9` and SIGTERM, as the unmodified SDKs see them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anthropic
import anyio
import anyio.to_thread
import httpx2
import openai
import pytest

from tests.integration.kept.conftest import settled
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

MESSAGES: Any = [{"role": "user", "content": "say on"}]
FAMILIES = pytest.mark.parametrize("family", ["llama31", "claude"])  # relayed in one dialect, translated in the other


@pytest.fixture
async def server(upstream: Upstream, tmp_path: Path) -> AsyncGenerator[Server, None]:
    settings = {"LLAMA31_ENDPOINT": upstream.url, "CLAUDE_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "1"}
    async with serving(tmp_path, settings) as running:
        yield running


class Heard:
    """What a client has heard of a stream."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._enough: list[tuple[int, anyio.Event]] = []

    def add(self, word: str) -> None:
        self.words += [word] if word else []
        for count, event in self._enough:
            if len(self.words) >= count:
                event.set()

    async def until(self, count: int) -> None:
        """Wait for so many words."""
        event = anyio.Event()
        self._enough.append((count, event))
        self.add("")
        with anyio.fail_after(20):
            await event.wait()


class Chat:
    """The `openai` SDK as it comes: it tries twice more by itself."""

    path = "/v1/chat/completions"

    def __init__(self, sdk: openai.AsyncOpenAI) -> None:
        self._sdk = sdk

    async def stream(self, model: str, key: str, heard: Heard) -> None:
        stream = await self._sdk.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, extra_headers={"Idempotency-Key": key}
        )
        async with stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    heard.add(choice.delta.content or "")

    async def whole(self, model: str, key: str) -> str:
        answer = await self._sdk.chat.completions.create(
            model=model, messages=MESSAGES, extra_headers={"Idempotency-Key": key}
        )
        return answer.choices[0].message.content or ""


class Claude:
    """The `anthropic` SDK as it comes."""

    path = "/v1/messages"

    def __init__(self, sdk: anthropic.AsyncAnthropic) -> None:
        self._sdk = sdk

    async def stream(self, model: str, key: str, heard: Heard) -> None:
        stream = await self._sdk.messages.create(
            model=model, messages=MESSAGES, max_tokens=999, stream=True, extra_headers={"Idempotency-Key": key}
        )
        async with stream:
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    heard.add(event.delta.text)

    async def whole(self, model: str, key: str) -> str:
        answer = await self._sdk.messages.create(
            model=model, messages=MESSAGES, max_tokens=999, extra_headers={"Idempotency-Key": key}
        )
        return "".join(block.text for block in answer.content if block.type == "text")


Client = Chat | Claude
Opened = Callable[[Server], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def chat(server: Server) -> AsyncGenerator[Client, None]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.key) as sdk:
        yield Chat(sdk)


@asynccontextmanager
async def claude(server: Server) -> AsyncGenerator[Client, None]:
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=server.key) as sdk:
        yield Claude(sdk)


@pytest.fixture(params=[chat, claude])
async def sdk(request: pytest.FixtureRequest, server: Server) -> AsyncGenerator[Client, None]:
    """Both SDKs, one after the other."""
    opened: Opened = request.param
    async with opened(server) as client:
        yield client


FAULTS = (openai.APIError, anthropic.APIError, httpx2.HTTPError)


async def again(server: Server, *, by: str) -> None:
    """End the server, and start it."""
    await anyio.to_thread.run_sync(server.kill if by == "kill" else server.stop)
    await anyio.to_thread.run_sync(server.start)


@FAMILIES
async def test_an_answer_is_the_same_after_a_kill(
    server: Server, upstream: Upstream, *, sdk: Client, family: str
) -> None:
    asked_before = len(upstream.calls)
    first = Heard()
    await sdk.stream(f"{family}/scripted-n9", "streamed", first)
    whole = await sdk.whole(f"{family}/scripted-n9", "whole")
    await again(server, by="kill")
    repeated = Heard()
    await sdk.stream(f"{family}/scripted-n9", "streamed", repeated)
    assert repeated.words == first.words
    assert await sdk.whole(f"{family}/scripted-n9", "whole") == whole
    assert len(upstream.calls) == asked_before + 2


@FAMILIES
@pytest.mark.parametrize("tokens", [1, 30])
async def test_a_stream_that_a_kill_cut_is_told_as_cut_and_never_made_anew(
    server: Server, upstream: Upstream, *, sdk: Client, family: str, tokens: int
) -> None:
    asked_before, model = len(upstream.calls), f"{family}/scripted-endless-d5"
    first = Heard()

    async def listen() -> None:
        with suppress(*FAULTS):
            await sdk.stream(model, "k", first)

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await first.until(tokens)
        await anyio.to_thread.run_sync(server.kill)
    await anyio.to_thread.run_sync(server.start)
    second, third = Heard(), Heard()
    for heard in (second, third):
        with pytest.raises(FAULTS, match="another Idempotency-Key"):
            await sdk.stream(model, "k", heard)
    [call] = upstream.calls[asked_before:]
    assert second.words == [f"{call.salt}:{number} " for number in range(len(second.words))]
    assert second.words[: len(first.words)] == first.words  # and perhaps what was in the log beyond it
    assert third.words == second.words
    assert [(row["outcome"], row["estimated"]) for row in await settled(server.data, model)] == [("interrupted", 1)]


@FAMILIES
async def test_a_whole_answer_that_a_kill_cut_is_an_error_that_no_sdk_tries_again(
    server: Server, upstream: Upstream, *, sdk: Client, family: str
) -> None:
    asked_before, model = len(upstream.calls), f"{family}/scripted-endless-d5"
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            with suppress(*FAULTS):
                await sdk.whole(model, "k")

        group.start_soon(ask)
        await upstream.call(asked_before)
        await anyio.to_thread.run_sync(server.kill)
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(server.start)
    requests = server.log().count(sdk.path)
    with pytest.raises(FAULTS, match="another Idempotency-Key") as interrupted:
        await sdk.whole(model, "k")
    assert isinstance(interrupted.value, openai.InternalServerError | anthropic.InternalServerError)
    assert interrupted.value.status_code == 500
    assert len(upstream.calls) == asked_before + 1
    await anyio.to_thread.run_sync(server.stop)  # the log of requests is written now and then
    assert server.log().count(sdk.path) - requests <= 2, "the SDK tried it again"
    await anyio.to_thread.run_sync(server.start)


async def test_a_server_that_stops_lets_answers_end_and_says_which_did_not(
    server: Server, upstream: Upstream, sdk: Client
) -> None:
    asked_before = len(upstream.calls)
    heard = {"scripted-n40-d5": Heard(), "scripted-endless-d5": Heard()}

    async def listen(model: str) -> None:
        with suppress(*FAULTS):
            await sdk.stream(f"llama31/{model}", model, heard[model])

    async with anyio.create_task_group() as group:
        for model in heard:
            group.start_soon(listen, model)
        await upstream.call(asked_before + 1)
        for each in heard.values():
            await each.until(1)
        await anyio.to_thread.run_sync(server.stop)
    await anyio.to_thread.run_sync(server.start)
    assert len(heard["scripted-n40-d5"].words) == 40
    repeated = Heard()
    await sdk.stream("llama31/scripted-n40-d5", "scripted-n40-d5", repeated)
    assert repeated.words == heard["scripted-n40-d5"].words
    with pytest.raises(FAULTS, match="another Idempotency-Key"):
        await sdk.stream("llama31/scripted-endless-d5", "scripted-endless-d5", Heard())
    assert len(upstream.calls) == asked_before + 2


async def test_what_the_log_has_lost_is_gone_and_not_made_anew(server: Server, upstream: Upstream) -> None:
    asked_before = len(upstream.calls)
    async with chat(server) as sdk:
        await sdk.whole("llama31/scripted-n3", "k")
        await anyio.to_thread.run_sync(server.stop)
        (server.data / "events.db").unlink()
        await anyio.to_thread.run_sync(server.start)
        with pytest.raises(openai.ConflictError) as gone:
            await sdk.whole("llama31/scripted-n3", "k")
    assert gone.value.code == "idempotent_result_gone"
    assert gone.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.calls) == asked_before + 1
