"""The scripted Realtime provider says only what the `openai` package's types know."""

from typing import Any

import pytest
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.realtime import RealtimeServerEvent, RealtimeTranslationServerEvent
from pydantic import TypeAdapter

from tests.support.realtime_events import Spelling
from tests.support.realtime_translations import TranslationSpelling

Event = dict[str, Any]
GA: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)
BETA: TypeAdapter[BetaServerEvent] = TypeAdapter(BetaServerEvent)
TRANSLATED: TypeAdapter[RealtimeTranslationServerEvent] = TypeAdapter(RealtimeTranslationServerEvent)
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


@pytest.mark.parametrize("beta", [False, True])
def test_every_event_of_a_session_for_transcription_fits_its_type(beta: bool) -> None:  # noqa: FBT001 - a case
    spelling = Spelling("x", beta=beta, transcribes=True)
    flat = {"type": "transcription_session.update", "session": {"input_audio_transcription": {"model": "whisper-1"}}}
    nested = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    assert len(spelling.answer({"type": "input_audio_buffer.commit"})) < 4
    said = [*spelling.answer(flat if beta else {"type": "session.update", "session": nested})]
    said += [*spelling.answer({"type": "input_audio_buffer.commit"}), *spelling.answer({"type": "response.create"})]
    for event in said:
        if beta and "session" in event:
            event["session"]["client_secret"] = {"value": "", "expires_at": 0}  # of a session made over HTTP
        (BETA if beta else GA).validate_python(event)
    assert said[-1]["type"] == "error"
    assert "conversation.item.input_audio_transcription.delta" in {event["type"] for event in said}


def test_every_event_of_a_translation_fits_its_type() -> None:
    spelling = TranslationSpelling("translate")
    said = [spelling.session_event("session.created")]
    for event in (
        {"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "whisper"}}}}},
        {"type": "session.update", "session": {"model": "x"}},
        {"type": "session.input_audio_buffer.append", "audio": "AAAA"},
        {"type": "response.create"},
        {"type": "session.close"},
    ):
        said += spelling.answer(event)
    for event in said:
        TRANSLATED.validate_python(event)
    assert [event["type"] for event in said][-1] == "session.closed"


FOREIGN: list[tuple[bool, Event]] = [
    (False, {"temperature": 1}),
    (False, {"modalities": []}),
    (True, {"type": "realtime"}),
]


@pytest.mark.parametrize(("beta", "given"), FOREIGN)
def test_the_other_dialect_is_refused(beta: bool, given: Event) -> None:  # noqa: FBT001 - a case
    (error,) = Spelling("realtime", beta=beta).answer({"type": "session.update", "session": given})
    assert error["error"]["code"] == "unknown_parameter"
