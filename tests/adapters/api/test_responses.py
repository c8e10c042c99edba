"""Requests of the Responses API checked and read, and the response object as the SDK accepts it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.api.checking import MAX_NESTING
from chatbackend.adapters.api.responses import ask, read, read_stored, response_object, usage_object
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.models import FunctionTool, TextFormat, ToolChoice
from chatbackend.domain.responses import Ask, Failure, FileSearch, Response, ResponseStatus
from chatbackend.domain.usage import Usage
from tests.support.model_events import numbered
from tests.support.openai_types import checked_response

ADD = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True, "description": "Adds."}
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}
YEAR = {"type": "eq", "key": "year", "value": 2026}
EVERYTHING: dict[str, Any] = {
    "model": "gpt-x",
    "input": [{"role": "user", "content": "hi"}],
    "instructions": "Be brief.",
    "previous_response_id": "resp_0",
    "store": True,
    "stream": True,
    "background": True,
    "metadata": {"a": "b"},
    "tools": [ADD, {**SEARCH, "max_num_results": 3, "ranking_options": {"score_threshold": 0.5}, "filters": YEAR}],
    "tool_choice": {"type": "function", "name": "add"},
    "parallel_tool_calls": False,
    "max_tool_calls": 3,
    "temperature": 0.5,
    "top_p": 0.9,
    "max_output_tokens": 100,
    "top_logprobs": 2,
    "text": {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    },
    "reasoning": {"effort": "high", "summary": "auto"},
    "include": ["file_search_call.results"],
    "truncation": "auto",
    "user": "anna",
    "safety_identifier": "hash",
    "prompt_cache_key": "k",
    "service_tier": "flex",
    "stream_options": {"include_obfuscation": False},
    "presence_penalty": 0.5,
    "future_field": {"x": 1},
}


def asked(**body: object) -> Ask:
    return ask(read({"model": "m", **body}), numbered())


def shown(request: Ask, status: ResponseStatus = "completed") -> dict[str, Any]:
    principal = Principal("t", "app", "app", "key_1")
    found = Response("resp_1", principal, "m", 1, status, conversation_id=request.conversation_id, shown=request.shown)
    found.failure = Failure("server_error", "x") if status == "failed" else None
    found.usage = Usage(1, 2) if status == "completed" else None
    return checked_response(msgspec.to_builtins(response_object(found)))


def test_a_text_is_one_message_of_the_user() -> None:
    assert asked(input="hi").items == [Message("msg_1", "user", [InputText("hi")])]


def test_everything_that_is_asked_is_read() -> None:
    found = ask(read(EVERYTHING), numbered())
    assert (found.model, found.instructions, found.previous_response_id) == ("gpt-x", "Be brief.", "resp_0")
    assert (found.store, found.background, found.metadata) == (True, True, {"a": "b"})
    assert found.tools == [FunctionTool("add", "Adds.", {"type": "object"}, strict=True)]
    assert found.file_search == FileSearch(("vs_1", "vs_2"), 3, 0.5, YEAR)
    assert (found.tool_choice, found.parallel_tool_calls) == (ToolChoice("function", "add"), False)
    assert (found.temperature, found.top_p, found.max_output_tokens, found.top_logprobs) == (0.5, 0.9, 100, 2)
    assert found.text_format == TextFormat("json_schema", "n", {"type": "object"}, strict=True)
    assert (found.reasoning_effort, found.include_search_results) == ("high", True)
    assert (found.truncation, found.user) == ("auto", "anna")
    assert found.extra == {"presence_penalty": 0.5, "future_field": {"x": 1}}


def test_what_is_not_asked_has_the_apis_defaults() -> None:
    found = asked()
    assert (found.store, found.background, found.generate, found.truncation) == (True, False, True, "disabled")
    assert (found.tool_choice, found.text_format, found.file_search, found.tools) == (
        ToolChoice(),
        TextFormat(),
        None,
        [],
    )
    assert (found.extra, found.include_search_results, found.user) == ({}, False, None)


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
def test_a_conversation_is_named_by_its_id_or_an_object(conversation: object) -> None:
    assert asked(conversation=conversation).conversation_id == "conv_1"


@pytest.mark.parametrize(
    ("given_choice", "read_as"),
    [
        ("auto", ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "file_search"}, ToolChoice()),
        ({"type": "function", "name": "add"}, ToolChoice("function", "add")),
    ],
)
def test_tool_choices_are_read(given_choice: object, read_as: ToolChoice) -> None:
    assert asked(tool_choice=given_choice, tools=[ADD]).tool_choice == read_as


def test_a_file_search_may_be_demanded_since_it_is_made_in_any_case() -> None:
    assert asked(tool_choice="required", tools=[SEARCH]).tool_choice == ToolChoice("required")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"top_logprobs": 0}, None),
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 2}, 2),
        ({"top_logprobs": 2}, 2),
    ],
)
def test_log_probabilities_are_asked_for_by_either_field(fields: dict[str, Any], wanted: int | None) -> None:
    assert asked(**fields).top_logprobs == wanted


def test_what_asks_for_nothing_is_kept_for_nobody() -> None:
    assert asked(presence_penalty=0, frequency_penalty=0.0, prompt=None).extra == {}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"model": 3}, "model"),
    ({"input": 3}, "input"),
    ({"input": [3]}, "input"),
    ({"input": [{"role": "king", "content": "x"}]}, "input"),
    ({"input": [{"type": "riddle"}]}, "input"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"store": "yes"}, "store"),
    ({"metadata": {"k": 1}}, "metadata"),
    ({"metadata": {"k" * 65: "v"}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata"),
    ({"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"tools": [{"type": "web_search"}]}, "tools"),
    ({"tools": [{"type": "file_search", "vector_store_ids": []}]}, "tools"),
    ({"tools": [SEARCH, SEARCH]}, "tools"),
    ({"tools": [{**SEARCH, "filters": {"type": "like"}}]}, "tools"),
    ({"tools": [{**SEARCH, "ranking_options": {"ranker": "mine"}}]}, "tools"),
    ({"reasoning": {"effort": "heroic"}}, "reasoning"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"tool_choice": "perhaps"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "add"}}, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "sub"}, "tools": [ADD]}, "tool_choice"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": "x"}, "frequency_penalty"),
    ({"text": {"format": {"type": "xml"}}}, "text"),
    ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text"),
    ({"truncation": "some"}, "truncation"),
    ({"conversation": {"name": "x"}}, "conversation"),
    ({"previous_response_id": "resp_0", "conversation": "conv_1"}, "previous_response_id"),
    ({"background": True, "store": False}, "background"),
    ({"conversation": "conv_1", "store": False}, "store"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
def test_what_is_wrong_is_refused_naming_the_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**body)
    assert refused.value.param == param


@pytest.mark.parametrize("field", ["text", "tools", "metadata", "future_field", "extra"])
def test_what_could_not_be_encoded_again_is_refused(field: str) -> None:
    deep: object = 1
    for _ in range(MAX_NESTING):
        deep = {"a": deep} if isinstance(deep, int | list) else [deep]
    with pytest.raises(InvalidRequest, match="nested deeper"):
        asked(**{field: deep})


def test_the_place_inside_the_field_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"Invalid 'tools\[1\]\.name': Expected `str`, got `int`\."):
        asked(tools=[ADD, {"type": "function", "name": 3}])
    with pytest.raises(InvalidRequest, match=r"Invalid key of 'metadata': "):
        asked(metadata={"k" * 65: "v"})
    with pytest.raises(InvalidRequest, match=r"`input\[0\]\.role`"):
        asked(input=[{"role": "king", "content": "x"}])


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_formats_without_a_schema_are_read(kind: str) -> None:
    assert asked(text={"format": {"type": kind}}).text_format.type == kind


def test_fields_of_a_socket_are_not_taken_from_a_body_or_passed_on() -> None:
    found = asked(type="response.create", stream_id="lane", chatbackend={"x": 1})
    assert (found.stream_id, found.extra) == (None, {})


@pytest.mark.parametrize("body", [{}, {"input": "hi"}, EVERYTHING, {"conversation": {"id": "conv_1"}, "text": {}}])
def test_a_stored_request_is_read_again_as_it_was_but_for_its_input(body: dict[str, Any]) -> None:
    first = asked(**body)
    again = read_stored(first.body)
    again.items = first.items
    assert again == first
    assert b'"hi"' not in first.body


def test_a_stored_request_keeps_its_lane() -> None:
    wanted = read({"model": "m"})
    wanted.stream_id = "lane"
    assert read_stored(ask(wanted, numbered()).body).stream_id == "lane"


@pytest.mark.parametrize(
    "body", [{}, {**EVERYTHING, "stream": False}, {"conversation": "conv_1"}, {"tools": [SEARCH]}, {"reasoning": {}}]
)
@pytest.mark.parametrize("status", ["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"])
def test_every_response_object_is_accepted_by_the_sdk(body: dict[str, Any], status: ResponseStatus) -> None:
    found = shown(asked(**body), status)
    assert found["status"] == status
    assert (found["error"] is not None) == (status == "failed")
    assert (found["incomplete_details"] is not None) == (status in {"incomplete", "cancelled"})


def test_the_settings_are_shown_as_they_were_asked() -> None:
    found = shown(asked(**EVERYTHING))
    for name in ("temperature", "top_p", "max_output_tokens", "truncation", "tool_choice", "metadata", "service_tier"):
        if name != "metadata":
            assert found[name] == EVERYTHING[name]
    assert found["tools"][0] == ADD
    assert found["tools"][1]["vector_store_ids"] == ["vs_1", "vs_2"]
    assert found["presence_penalty"] == 0.5
    assert found["text"]["format"]["schema"] == {"type": "object"}
    assert found["reasoning"] == {"effort": "high", "summary": "auto"}


def test_every_key_of_the_specification_is_there() -> None:
    required = {"id", "object", "created_at", "status", "error", "incomplete_details", "instructions", "model", "tools"}
    required |= {"output", "parallel_tool_calls", "previous_response_id", "reasoning", "store", "temperature", "text"}
    required |= {"tool_choice", "top_p", "truncation", "usage", "user", "metadata", "completed_at", "background"}
    assert required <= set(shown(asked()))


def test_our_own_reason_stands_beside_the_apis() -> None:
    principal = Principal("t", "app", "app", "key_1")
    found = Response("resp_1", principal, "m", 1, "incomplete", shown=asked().shown, detail="interrupted")
    assert response_object(found)["incomplete_details"] == {"reason": None, "chatbackend_reason": "interrupted"}
    found.incomplete_reason, found.detail = "max_output_tokens", None
    assert response_object(found)["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_estimate_says_that_it_is_one() -> None:
    assert "chatbackend_estimated" not in usage_object(Usage(1, 2))
    assert usage_object(Usage(1, 2, 3, 4, 5, estimated=True)) == {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 3,
        "chatbackend_estimated": True,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


FIELDS = st.dictionaries(st.sampled_from(sorted(EVERYTHING)) | st.text(max_size=5), JSON, max_size=6)


@given(FIELDS, st.sets(st.sampled_from(sorted(EVERYTHING))))
def test_any_body_is_refused_or_makes_a_response_that_the_sdk_accepts(odd: dict[str, Any], left_out: set[str]) -> None:
    body = {name: value for name, value in EVERYTHING.items() if name not in left_out - {"model"}}
    for mixed in (odd, {**body, **odd}, {**odd, **body}):
        try:
            request = ask(read(mixed), numbered())
        except InvalidRequest as refused:
            assert refused.message
        else:
            shown(request)
