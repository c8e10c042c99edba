"""The scripted Realtime provider says only what the `openai` package's types know."""

from typing import Any

import pytest
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.support.realtime_events import Spelling

Event = dict[str, Any]
GA: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)
BETA: TypeAdapter[BetaServerEvent] = TypeAdapter(BetaServerEvent)
ITEM: Event = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
TOOL: Event = {"type": "function", "name": "f", "parameters": {}}
ASKED: list[Event] = [
    {"type": "conversation.item.create", "item": ITEM},
    {"type": "input_audio_buffer.append", "audio": ""},
    {"type": "input_audio_buffer.commit"},
    {"type": "conversation.item.truncate", "item_id": "item_1", "content_index": 0, "audio_end_ms": 20},
    {"type": "response.cancel"},
    {"type": "unknown"},
    {"type": "response.create"},
    {"type": "response.create"},
]


@pytest.mark.parametrize("beta", [False, True])
@pytest.mark.parametrize("script", ["realtime", "realtime-call-n5"])
def test_every_event_fits_its_type(script: str, beta: bool) -> None:  # noqa: FBT001 - a case
    spelling = Spelling(script, beta=beta)
    update = {"tools": [TOOL]} if beta else {"type": "realtime", "tools": [TOOL]}
    said = spelling.answer({"type": "session.update", "session": update})
    for event in ASKED:
        said += spelling.answer(event)
    said += list(spelling.generation())
    for event in said:
        if "session" in event:
            event["session"]["model"] = "gpt-4o-realtime-preview"  # one that the beta types know
        (BETA if beta else GA).validate_python(event)
    assert ("call" in script) == any("function_call_arguments" in event["type"] for event in said)
    assert said[-1]["response"]["status"] == "completed"


FOREIGN: list[tuple[bool, Event]] = [
    (False, {"temperature": 1}),
    (False, {"modalities": []}),
    (True, {"type": "realtime"}),
]


@pytest.mark.parametrize(("beta", "given"), FOREIGN)
def test_the_other_dialect_is_refused(beta: bool, given: Event) -> None:  # noqa: FBT001 - a case
    (error,) = Spelling("realtime", beta=beta).answer({"type": "session.update", "session": given})
    assert error["error"]["code"] == "unknown_parameter"
