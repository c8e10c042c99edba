"""What the API's description says of chats is what is read and written."""

import msgspec
from openapi_schema_validator import OAS31Validator

from chatbackend.adapters.api import openapi
from chatbackend.adapters.api.chat.completion import WholeChoice, completion_object
from chatbackend.adapters.api.chat.deltas import Choice
from chatbackend.domain.events import Finished, ModelEvent, ReasoningDelta, ReasoningSeal, TextDelta, ToolCallStarted
from chatbackend.domain.usage import Usage

EVENTS: list[ModelEvent] = [
    ReasoningDelta("Hm.", 0),
    ReasoningSeal("s", 0),
    TextDelta("Hi", 1),
    ToolCallStarted("call_1", "add", 2),
    Finished("tool_calls"),
]


def test_a_completion_is_what_its_schema_says() -> None:
    choice, whole = Choice(), WholeChoice()
    for event in EVENTS:
        if (new := choice.feed(event)) is not None:
            whole.add(new)
    value = msgspec.to_builtins(completion_object("chatcmpl-1", [whole], Usage(1, 2), created=1, model="m"))
    known = openapi.schemas()
    OAS31Validator({"$ref": "#/components/schemas/ChatCompletion", "components": {"schemas": known}}).validate(value)
    assert set(value) <= set(known["ChatCompletion"]["properties"])
    message = known["ChatCompletion"]["properties"]["choices"]["items"]["properties"]["message"]
    assert set(value["choices"][0]["message"]) <= set(message["properties"])


def test_the_request_is_described_by_the_struct_that_reads_it() -> None:
    known = openapi.schemas()["ChatRequest"]
    assert known["required"] == ["model", "messages"]
    assert {"n", "stop", "tools", "reasoning_effort", "logit_bias"} <= set(known["properties"])
