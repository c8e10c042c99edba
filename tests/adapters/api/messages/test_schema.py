"""What is written is what the API's description says."""

from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator

from chatbackend.adapters.api import openapi
from chatbackend.adapters.api.messages.writing import MessageWriter
from chatbackend.domain.events import Finished, FinishReason, RefusalDelta, TextDelta, ToolCallStarted
from chatbackend.domain.usage import Usage


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "refusal"])
def test_a_message_is_what_its_schema_says(reason: FinishReason) -> None:
    writer = MessageWriter("msg_1", "m", Usage())
    for event in (TextDelta("a"), RefusalDelta("no", 1), ToolCallStarted("c", "add", 2), Finished(reason)):
        writer.feed(event)
    writer.end(Usage(3, 2, reasoning_tokens=1, estimated=True))
    written: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(writer.message()))
    known = openapi.schemas()
    whole = {"$ref": "#/components/schemas/AnthropicMessage", "components": {"schemas": known}}
    OAS31Validator(whole).validate(written)
    assert set(written) == set(known["AnthropicMessage"]["properties"])
    assert set(written["usage"]) == set(known["AnthropicMessage"]["properties"]["usage"]["properties"])
