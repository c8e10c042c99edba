"""`POST /v1/messages` over a real server, spoken by Anthropic's own SDK, over providers of other dialects."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any, cast

import anyio.to_thread
import pytest
from anthropic import AsyncAnthropic, BadRequestError
from anthropic.types import (
    ImageBlockParam,
    Message,
    MessageParam,
    OutputConfigParam,
    ToolChoiceParam,
    ToolParam,
    ToolResultBlockParam,
    WebSearchTool20250305Param,
)

from tests.support import claude_sdk
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SAY_ON: list[MessageParam] = [{"role": "user", "content": "say on"}]
TOOLS: list[ToolParam] = [
    {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}},
    {"name": "look", "input_schema": {"type": "object", "properties": {"where": {"type": "string"}}}},
]


@pytest.mark.parametrize("provider", ["openai", "llama31"])
async def test_a_whole_answer_is_a_message(provider: str, claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    raw = await claude.messages.with_raw_response.create(
        model=f"{provider}/scripted-n5", max_tokens=50, messages=SAY_ON
    )
    message, call = await raw.parse(), await upstream.call(number)
    assert message.id.startswith("msg_")
    assert message.model == f"{provider}/scripted-n5"
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "".join(f"{call.salt}:{n} " for n in range(5)), "citations": None}
    ]
    assert message.stop_reason == "end_turn"
    assert call.usage == {"input_tokens": message.usage.input_tokens, "output_tokens": message.usage.output_tokens}
    assert raw.headers["x-chatbackend-deployment"] == message.model
    assert raw.headers["x-chatbackend-attempts"] == "1"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]


@pytest.mark.parametrize("provider", ["openai", "llama31"])
async def test_a_stream_adds_up_to_the_same_message(provider: str, claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    async with claude.messages.stream(model=f"{provider}/scripted-n5", max_tokens=50, messages=SAY_ON) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    call = await upstream.call(number)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert message.content[0].type == "text"
    assert message.content[0].text == "".join(f"{call.salt}:{n} " for n in range(5))
    assert message.stop_reason == "end_turn"
    assert call.usage == {"input_tokens": message.usage.input_tokens, "output_tokens": message.usage.output_tokens}


async def test_the_synchronous_client_is_served_too(running: Server) -> None:
    def asked() -> tuple[Message, str, int]:
        with claude_sdk.client(running) as client:
            message = client.messages.create(model="openai/scripted-n2", max_tokens=50, messages=SAY_ON)
            with client.messages.stream(model="openai/scripted-n2", max_tokens=50, messages=SAY_ON) as stream:
                text = "".join(stream.text_stream)
            return message, text, client.messages.count_tokens(model="local", messages=SAY_ON).input_tokens

    message, text, tokens = await anyio.to_thread.run_sync(asked)
    assert len(text_of(message).split()) == len(text.split()) == 2
    assert tokens > 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_tools_are_called_and_their_results_go_back(
    claude: AsyncAnthropic, upstream: Upstream, streamed: object
) -> None:
    number = len(upstream.calls)
    first = await answered(claude, streamed=bool(streamed), model="openai/tool-call", tools=TOOLS)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [(call.name, sorted(call.input)) for call in calls] == [("add", ["a"]), ("look", ["where"])]
    results: list[ToolResultBlockParam] = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "three"},
        {"type": "tool_result", "tool_use_id": calls[1].id, "content": "nowhere", "is_error": True},
    ]
    turns: list[MessageParam] = [*SAY_ON, first.to_param(), {"role": "user", "content": results}]
    second = await answered(claude, streamed=bool(streamed), model="openai/tool-call", tools=TOOLS, messages=turns)
    assert second.stop_reason == "end_turn"
    asked = (await upstream.call(number + 1)).asked.messages
    ids = [call.id for call in calls]
    assert [call["id"] for call in asked[1]["tool_calls"]] == ids
    assert [(each["tool_call_id"], each["content"]) for each in asked[2:]] == [
        (ids[0], "three"),
        (ids[1], "The tool failed:\nnowhere"),
    ]


async def test_one_tool_is_called_where_parallel_calls_are_off(claude: AsyncAnthropic) -> None:
    choice: ToolChoiceParam = {"type": "any", "disable_parallel_tool_use": True}
    message = await answered(claude, model="openai/tool-call", tools=TOOLS, tool_choice=choice)
    assert [block.type for block in message.content if block.type == "tool_use"] == ["tool_use"]


async def test_images_reach_another_provider(claude: AsyncAnthropic) -> None:
    image: ImageBlockParam = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": b64encode(b"png").decode()},
    }
    message = await answered(
        claude, model="openai/image", messages=[{"role": "user", "content": [image, {"type": "text", "text": "?"}]}]
    )
    assert "image/png of 3 bytes" in text_of(message)


async def test_thinking_is_shown_and_stays_with_its_provider(claude: AsyncAnthropic) -> None:
    message = await answered(claude, streamed=True, model="llama31/reason-n2")
    assert [block.type for block in message.content] == ["thinking", "text"]


async def test_a_demanded_shape_reaches_another_provider(claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    schema: dict[str, object] = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    config: OutputConfigParam = {"format": {"type": "json_schema", "schema": schema}}
    message = await answered(claude, model="openai/json", output_config=config)
    assert set(json.loads(text_of(message))) == {"colour"}
    assert (await upstream.call(number)).asked.body["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(("script", "reason"), [("length", "max_tokens"), ("filter", "refusal"), ("refuse", "refusal")])
@pytest.mark.parametrize("streamed", [False, True])
async def test_every_end_is_told(claude: AsyncAnthropic, script: str, reason: str, streamed: object) -> None:
    assert (await answered(claude, streamed=bool(streamed), model=f"openai/{script}-n2")).stop_reason == reason


async def test_what_only_claude_knows_is_refused_by_name_elsewhere(claude: AsyncAnthropic) -> None:
    search: WebSearchTool20250305Param = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(BadRequestError, match="tools"):
        await claude.messages.create(model="openai/x", max_tokens=9, messages=SAY_ON, tools=[search])
    with pytest.raises(BadRequestError, match="top_k"):
        await claude.messages.create(model="openai/x", max_tokens=9, messages=SAY_ON, extra_body={"top_k": 3})


async def test_usage_that_is_not_told_is_estimated_and_says_so(claude: AsyncAnthropic) -> None:
    message = await answered(claude, streamed=True, model="llama31/no-usage-n9")
    assert message.usage.output_tokens > 0
    assert message.usage.model_extra == {"chatbackend_estimated": True}


async def answered(claude: AsyncAnthropic, *, streamed: bool = False, **asked: object) -> Message:
    """Ask over either transport."""
    request: dict[str, Any] = {"max_tokens": 500, "messages": SAY_ON, **asked}
    if not streamed:
        create = cast(Callable[..., Any], claude.messages.create)  # any request, checked by the server
        return cast(Message, await create(**request))
    async with cast(Callable[..., Any], claude.messages.stream)(**request) as stream:
        return cast(Message, await stream.get_final_message())


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")
