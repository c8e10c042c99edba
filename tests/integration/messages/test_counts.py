"""Counts of tokens in both APIs: exact where the provider tells, an estimate elsewhere."""

import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam, MessageTokensCount, WebSearchTool20250305Param
from openai.types.responses import InputTokenCountResponse

from tests.support import sdk
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SAY_ON: list[MessageParam] = [{"role": "user", "content": "say one two three"}]
SEARCH: WebSearchTool20250305Param = {"type": "web_search_20250305", "name": "web_search"}


async def test_claude_counts_a_request_as_it_is(claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    raw = await claude.messages.with_raw_response.count_tokens(
        model="claude/some", messages=SAY_ON, tools=[SEARCH], extra_headers={"anthropic-beta": "x-1"}
    )
    call = await upstream.call(number)
    assert (await raw.parse()).input_tokens == call.input_tokens == 4
    assert "x-chatbackend-estimated" not in raw.headers
    assert raw.headers["x-chatbackend-deployment"] == "claude/some"
    assert call.asked.body == {"model": "some", "messages": SAY_ON, "tools": [SEARCH]}
    assert call.header("anthropic-beta") == "x-1"


async def test_openai_counts_what_was_asked_in_another_dialect(claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    raw = await claude.messages.with_raw_response.count_tokens(model="openai/some", messages=SAY_ON, system="Be brief.")
    call = await upstream.call(number)
    assert call.dialect == "responses-count"
    assert (await raw.parse()).input_tokens == call.input_tokens
    assert set(call.asked.body) <= {"model", "input", "instructions"}


async def test_who_cannot_tell_is_estimated_and_says_so(claude: AsyncAnthropic) -> None:
    raw = await claude.messages.with_raw_response.count_tokens(model="llama31/some", messages=SAY_ON)
    assert 4 <= MessageTokensCount.model_validate(await raw.parse()).input_tokens <= 12
    assert raw.headers["x-chatbackend-estimated"] == "true"


async def test_a_provider_that_fails_to_count_is_estimated_in_another_dialect(claude: AsyncAnthropic) -> None:
    raw = await claude.messages.with_raw_response.count_tokens(model="openai/scripted-status-500", messages=SAY_ON)
    assert raw.headers["x-chatbackend-estimated"] == "true"


async def test_a_request_that_claude_refuses_to_count_is_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.post(
        "/v1/messages/count_tokens", json={"model": "claude/scripted-status-400", "messages": SAY_ON}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("model", ["openai/some", "claude/some", "llama31/some"])
async def test_responses_are_counted_with_the_conversation_before_them(running: Server, model: str) -> None:
    async with sdk.async_client(running) as client:
        first = await client.responses.create(model="llama31/scripted-n5", input="say on")
        alone = await client.responses.input_tokens.count(model=model, input="and on")
        behind = await client.responses.input_tokens.count(model=model, input="and on", previous_response_id=first.id)
        talk = await client.conversations.create(items=[{"type": "message", "role": "user", "content": "a b c d"}])
        within = await client.responses.input_tokens.count(model=model, input="and on", conversation=talk.id)
    InputTokenCountResponse.model_validate(alone)
    assert behind.input_tokens > within.input_tokens > alone.input_tokens > 0


async def test_what_precedes_a_count_must_be_there(running: Server) -> None:
    async with sdk.async_client(running) as client:
        for behind in ({"previous_response_id": "resp_no"}, {"conversation": "conv_no"}):
            with pytest.raises((sdk.openai.BadRequestError, sdk.openai.NotFoundError)):
                await client.responses.input_tokens.count(model="local", input="x", extra_body=behind)
