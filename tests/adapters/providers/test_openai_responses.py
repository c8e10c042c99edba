"""The Responses codec: what goes over the wire, and that what came back survives the round trip."""

import json
from typing import Any, get_type_hints

from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.answer import Answer
from chatbackend.domain.errors import UpstreamOverloaded
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat
from chatbackend.domain.responses import COMPLETED

CODEC = ResponsesCodec(ModelProfile())
ASKED = ModelRequest("m", [])
Json = dict[str, Any]


def test_a_request_asks_for_events_and_carries_no_credential() -> None:
    wire = CODEC.request(ASKED)
    assert endpoint_url("https://api.openai.com", wire.path) == "https://api.openai.com/v1/responses"
    assert CODEC.profile == ModelProfile(refuses=frozenset(("stop", "seed")))  # what the dialect has no words for
    assert wire.headers == {"content-type": "application/json", "accept": "text/event-stream"}
    assert json.loads(wire.body)["model"] == "m"


def test_every_field_is_one_that_the_sdk_knows() -> None:
    request = ModelRequest(
        "m",
        [],
        instructions="i",
        tools=[FunctionTool("f")],
        parallel_tool_calls=True,
        temperature=1,
        top_p=1,
        max_output_tokens=16,
        top_logprobs=1,
        text_format=TextFormat("json_object"),
        reasoning_effort="low",
        reasoning_summary="auto",
        verbosity="low",
        user="u",
        background=True,
        extra_dialect="responses",
    )
    sent = json.loads(CODEC.request(request).body)
    assert set(sent) <= set(get_type_hints(ResponseCreateParamsStreaming))


def test_a_whole_answer_is_asked_for_as_json() -> None:
    assert CODEC.request(ModelRequest("m", [], stream=False)).headers["accept"] == "application/json"


def test_a_failure_is_read_from_status_headers_and_body() -> None:
    error = CODEC.error(429, {"retry-after": "3"}, b'{"error": {"type": "tokens", "code": "rate_limit_exceeded"}}')
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == 3


def test_an_answer_survives_the_round_trip_but_for_ids() -> None:
    text: Json = {"type": "output_text", "text": "so", "annotations": []}
    output: list[Json] = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "g+/="},
        {"type": "message", "role": "assistant", "content": [text]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"x": 1}'},
    ]
    told: list[Json] = [{"id": f"id_{number}", "status": "completed", **item} for number, item in enumerate(output)]
    answer = Answer(lambda prefix: f"{prefix}_ours")
    for event in CODEC.whole(json.dumps({"status": "completed", "output": told}).encode(), ASKED):
        answer.feed(event)
    answer.close(COMPLETED)
    assert json.loads(CODEC.request(ModelRequest("m", [*answer.items])).body)["input"] == output
