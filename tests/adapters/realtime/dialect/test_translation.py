"""Beta and GA say the same in other words: what one side says, the other understands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeServerEvent as BetaServerEvent
from openai.types.beta.realtime.session_update_event import Session as BetaSession
from openai.types.realtime import RealtimeServerEvent, RealtimeSessionCreateRequest
from pydantic import TypeAdapter

from chatbackend.adapters.realtime.dialect import sessions
from chatbackend.adapters.realtime.dialect.translation import ProviderWords, client_event, provider_event
from chatbackend.domain.realtime import Dialect
from tests.support.realtime_events import Spelling

Event = dict[str, Any]
GA: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)
BETA: TypeAdapter[BetaServerEvent] = TypeAdapter(BetaServerEvent)
FLAT: Event = {
    "modalities": ["text", "audio"],
    "instructions": "Be brief.",
    "voice": "alloy",
    "input_audio_format": "g711_ulaw",
    "output_audio_format": "pcm16",
    "input_audio_transcription": {"model": "whisper-1"},
    "input_audio_noise_reduction": {"type": "near_field"},
    "turn_detection": None,
    "tools": [{"type": "function", "name": "f"}],
    "tool_choice": "auto",
    "max_response_output_tokens": "inf",
    "speed": 1.1,
    "tracing": "auto",
}
NESTED: Event = {
    "output_modalities": ["audio"],
    "instructions": "Be brief.",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "whisper-1"},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": None,
        },
        "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.1},
    },
    "tools": [{"type": "function", "name": "f"}],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": "auto",
}
PARTS = st.lists(st.sampled_from(sorted(FLAT)), unique=True)


def test_a_configuration_is_the_same_in_both_shapes() -> None:
    assert sessions.to_ga(FLAT) == NESTED
    assert sessions.to_beta(NESTED) == FLAT
    RealtimeSessionCreateRequest.model_validate({"type": "realtime", **NESTED}, strict=True)
    BetaSession.model_validate(FLAT, strict=True)


@given(PARTS)
def test_a_partial_configuration_comes_back_as_it_went(names: list[str]) -> None:
    partial = {name: FLAT[name] for name in names}
    assert sessions.to_beta(sessions.to_ga(partial)) == partial


def test_what_cannot_be_translated_is_left_to_who_reads_it() -> None:
    odd: Event = {"modalities": "x", "input_audio_format": 1, "output_audio_format": "mp3", "unknown": 1}
    told = sessions.to_ga({**odd, "temperature": 0.7})
    assert told == {
        "unknown": 1,
        "output_modalities": "x",
        "audio": {"input": {"format": 1}, "output": {"format": "mp3"}},
    }
    assert sessions.to_beta({"audio": {"input": {"format": {"type": 1}}, "output": 1}}) == {
        "input_audio_format": {"type": 1}
    }


def told(dialect: Dialect, *, to: Dialect, script: str = "realtime-call") -> list[Event]:
    """Return everything that a scripted session says in one dialect, in the other."""
    spelling = Spelling(script, beta=dialect == "beta")
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    said = [spelling.session_event("session.created")]
    said += spelling.answer({"type": "conversation.item.create", "item": item})
    said += spelling.answer({"type": "input_audio_buffer.commit"})
    for _ in range(2):
        spelling.answer({"type": "response.create"})
        said += list(spelling.generation())
        spelling.session["tools"] = [{"type": "function", "name": "f"}]
    said[0]["session"]["model"] = "gpt-4o-realtime-preview"  # one that the beta types know
    words = ProviderWords(to)
    return [event for each in said for event in words(each)]


@pytest.mark.parametrize("script", ["realtime", "realtime-call"])
def test_everything_a_ga_provider_says_is_beta_to_a_beta_client(script: str) -> None:
    events = told("ga", to="beta", script=script)
    for event in events:
        BETA.validate_python(event)
    kinds = {event["type"] for event in events}
    assert {"response.text.delta", "conversation.item.created"} <= kinds
    assert not kinds & {"response.output_text.delta", "conversation.item.added", "conversation.item.done"}
    assert events[0]["session"]["modalities"] == ["text", "audio"]
    assert events[0]["session"]["temperature"] == sessions.TEMPERATURE
    parts = [part for event in events for part in event.get("item", {}).get("content", ())]
    assert {part["type"] for part in parts} == {"input_text", "input_audio", "text"}


@pytest.mark.parametrize("script", ["realtime", "realtime-call"])
def test_everything_a_beta_provider_says_is_ga_to_a_ga_client(script: str) -> None:
    events = told("beta", to="ga", script=script)
    for event in events:
        GA.validate_python(event)
    kinds = [event["type"] for event in events]
    assert kinds.count("conversation.item.added") == kinds.count("conversation.item.done") == 4
    assert kinds.index("conversation.item.done", 6) < kinds.index("response.output_item.done")
    assert events[0]["session"]["audio"]["output"]["voice"] == "alloy"
    dones = [event["response"] for event in events if event["type"] == "response.done"]
    assert dones[0]["output"][0]["content"][0]["type"] == "output_text"
    assert {response["max_output_tokens"] for response in dones} == {"inf"}


def test_an_item_that_is_not_finished_is_only_added() -> None:
    item: Event = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    event: Event = {"type": "conversation.item.created", "event_id": "e", "item": item}
    assert [each["type"] for each in provider_event(event, to="ga")] == ["conversation.item.added"]


def test_a_client_asks_in_the_dialect_of_its_provider() -> None:
    spoken = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "x"}, 1, {"type": 2}]}
    shown = {**spoken, "content": [{"type": "output_text", "text": "x"}, 1, {"type": 2}]}
    asked = {"type": "response.create", "response": {"modalities": ["text"], "voice": "ash", "input": [spoken]}}
    in_ga = {"output_modalities": ["text"], "audio": {"output": {"voice": "ash"}}, "input": [shown]}
    assert client_event(asked, to="ga") == {"type": "response.create", "response": in_ga}
    back = client_event({"type": "response.create", "response": in_ga}, to="beta")["response"]
    assert back["input"] == [{"object": "realtime.item", **spoken}]
    assert client_event({"type": "conversation.item.create", "item": spoken}, to="ga")["item"] == shown
    update = {"type": "session.update", "session": FLAT}
    assert client_event(update, to="ga")["session"] == {"type": "realtime", **NESTED}
    assert client_event({"type": "session.update", "session": {"type": "realtime", **NESTED}}, to="beta") == update


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.update", "session": 1},
        {"type": "response.create", "response": None},
        {"type": "response.create"},
        {"type": "conversation.item.create", "item": "x"},
        {"type": "future.event", "x": 1},
    ],
)
@pytest.mark.parametrize("to", ["ga", "beta"])
def test_what_is_none_of_it_passes_as_it_is(event: Event, to: Dialect) -> None:
    assert client_event(event, to=to) == event


@pytest.mark.parametrize(
    "event",
    [
        {"type": "session.updated", "session": 1},
        {"type": "response.done", "response": None},
        {"type": 7},
        {"type": "conversation.item.retrieved", "item": None},
        {"type": "rate_limits.updated", "rate_limits": []},
    ],
)
@pytest.mark.parametrize("to", ["ga", "beta"])
def test_what_a_provider_says_beside_it_passes_as_it_is(event: Event, to: Dialect) -> None:
    assert provider_event(event, to=to) == [event]


@pytest.mark.parametrize("dialect", ["ga", "beta"])
def test_a_session_for_transcription_says_the_same_in_both_dialects(dialect: Dialect) -> None:
    spelling = Spelling("x", beta=dialect == "beta", transcribes=True)
    to: Dialect = "beta" if dialect == "ga" else "ga"
    said = [spelling.session_event("session.created"), spelling.session_event("session.updated")]
    events = [event for each in said for event in provider_event(each, to=to)]
    names = ["session.created", "session.updated"]
    assert [event["type"] for event in events] == (
        [f"transcription_{name}" for name in names] if to == "beta" else names
    )
    for event in events:
        if to == "ga":
            GA.validate_python(event)
            assert event["session"]["audio"]["input"]["turn_detection"] == {"type": "server_vad"}
        else:
            assert (event["session"]["input_audio_format"], event["session"]["turn_detection"]) == (
                "pcm16",
                {"type": "server_vad"},
            )


def test_an_odd_update_of_a_session_for_transcription_is_left_to_who_reads_it() -> None:
    asked = client_event({"type": "transcription_session.update", "session": 7}, to="ga")
    assert asked == {"type": "session.update", "session": 7}
