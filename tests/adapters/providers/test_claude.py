"""The Anthropic Messages codec: what goes over the wire, and that thinking survives the round trip."""

import json
from typing import Any

import pytest

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.providers.families.claude import CLAUDE
from chatbackend.adapters.providers.family import profile_of
from chatbackend.domain.errors import UpstreamError, UpstreamOverloaded
from chatbackend.domain.items import FunctionCall, InputText, Item, Message, Reasoning, ReasoningText
from chatbackend.domain.models import ModelProfile, ModelRequest, TextFormat
from tests.adapters.providers.heard import hear, replay_for, sse

CODEC = ClaudeCodec(ModelProfile())


def test_a_request_carries_the_version_and_asks_for_events() -> None:
    wire = CODEC.request(ModelRequest("m", []))
    assert wire.path == "/v1/messages"
    assert CODEC.profile == ModelProfile(
        refuses=frozenset(("seed", "top_logprobs", "verbosity"))
    )  # what the dialect has no words for
    assert wire.headers["anthropic-version"] == "2023-06-01"
    assert wire.headers["accept"] == "text/event-stream"
    assert json.loads(wire.body)["model"] == "m"


def test_a_whole_answer_is_asked_for_as_json() -> None:
    assert CODEC.request(ModelRequest("m", [], stream=False)).headers["accept"] == "application/json"


def test_a_failure_is_read_from_status_headers_and_body() -> None:
    error = CODEC.error(529, {"retry-after": "3"}, b'{"type": "error", "error": {"type": "overloaded_error"}}')
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == 3


def test_thinking_blocks_survive_the_round_trip() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s+/="},
        {"type": "redacted_thinking", "data": "d+/="},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
    ]
    answer = {"content": blocks, "stop_reason": "tool_use"}
    heard = hear(CODEC.whole(json.dumps(answer).encode(), ModelRequest("m", [])))
    shown = Reasoning("rs_1", content=[ReasoningText(heard.thoughts)], encrypted_content=heard.seals[0])
    hidden = Reasoning("rs_2", encrypted_content=heard.seals[1])
    call_id, name, arguments = heard.calls[2]
    items: list[Item] = [
        Message("msg_1", "user", [InputText("hi")]),
        shown,
        hidden,
        FunctionCall("fc", call_id, name, arguments),
    ]
    assert json.loads(CODEC.request(ModelRequest("m", items)).body)["messages"][1:] == [
        {"role": "assistant", "content": blocks}
    ]


def test_claude_constrains_by_closed_schemas_only() -> None:
    codec = ClaudeCodec(profile_of(CLAUDE, "claude-sonnet-4-5"))
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    asked = [
        json.loads(codec.request(ModelRequest("m", [], text_format=TextFormat("json_schema", "n", shape))).body)
        for shape in (schema, schema | {"additionalProperties": False})
    ]
    assert "output_config" not in asked[0]
    assert "JSON schema" in asked[0]["system"]
    assert asked[1]["output_config"]["format"]["schema"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        ("claude-3-haiku-20240307", ("none", "tool", True, 4_096)),
        ("claude-3-5-sonnet-latest", ("none", "tool", True, 8_192)),
        ("claude-3-7-sonnet-20250219", ("budget", "tool", True, 64_000)),
        ("claude-sonnet-4-20250514", ("budget", "tool", True, 64_000)),
        ("claude-opus-4-20250514", ("budget", "tool", True, 32_000)),
        ("claude-opus-4-1-20250805", ("budget", "native", True, 32_000)),
        ("claude-sonnet-4-5-20250929", ("budget", "native", True, 64_000)),
        ("claude-haiku-4-5", ("budget", "native", True, 64_000)),
        ("claude-opus-4-6", ("adaptive", "native", False, 64_000)),
        ("claude-opus-4-8", ("adaptive", "native", False, 64_000)),
        ("claude-sonnet-5", ("adaptive", "native", False, 64_000)),
        ("anthropic.claude-opus-4-5-20251101-v1:0", ("budget", "native", True, 64_000)),
    ],
)
def test_facts_follow_from_a_models_name(model: str, facts: tuple[str, str, bool, int]) -> None:
    profile = profile_of(CLAUDE, model)
    assert (profile.thinking, profile.structured, profile.accepts_prefill, profile.max_output_tokens) == facts


def test_an_older_model_answers_json_by_a_tool_and_it_is_checked() -> None:
    codec = ClaudeCodec(profile_of(CLAUDE, "claude-3-5-haiku-latest"))
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    request = ModelRequest("m", [], text_format=TextFormat("json_schema", "n", schema))
    body = json.loads(codec.request(request).body)
    assert body["tool_choice"] == {"type": "tool", "name": "chatbackend_answer"}
    assert [tool["input_schema"] for tool in body["tools"]] == [schema]
    block = {"type": "tool_use", "id": "a", "name": "chatbackend_answer", "input": {"x": 1}}
    heard = hear(codec.whole(json.dumps({"content": [block], "stop_reason": "tool_use"}).encode(), request))
    assert (heard.text, heard.tools, heard.finish) == ('{"x": 1}', [], "stop")
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {**block, "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    with pytest.raises(UpstreamError, match="does not match"):
        replay_for(codec, request, sse(*map(json.dumps, events)))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "length"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "refusal"),
    ],
)
def test_every_reason_to_stop_is_known(reason: str, finish: str) -> None:
    assert hear(
        CODEC.whole(json.dumps({"content": [], "stop_reason": reason}).encode(), ModelRequest("m", []))
    ).finish == (finish)
