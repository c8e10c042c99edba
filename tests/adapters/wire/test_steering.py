"""`response.steer` as it comes, and the events that answer it: each one that the SDK knows."""

import json
from typing import Any

import pytest
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from chatbackend.adapters.wire import steering
from chatbackend.adapters.wire.responses_socket import ResponsesSocket, Say
from chatbackend.adapters.wire.steering import Steering
from chatbackend.domain.errors import RateLimited
from chatbackend.domain.items import FunctionCall
from chatbackend.domain.steering import Steer

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
STEER = Steer("steer_1", "resp_1", [], b'"Faster"')


def frame(**fields: object) -> str:
    return json.dumps({"type": "response.steer", "previous_response_id": "resp_1", **fields})


def seen(event: bytes) -> dict[str, Any]:
    SERVER_EVENT.validate_json(event)
    found: dict[str, Any] = json.loads(event)
    return found


def said(**fields: object) -> dict[str, Any]:
    command = ResponsesSocket().receive(frame(**fields))
    assert isinstance(command, Say)
    return seen(command.event)


def test_a_text_and_messages_are_taken() -> None:
    parts = [
        {"type": "input_text", "text": "this", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_file", "file_id": "file-1"},
    ]
    assert ResponsesSocket().receive(frame(input="Faster")) == Steering("resp_1", "Faster")
    command = ResponsesSocket().receive(frame(input=[{"role": "user", "content": parts}]))
    assert command == Steering("resp_1", [{"type": "message", "role": "user", "content": parts}])
    assert isinstance(command, Steering)
    assert json.loads(steering.encoded(command)) == command.given


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": "x", "stream_id": "left"}, "stream_id"),
        ({"input": "x", "model": "m"}, "model"),
        ({"input": []}, "empty"),
        ({"input": ""}, "empty"),
        ({"input": [{"role": "user", "content": "x", "id": "msg_1"}]}, "id"),
    ],
)
def test_a_wrong_command_is_refused_and_its_input_given_back(fields: dict[str, Any], words: str) -> None:
    event = said(**fields)
    assert (event["type"], event["error"]["code"]) == ("response.steer.failed", "invalid_input")
    assert words in event["error"]["message"]
    assert event["steer"]["previous_response_id"] == "resp_1"
    given = event["steer"]["input"]
    assert given == fields["input"] or given == [{"type": "message", **fields["input"][0]}]


@pytest.mark.parametrize(
    "given",
    [
        None,
        7,
        [7],
        [{"role": "system", "content": "x"}],
        [{"type": "function_call_output", "call_id": "c", "output": "x"}],
    ],
)
def test_input_that_the_event_cannot_hold_is_an_error(given: object) -> None:
    event = said(input=given)
    assert (event["type"], event["error"]["code"], event["error"]["param"]) == ("error", "invalid_input", "input")


def test_a_large_wrong_command_is_not_sent_back() -> None:
    assert said(input="x" * steering.MAX_RETURNED, model="m")["type"] == "error"


@pytest.mark.parametrize("target", [None, "", 7])
def test_the_response_has_to_be_named(target: object) -> None:
    event = said(previous_response_id=target, input="x")
    assert (event["type"], event["error"]["param"]) == ("error", "previous_response_id")


def test_the_answers_are_events_of_the_api() -> None:
    accepted = seen(steering.accepted_event(STEER, 7))
    assert (accepted["sequence_number"], accepted["steer"]["id"]) == (7, "steer_1")
    calls = [FunctionCall("fc_1", "call_1", "look", "{}")]
    pending = seen(steering.pending_event(STEER, calls, 9))
    stub = {"type": "function_call_output", "call_id": "call_1", "name": "look"}
    assert (pending["required_input"], pending["reason"]) == ([stub], "waiting_for_required_input")
    early = seen(steering.failed_event(RateLimited("Too many."), "resp_1", b'"x"', -1))
    assert (early["sequence_number"], early["error"]["code"]) == (0, "rate_limit_exceeded")


@pytest.mark.parametrize("failure", ["response_not_active", "successor_creation_failed"])
def test_accepted_input_comes_back_under_its_id(failure: str) -> None:
    event = seen(steering.given_back(Steer("steer_1", "resp_1", [], b'"Faster"', failure=failure), 3))
    assert event["steer"] == {"id": "steer_1", "previous_response_id": "resp_1", "input": "Faster"}
    assert event["error"]["code"] == failure
