"""The same server over aimock, an OpenAI-compatible and Anthropic-shaped server that others wrote."""

import json
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses.response_input_param import FunctionCallOutput

from tests.support import readme, sdk
from tests.support.aimock import aimock
from tests.support.sdk import TRANSPORTS, Transport, ask
from tests.support.server import Server

pytestmark = pytest.mark.anyio

FAMILIES = ("openai", "llama31", "claude")
ANSWER = "The reactor coolant must be replaced every 14 months.【1】 Nothing else is said."
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
    "strict": False,
}
FIXTURES: list[dict[str, Any]] = [
    {"match": {"userMessage": "coolant"}, "response": {"content": ANSWER}},
    {"match": {"hasToolResult": True}, "response": {"content": "It rains in Oslo."}},
    {
        "match": {"userMessage": "weather"},
        "response": {"toolCalls": [{"name": "get_weather", "arguments": '{"place":"Oslo"}'}]},
    },
    {
        "match": {"userMessage": "busy"},
        "response": {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429},
    },
    {
        "match": {"userMessage": "break"},
        "response": {"content": "This answer never gets to its end."},
        "truncateAfterChunks": 6,
        "latency": 20,
    },
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with aimock(tmp_path_factory.mktemp("aimock"), FIXTURES) as url:
        endpoints = {
            "OPENAI_ENDPOINT": f"{url}/v1",
            "OPENAI_API_KEY": "sk-mock",
            "LLAMA31_ENDPOINT": f"{url}/v1",
            "CLAUDE_ENDPOINT": url,
            "CLAUDE_API_KEY": "sk-mock",
        }
        with Server(tmp_path_factory.mktemp("server"), endpoints) as server:
            yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


@pytest.mark.parametrize("family", FAMILIES)
def test_the_readmes_file_question_is_answered_with_a_true_citation(
    running: Server, tmp_path: Path, family: str
) -> None:
    manual = readme.write_manual(tmp_path)
    printed = readme.ask_the_file(running, manual, model=f"{family}/any")
    answer, _, _ = printed.partition("\n[")
    assert answer == ANSWER.replace("【1】", "")
    assert readme.check_sources(running, manual, printed) == 1
    assert "The reactor coolant must be replaced every 14 months.'" in printed


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_function_call_makes_the_round_trip(
    client: openai.AsyncOpenAI, family: str, transport: Transport
) -> None:
    request: dict[str, Any] = {"model": f"{family}/any", "tools": [TOOL]}
    first = await ask(client, transport, input="How is the weather?", **request)
    [call] = first.response.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"place": "Oslo"}
    output = FunctionCallOutput(type="function_call_output", call_id=call.call_id, output="rain")
    second = await ask(client, transport, input=[output], previous_response_id=first.response.id, **request)
    assert second.response.output_text == "It rains in Oslo."
    assert second.response.usage is not None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("question", "code", "text"), [("busy", "rate_limit_exceeded", ""), ("break", "server_error", "This answer")]
)
async def test_its_failures_are_failed_responses(
    client: openai.AsyncOpenAI, *, family: str, question: str, code: str, text: str
) -> None:
    said = await ask(client, "sse", model=f"{family}/any", input=question)
    assert said.response.status == "failed"
    assert said.response.error is not None
    assert said.response.error.code == code
    assert said.deltas == said.response.output_text
    assert said.response.output_text.startswith(text)
