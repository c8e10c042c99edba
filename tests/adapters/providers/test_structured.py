"""JSON as an answer: asked for in the provider's way, and checked where that is not the provider's own."""

import json
from typing import Any

import pytest

from chatbackend.adapters.providers.chat.request import request_body
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.providers.structured import TOOL, Structured
from chatbackend.domain.errors import InvalidRequest, UpstreamError
from chatbackend.domain.events import (
    Cited,
    Finished,
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import UrlCitation
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat, ToolChoice
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import hear, replay_for, sse

CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OSLO = '{"city": "Oslo"}'
BY_SCHEMA, ANY = TextFormat("json_schema", "city", CITY), TextFormat("json_object")
PROMPTED, TOOLED = ModelProfile(structured="prompt"), ModelProfile(structured="tool")
F = FunctionTool("f")


def body(profile: ModelProfile, wanted: TextFormat = BY_SCHEMA, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return request_body(ModelRequest("m", [], text_format=wanted, **fields), profile)


def checked(*events: ModelEvent, by_tool: bool = False) -> list[ModelEvent]:
    step = Structured(CITY, by_tool=by_tool)
    return [made for event in events for made in step.take([event])]


def text(*pieces: str, reason: FinishReason = "stop") -> list[ModelEvent]:
    return [*map(TextDelta, pieces), Finished(reason)]


def called(arguments: str, name: str = TOOL, index: int = 0) -> list[ModelEvent]:
    return [ToolCallStarted("c", name, index), ToolCallDelta(arguments, index)]


def test_a_provider_that_knows_formats_is_told_the_format() -> None:
    assert body(ModelProfile())["response_format"]["json_schema"]["schema"] == CITY
    assert body(ModelProfile(), ANY)["response_format"] == {"type": "json_object"}


def test_what_a_provider_cannot_constrain_by_is_asked_for_in_words_and_checked() -> None:
    closed_only = ModelProfile(accepts_open_schemas=False)
    assert "It has to match this JSON schema" in body(closed_only)["messages"][0]["content"]
    closed = TextFormat("json_schema", "city", CITY | {"additionalProperties": False})
    assert body(closed_only, closed)["response_format"]["type"] == "json_schema"
    assert body(closed_only, extra_dialect="messages")["response_format"]["type"] == "json_schema"
    request = ModelRequest("m", [], text_format=BY_SCHEMA)
    with pytest.raises(UpstreamError, match="does not match"):
        replay_for(
            ChatCodec(closed_only), request, sse('{"choices":[{"delta":{"content":"{}"},"finish_reason":"stop"}]}')
        )


def test_a_model_is_told_in_words() -> None:
    found = body(PROMPTED, instructions="Be brief.")
    assert "response_format" not in found
    [system] = found["messages"]
    assert system["content"].startswith("Be brief.\n\nAnswer with one JSON value and nothing else")
    assert json.loads(system["content"].rpartition("\n")[2]) == CITY


@pytest.mark.parametrize("profile", [ModelProfile(accepts_json_object=False), PROMPTED])
def test_any_object_is_asked_for_in_words(profile: ModelProfile) -> None:
    [system] = body(profile, ANY)["messages"]
    assert "Answer with one JSON object and nothing else" in system["content"]


@pytest.mark.parametrize(
    ("fields", "names", "choice"),
    [
        ({}, [TOOL], {"type": "function", "function": {"name": TOOL}}),
        ({"tools": [F]}, ["f", TOOL], "required"),
        (
            {"tools": [F], "tool_choice": ToolChoice("none")},
            ["f", TOOL],
            {"type": "function", "function": {"name": TOOL}},
        ),
        (
            {"tools": [F], "tool_choice": ToolChoice("function", "f")},
            ["f", TOOL],
            {"type": "function", "function": {"name": "f"}},
        ),
    ],
)
def test_a_model_is_given_a_tool_that_takes_the_answer(
    fields: dict[str, Any], names: list[str], choice: object
) -> None:
    found = body(TOOLED, **fields)
    assert [tool["function"]["name"] for tool in found["tools"]] == names
    assert found["tools"][-1]["function"]["parameters"] == CITY
    assert found["tool_choice"] == choice


@pytest.mark.parametrize(
    ("schema", "fields"), [({"type": "array"}, {}), ({}, {}), (CITY, {"reasoning_effort": "low"}), (None, {})]
)
def test_what_no_tool_can_take_is_asked_for_in_words(schema: dict[str, Any] | None, fields: dict[str, Any]) -> None:
    found = body(TOOLED, TextFormat("json_schema", "x", schema), **fields)
    assert "tools" not in found
    assert "JSON schema" in found["messages"][0]["content"]


@pytest.mark.parametrize(
    ("profile", "wanted", "code"),
    [
        (ModelProfile(structured="none"), BY_SCHEMA, "unsupported_by_model"),
        (ModelProfile(structured="none"), ANY, "unsupported_by_model"),
        (PROMPTED, TextFormat("json_schema", "x", {"type": "cty"}), None),
    ],
)
def test_a_format_that_cannot_be_had_is_refused(profile: ModelProfile, wanted: TextFormat, code: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        body(profile, wanted)
    assert (refused.value.code, refused.value.param) == (code, "response_format")


@pytest.mark.parametrize("said", [OSLO, f"```json\n{OSLO}\n```", f"\n```\n{OSLO}```\n", f" {OSLO}\n"])
def test_an_answer_that_matches_passes_without_its_fence(said: str) -> None:
    assert json.loads(hear(checked(*text(*said))).text) == {"city": "Oslo"}
    assert "`" not in hear(checked(*text(said))).text


def test_nothing_is_said_before_it_is_known_to_match() -> None:
    assert checked(*text(*OSLO)[:-1]) == []


def test_an_answer_that_needs_no_mending_keeps_its_pieces_and_citations() -> None:
    cited = Cited(UrlCitation("https://x", "X", 0, 1))
    events: list[ModelEvent] = [TextDelta(OSLO[:5], 0, [{"token": "x"}]), TextDelta(OSLO[5:]), cited, Finished("stop")]
    assert checked(*events) == events
    fenced: list[ModelEvent] = [TextDelta(f"```\n{OSLO}\n```"), cited, Finished("stop")]
    assert checked(*fenced) == [TextDelta(OSLO), Finished("stop")]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Sure! " + OSLO, "is no JSON"),
        ("", "is no JSON"),
        ("```json", "is no JSON"),
        ('{"city": 7}', "does not match the schema at $.city"),
        ("[" * 5000, "is no JSON"),
    ],
)
def test_an_answer_that_does_not_match_is_an_error(said: str, words: str) -> None:
    with pytest.raises(UpstreamError) as failed:
        checked(*text(said))
    assert failed.value.code == "invalid_structured_output"
    assert words in failed.value.message


@pytest.mark.parametrize("reason", ["length", "content_filter", "refusal", "tool_calls"])
def test_an_answer_that_is_not_whole_is_what_it_is(reason: FinishReason) -> None:
    assert checked(*text('{"ci', reason=reason)) == text('{"ci', reason=reason)


def test_what_is_no_text_passes_at_once() -> None:
    events: list[ModelEvent] = [ReasoningDelta("hm"), UsageReported(Usage(1, 1)), *called("{}", "f")]
    assert checked(*events) == events


def test_the_tools_arguments_are_the_answer() -> None:
    events = [TextDelta("I will answer."), *called(OSLO[:4]), ToolCallDelta(OSLO[4:], 0), Finished("tool_calls")]
    assert checked(*events, by_tool=True) == text(OSLO)


def test_the_tools_arguments_are_checked() -> None:
    with pytest.raises(UpstreamError, match="does not match"):
        checked(*called("{}"), Finished("tool_calls"), by_tool=True)


def test_arguments_that_were_cut_are_the_beginning_of_an_answer() -> None:
    assert checked(*called('{"ci'), Finished("length"), by_tool=True) == text('{"ci', reason="length")


def test_calls_of_the_callers_functions_come_first() -> None:
    events = [*called(OSLO), *called("{}", "f", 1), Finished("tool_calls")]
    assert checked(*events, by_tool=True) == [*called("{}", "f", 1), Finished("tool_calls")]


def test_the_codec_checks_streams_and_whole_answers() -> None:
    codec, request = ChatCodec(PROMPTED), ModelRequest("m", [], text_format=BY_SCHEMA)
    chunk = json.dumps({"choices": [{"delta": {"content": f"```\n{OSLO}\n```"}, "finish_reason": "stop"}]})
    assert hear(replay_for(codec, request, sse(chunk, "[DONE]"))).text == OSLO
    assert hear(replay_for(codec, request, sse(chunk))).text == OSLO
    whole = json.dumps({"choices": [{"message": {"content": "Oslo"}, "finish_reason": "stop"}]}).encode()
    with pytest.raises(UpstreamError, match="is no JSON"):
        codec.whole(whole, request)


def test_the_responses_dialect_is_checked_the_same_way() -> None:
    codec, request = ResponsesCodec(PROMPTED), ModelRequest("m", [], text_format=BY_SCHEMA)
    item = {"type": "message", "content": [{"type": "output_text", "text": f"```\n{OSLO}\n```"}]}
    response = {"status": "completed", "output": [item]}
    assert hear(codec.whole(json.dumps(response).encode(), request)).text == OSLO
    done = json.dumps({"type": "response.completed", "response": response})
    assert hear(replay_for(codec, request, sse(done))).text == OSLO
