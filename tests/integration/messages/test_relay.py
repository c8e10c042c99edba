"""`POST /v1/messages` to providers of the same dialect: everything that only Claude knows goes there and back."""

import re
from typing import Any

import anyio
import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam

from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SAY_ON: list[MessageParam] = [{"role": "user", "content": "say on"}]
RICH: dict[str, Any] = {
    "model": "claude/scripted-n3",
    "max_tokens": 100,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
                    "title": "Grass",
                    "context": "A leaflet.",
                    "citations": {"enabled": True},
                },
                {"type": "text", "text": "Which colour?", "cache_control": {"type": "ephemeral"}},
            ],
        }
    ],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
    "top_k": 5,
    "service_tier": "standard_only",
    "container": "container_1",
    "context_management": {"edits": []},
    "something_new": [1],
}


async def test_a_request_reaches_claude_as_it_is_with_its_beta_headers(
    http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    number = len(upstream.calls)
    headers = {"anthropic-beta": "one-2026-01-01,two-2026-01-01", "anthropic-version": "2023-06-01"}
    answer = await http.post("/v1/messages", json=RICH, headers=headers)
    assert answer.status_code == 200, answer.text
    call = await upstream.call(number)
    assert call.asked.body == RICH | {"model": "scripted-n3"}
    assert call.header("anthropic-beta") == headers["anthropic-beta"]
    assert call.header("anthropic-version") == headers["anthropic-version"]
    assert call.header("x-api-key") == "sk-of-claude", "our client's key never leaves"
    assert answer.json()["id"] == f"msg_{call.salt}", "the answer is Claude's own"
    assert answer.headers["x-chatbackend-deployment"] == "claude/scripted-n3"
    assert answer.headers["request-id"].startswith("req_")


async def test_a_stream_of_claudes_passes_as_it_comes(claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    async with claude.messages.stream(model="claude/reason-n4", max_tokens=50, messages=SAY_ON) as stream:
        message = await stream.get_final_message()
    call = await upstream.call(number)
    assert message.id == f"msg_{call.salt}"
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert call.usage == {"input_tokens": message.usage.input_tokens, "output_tokens": message.usage.output_tokens}


async def test_what_other_models_left_in_a_conversation_is_not_shown_to_claude(
    claude: AsyncAnthropic, upstream: Upstream
) -> None:
    async with claude.messages.stream(model="llama31/reason-n2", max_tokens=50, messages=SAY_ON) as stream:
        first = await stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "text"]
    number = len(upstream.calls)
    follow_up: list[MessageParam] = [*SAY_ON, first.to_param(), {"role": "user", "content": "and on"}]
    second = await claude.messages.create(model="claude/scripted-n2", max_tokens=50, messages=follow_up)
    call = await upstream.call(number)
    assert call.dialect == "messages"
    assert [block["type"] for block in call.asked.messages[1]["content"]] == ["text"]
    assert second.model == "claude/scripted-n2"


async def test_a_stream_that_is_cut_ends_with_an_error_and_without_an_end(http: httpx2.AsyncClient) -> None:
    body = RICH | {"model": "claude/scripted-cut-at-3", "stream": True}
    answer = await http.post("/v1/messages", json=body)
    assert answer.text.count("event: content_block_delta") == 3
    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert re.match(r'event: error\ndata: \{"type":"error","error":\{"type":"api_error","message":"[^"]+"\}', last)
    assert "message_stop" not in answer.text


async def test_a_client_that_leaves_closes_the_upstream_streamed_or_not(
    http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    for stream in (True, False):
        number = len(upstream.calls)
        body = RICH | {"model": "claude/scripted-n400-d50", "stream": stream}
        with anyio.move_on_after(0.5):
            await http.post("/v1/messages", json=body)
        left = anyio.current_time()
        call = await upstream.call(number)
        with anyio.fail_after(5):
            await call.ended.wait()
        assert call.outcome == "closed-by-client"
        assert anyio.current_time() - left < 0.25
