"""What every `Model` of a provider promises, whatever dialect it speaks, over HTTP and over a WebSocket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial

import pytest

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.errors import (
    ChatError,
    InvalidRequest,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamLacks,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatbackend.domain.items import InputImage, Message
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest
from chatbackend.domain.usage import Usage
from chatbackend.infra.models.credentials import fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.socket_model import SocketModel
from chatbackend.infra.models.socket_pool import SocketPool
from tests.support.asking import HASTY, Asked, answer, answer_until_error, asking, first_text, salted
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SPOKEN = ResponsesCodec(ModelProfile())
CODECS = {"chat": ChatCodec(ModelProfile()), "messages": ClaudeCodec(ModelProfile()), "responses": SPOKEN}
Make = Callable[[str], Asked]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(params=[*CODECS, "socket"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Make a model at an address: in each dialect, and on a socket."""
    credential, kind = fixed({"authorization": "Bearer sk-1", "x-api-key": "sk-1"}), str(request.param)
    async with LeanClient() as client, SocketPool(lambda: client.tls) as pool:

        def made(base: str) -> Asked:
            url = partial(endpoint_url, base)
            http = HttpModel(client, url=url, codec=CODECS.get(kind, SPOKEN), credential=credential)
            if kind in CODECS:
                return Asked(http)
            return Asked(SocketModel(pool, http, url=url, codec=SPOKEN, credential=credential))

        yield made


@pytest.fixture
def asked(make: Make, upstream: Upstream) -> Asked:
    """Return a model of the scripted upstream."""
    return make(upstream.url)


@pytest.mark.parametrize("way", ["streamed", "whole"])
async def test_an_answer_comes_with_its_usage(asked: Asked, upstream: Upstream, way: str) -> None:
    heard = await answer(asked, asking("scripted-n40", stream=way == "streamed"))
    call = await upstream.call(0)
    assert heard.text == salted(call, 40)
    assert heard.usage == Usage(2, 40)
    assert heard.finish == "stop"
    assert call.asked.stream is (way == "streamed")


async def test_calls_and_reasoning_come_through(asked: Asked, upstream: Upstream) -> None:
    tools = [FunctionTool("f", parameters={"type": "object", "properties": {"q": {"type": "string"}}})]
    called = await answer(asked, asking("tool-call", tools=tools))
    assert (called.tools, called.finish) == ([("f", '{"q": "hi there"}')], "tool_calls")
    thought = await answer(asked, asking("reason"))
    assert thought.thoughts == f"{upstream.calls[1].salt} thinks. "


async def test_closing_the_stream_closes_the_upstream(asked: Asked, upstream: Upstream) -> None:
    async with aclosing(asked.stream(asking("endless-d1"))) as events:
        await first_text(events)
    call = await upstream.call(0)
    await asyncio.wait_for(call.ended.wait(), 20)
    assert call.outcome == "closed-by-client"


@pytest.mark.parametrize("script", ["no-headers", "silent", "stall-at-2", "slow"])
async def test_cancelling_at_any_point_closes_the_upstream(asked: Asked, upstream: Upstream, script: str) -> None:
    task = asyncio.create_task(answer(asked, asking(script)))
    call = await upstream.call(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(call.ended.wait(), 20)
    assert call.outcome == "closed-by-client"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("status-400", UpstreamRefused),
        ("status-404", UpstreamLacks),
        ("status-401", UpstreamDenied),
        ("status-429", UpstreamOverloaded),
        ("status-500", UpstreamError),
        ("status-302", UpstreamError),
        ("wrong-type", UpstreamError),
    ],
)
async def test_a_refusal_is_told_by_its_status(
    asked: Asked, upstream: Upstream, script: str, kind: type[ChatError]
) -> None:
    text, error = await answer_until_error(asked, asking(script))
    assert (text, type(error)) == ("", kind)
    assert len(upstream.calls) == 1


async def test_an_overload_says_how_long_to_wait(asked: Asked) -> None:
    _, error = await answer_until_error(asked, asking("status-429"))
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == 2


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("cut-at-7", UpstreamCut),
        ("error-at-7", UpstreamError),
        ("garbage", UpstreamError),
        ("false-done-n4", UpstreamCut),
        ("cut-in-character", UpstreamCut),
    ],
)
async def test_what_came_before_a_failure_is_kept_and_the_failure_is_told(
    asked: Asked, upstream: Upstream, script: str, kind: type[ChatError]
) -> None:
    text, error = await answer_until_error(asked, asking(script))
    call = await upstream.call(0)
    assert text == salted(call, call.tokens) != ""
    assert type(error) is kind


@pytest.mark.parametrize(("script", "text"), [("no-headers", ""), ("silent", ""), ("stall-at-0", "")])
async def test_silence_ends_in_a_timeout_and_a_closed_upstream(
    asked: Asked, upstream: Upstream, script: str, text: str
) -> None:
    told, error = await answer_until_error(asked._replace(timeouts=HASTY), asking(script))
    assert (told, type(error)) == (text, UpstreamTimeout)
    call = await upstream.call(0)
    await asyncio.wait_for(call.ended.wait(), 20)
    assert call.outcome == "closed-by-client"


async def test_a_server_that_is_not_there_cannot_be_reached(make: Make) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    _, error = await answer_until_error(make(f"http://127.0.0.1:{port}"), asking("m"))
    assert (type(error), error.message) == (UpstreamError, "The provider cannot be reached.")


@pytest.mark.parametrize("url", ["no-url", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
async def test_an_endpoint_that_is_none_fails_the_call(make: Make, url: str) -> None:
    _, error = await answer_until_error(make(url), asking("m"))
    assert isinstance(error, UpstreamError)


async def test_a_request_that_cannot_be_said_is_refused_before_dialling(asked: Asked, upstream: Upstream) -> None:
    request = ModelRequest("m", [Message("msg_1", "user", [InputImage(file_id="file_1")])])
    _, error = await answer_until_error(asked, request)
    assert isinstance(error, InvalidRequest)
    assert upstream.calls == []


async def test_many_answers_at_once_never_mix(asked: Asked, upstream: Upstream) -> None:
    heard = await asyncio.gather(*(answer(asked, asking("scripted-n30-d1")) for _ in range(50)))
    assert sorted(told.text for told in heard) == sorted(salted(call, 30) for call in upstream.calls)
