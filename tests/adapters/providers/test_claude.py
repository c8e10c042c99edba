"""The Anthropic Messages codec: what goes over the wire, and that thinking survives the round trip."""

import json

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.domain.errors import UpstreamOverloaded
from chatbackend.domain.items import FunctionCall, Item, Reasoning, ReasoningText
from chatbackend.domain.models import ModelProfile, ModelRequest
from tests.adapters.providers.heard import hear

CODEC = ClaudeCodec(ModelProfile())


def test_a_request_carries_the_version_and_asks_for_events() -> None:
    wire = CODEC.request(ModelRequest("m", []))
    assert wire.path == "/v1/messages"
    assert CODEC.profile == ModelProfile()
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
    items: list[Item] = [shown, hidden, FunctionCall("fc", call_id, name, arguments)]
    assert json.loads(CODEC.request(ModelRequest("m", items)).body)["messages"] == [
        {"role": "assistant", "content": blocks}
    ]
