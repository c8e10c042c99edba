"""What a session in text may be set to, what it shows of that, and what one response changes."""

from typing import Any

import pytest

from chatbackend.domain.models import FunctionTool, ToolChoice
from chatbackend.domain.realtime import Terms
from tests.support.realtime_talk import Talk, kinds

LOOK = {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}
# As agents-realtime sends it, in text mode too.
SOUND = {
    "input": {
        "format": {"type": "audio/pcm", "rate": 24000},
        "noise_reduction": None,
        "transcription": {"model": "gpt-4o-mini-transcribe"},
        "turn_detection": {"type": "semantic_vad"},
    },
    "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "ash", "speed": 1},
}
DEFAULTS = {
    "output_modalities": ["text"],
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "truncation": "auto",
}


def updated(talk: Talk, **session: object) -> dict[str, Any]:
    """Return what a session shows once it was updated."""
    [event] = talk.send("session.update", session={"type": "realtime", **session})
    assert event["type"] == "session.updated", event
    shown = event["session"]
    return {name: value for name, value in shown.items() if name not in ("type", "object", "id", "model")}


def test_a_session_begins_with_what_it_is() -> None:
    session = Talk("claude/opus").opened[0]["session"]
    head = {"type": "realtime", "object": "realtime.session", "id": "sess_1", "model": "claude/opus"}
    assert session == {**head, **DEFAULTS}


def test_settings_are_shown_and_reach_the_model() -> None:
    talk = Talk()
    changes = {"instructions": "Be brief.", "tools": [LOOK], "max_output_tokens": 7, "parallel_tool_calls": False}
    changes |= {"tool_choice": "required", "reasoning": {"effort": "low"}, "truncation": "disabled"}
    assert updated(talk, **changes) == DEFAULTS | changes
    request = talk.asked[talk.create()]
    assert (request.model, request.instructions, request.max_output_tokens) == ("claude/m", "Be brief.", 7)
    assert request.tools == [FunctionTool("look", "Looks.", {"type": "object"})]
    assert (request.tool_choice, request.parallel_tool_calls) == (ToolChoice("required"), False)
    assert (request.reasoning_effort, request.keeps) == ("low", None)


def test_a_session_that_nobody_set_asks_with_nothing_set() -> None:
    talk = Talk()
    request = talk.asked[talk.create()]
    assert (request.instructions, request.tools, request.max_output_tokens) == (None, [], None)


def test_an_update_changes_what_it_names_and_null_resets() -> None:
    talk = Talk()
    updated(talk, instructions="A", tools=[LOOK], max_output_tokens=7, reasoning={"effort": "low"})
    assert updated(talk, instructions="B")["tools"] == [LOOK]
    cleared = updated(talk, instructions=None, tools=[], max_output_tokens=None, reasoning=None, tool_choice=None)
    assert cleared == DEFAULTS


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "look"}, ToolChoice("function", "look")),
    ],
)
def test_every_tool_choice_is_read_and_shown_as_it_came(choice: object, read: ToolChoice) -> None:
    talk = Talk()
    assert updated(talk, tools=[LOOK], tool_choice=choice)["tool_choice"] == choice
    assert talk.asked[talk.create()].tool_choice == read


def test_sound_traces_and_what_else_has_no_effect_here_are_taken() -> None:
    ignored = {"audio": SOUND, "include": ["item.input_audio_transcription.logprobs"], "tracing": "auto"}
    assert updated(Talk(), **ignored, model="claude/m", prompt=None, output_modalities=["text"]) == DEFAULTS


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"type": "transcription"}, "unsupported_value", "session.type"),
    ({"type": None}, "unsupported_value", "session.type"),
    ({"model": "other"}, "model_not_allowed", "session.model"),
    ({"output_modalities": ["audio"]}, "unsupported_value", "session.output_modalities"),
    ({"output_modalities": ["text", "audio"]}, "unsupported_value", "session.output_modalities"),
    ({"output_modalities": []}, "unsupported_value", "session.output_modalities"),
    ({"temperature": 0.7}, "unknown_parameter", "session.temperature"),
    ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "session.prompt"),
    ({"instructions": 7}, None, "session.instructions"),
    ({"audio": "loud"}, None, "session.audio"),
    ({"max_output_tokens": 0}, None, "session.max_output_tokens"),
    ({"max_output_tokens": "many"}, None, "session.max_output_tokens"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "unsupported_tool", "session.tools"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools"),
    ({"tool_choice": "sometimes"}, None, "session.tool_choice"),
    ({"tool_choice": {"type": "mcp", "server_label": "x"}}, None, "session.tool_choice"),
    ({"truncation": {"type": "retention_ratio", "retention_ratio": 0.8}}, None, "session.truncation"),
]


@pytest.mark.parametrize(("session", "code", "param"), REFUSED)
def test_what_a_session_cannot_be_is_refused_whole_by_its_name(
    session: dict[str, Any], code: str | None, param: str
) -> None:
    talk = Talk()
    given = {"type": "realtime", "instructions": "New.", **session}
    assert talk.refusal("session.update", session=given) == (code, param)
    assert updated(talk) == DEFAULTS


def test_a_session_update_without_a_session_is_refused() -> None:
    assert Talk().refusal("session.update") == ("missing_required_parameter", "session")


def test_a_response_changes_settings_for_itself_alone() -> None:
    talk = Talk()
    updated(talk, instructions="Session.", tools=[LOOK])
    [created] = talk.send(
        "response.create",
        response={"instructions": "Once.", "tools": [], "max_output_tokens": 5, "metadata": {"a": "b"}, "audio": SOUND},
    )
    shown = created["response"]
    assert (shown["max_output_tokens"], shown["metadata"], shown["output_modalities"]) == (5, {"a": "b"}, ["text"])
    request = talk.asked[shown["id"]]
    assert (request.instructions, request.tools, request.max_output_tokens) == ("Once.", [], 5)
    talk.end(shown["id"])
    assert talk.asked[talk.create()].instructions == "Session."


@pytest.mark.parametrize(
    ("response", "code", "param"),
    [
        ({"temperature": 1}, "unknown_parameter", "response.temperature"),
        ({"truncation": "auto"}, "unknown_parameter", "response.truncation"),
        ({"output_modalities": ["audio"]}, "unsupported_value", "response.output_modalities"),
        ({"conversation": "conv_1"}, None, "response.conversation"),
        ({"metadata": {"a": 1}}, None, "response.metadata"),
        ({"metadata": {str(number): "" for number in range(17)}}, None, "response.metadata"),
        ({"input": "Hi"}, None, "response.input"),
        ({"tool_choice": "required"}, None, "tool_choice"),
        ({"tool_choice": {"type": "function", "name": "look"}}, None, "tool_choice"),
    ],
)
def test_a_response_that_cannot_be_is_refused_and_none_begins(
    response: dict[str, Any], code: str | None, param: str
) -> None:
    talk = Talk()
    assert talk.refusal("response.create", response=response) == (code, param)
    assert (talk.asked, talk.bridge.busy) == ({}, False)


def test_a_response_needs_no_settings_at_all() -> None:
    talk = Talk()
    [created] = talk.send("response.create")
    assert created["response"]["max_output_tokens"] == "inf"


def test_a_session_begins_as_its_credential_says_and_may_be_changed() -> None:
    begun = {"instructions": "Sing.", "tools": [LOOK], "audio": SOUND}
    talk = Talk(terms=Terms(session=begun))
    [created] = talk.opened
    assert (created["session"]["instructions"], created["session"]["tools"]) == ("Sing.", [LOOK])
    assert updated(talk, instructions="Hum.")["tools"] == [LOOK]
    assert talk.asked[talk.create()].instructions == "Hum."


def test_what_a_session_cannot_begin_with_is_an_error_behind_its_creation() -> None:
    talk = Talk(terms=Terms(session={"instructions": "Sing.", "output_modalities": ["audio"]}))
    assert kinds(talk.opened) == ["session.created", "error"]
    assert talk.opened[1]["error"]["param"] == "session.output_modalities"
    assert updated(talk) == DEFAULTS


def test_instructions_of_the_server_go_before_the_clients_and_are_never_shown() -> None:
    talk = Talk(terms=Terms(instructions="Canary."))
    shown = [*talk.opened, updated(talk, instructions="Sing.")]
    for response, told in (({}, "Canary.\n\nSing."), ({"instructions": "Hum."}, "Canary.\n\nHum.")):
        response_id = talk.create(**response)
        assert talk.asked[response_id].instructions == told
        shown += talk.end(response_id)
    shown.append(updated(talk, instructions=""))
    assert talk.asked[talk.create()].instructions == "Canary."
    assert "Canary" not in str(shown)


def test_a_clients_tools_are_those_of_the_list() -> None:
    talk = Talk(terms=Terms(client_tools=("look",)))
    given = {"type": "realtime", "tools": [LOOK, LOOK | {"name": "leap"}]}
    assert talk.refusal("session.update", session=given) == ("tool_not_allowed", "session.tools")
    given.pop("type")
    assert talk.refusal("response.create", response=given) == ("tool_not_allowed", "response.tools")
    assert updated(talk, tools=[LOOK])["tools"] == [LOOK]
    assert updated(talk, instructions="Sing.")["tools"] == [LOOK]
