"""Requests: every field has its place in what a model is asked, and a conversation keeps its order."""

from typing import Any, get_type_hints

import msgspec
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from chatbackend.adapters.api.chat.request import ChatAsk, ChatRequest, field_of, read
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Message,
    OutputText,
    Reasoning,
    ReasoningText,
    Refusal,
)
from chatbackend.domain.models import AUTO, PLAIN, FunctionTool, TextFormat, ToolChoice

Json = dict[str, Any]
HI: list[Json] = [{"role": "user", "content": "hi"}]
ADD: Json = {"name": "add", "description": "Adds.", "parameters": {"type": "object"}, "strict": True}
TOOL = {"type": "function", "function": ADD}


def asked(**fields: object) -> ChatAsk:
    return read({"model": "m", "messages": HI, **fields})


def items(*messages: Json) -> list[Any]:
    return asked(messages=list(messages)).request.items


def test_a_question_is_all_that_is_needed() -> None:
    found = asked()
    assert (found.choices, found.stream, found.include_usage, found.legacy) == (1, False, False, False)
    request = found.request
    assert request.items == [Message("msg_0", "user", [InputText("hi")])]
    assert (request.model, request.text_format, request.tool_choice, request.tools) == ("m", PLAIN, AUTO, [])
    assert (request.extra, request.hints, request.extra_dialect) == ({}, {}, "chat")
    assert (request.top_logprobs, request.max_output_tokens, request.stop) == (None, None, [])


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"top_p": 1}, "top_p", 1),
        ({"max_tokens": 5}, "max_output_tokens", 5),
        ({"max_completion_tokens": 6, "max_tokens": 5}, "max_output_tokens", 6),
        ({"stop": "END"}, "stop", ["END"]),
        ({"stop": ["A", "B"]}, "stop", ["A", "B"]),
        ({"seed": -3}, "seed", -3),
        ({"logprobs": True}, "top_logprobs", 0),
        ({"logprobs": True, "top_logprobs": 4}, "top_logprobs", 4),
        ({"logprobs": False}, "top_logprobs", None),
        ({"reasoning_effort": "xhigh"}, "reasoning_effort", "xhigh"),
        ({"verbosity": "low"}, "verbosity", "low"),
        ({"user": "u", "safety_identifier": "s"}, "user", "u"),
        ({"safety_identifier": "s"}, "user", "s"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"response_format": {"type": "text"}}, "text_format", PLAIN),
        ({"response_format": {"type": "json_object"}}, "text_format", TextFormat("json_object")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            "text_format",
            TextFormat("json_schema", "n", {}, strict=True),
        ),
        ({"tools": [TOOL]}, "tools", [FunctionTool("add", "Adds.", {"type": "object"}, strict=True)]),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice", AUTO),
        ({"tool_choice": "none"}, "tool_choice", ToolChoice("none")),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice", ToolChoice("required")),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "add"}}},
            "tool_choice",
            ToolChoice("function", "add"),
        ),
        ({"functions": [ADD]}, "parallel_tool_calls", False),
        ({"functions": [ADD]}, "tools", [FunctionTool("add", "Adds.", {"type": "object"}, strict=True)]),
        ({"functions": [ADD], "function_call": "none"}, "tool_choice", ToolChoice("none")),
        ({"functions": [ADD], "function_call": "auto"}, "tool_choice", AUTO),
        ({"functions": [ADD], "function_call": {"name": "add"}}, "tool_choice", ToolChoice("function", "add")),
    ],
)
def test_every_field_has_its_place(fields: Json, name: str, value: object) -> None:
    assert getattr(asked(**fields).request, name) == value


def test_how_the_answer_is_wanted_is_kept_beside_the_request() -> None:
    found = asked(stream=True, stream_options={"include_usage": True, "include_obfuscation": False}, n=3)
    assert (found.stream, found.include_usage, found.choices) == (True, True, 3)
    assert not asked(stream_options={}).include_usage
    assert asked(functions=[ADD]).legacy


def test_what_a_server_may_ignore_is_a_hint() -> None:
    hints: Json = {
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "flex",
        "safety_identifier": "s",
        "prediction": {"type": "content", "content": "x"},
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"mode": "implicit"},
    }
    request = asked(**hints).request
    assert (request.hints, request.extra) == (hints, {})


def test_what_changes_the_answer_and_what_we_do_not_know_goes_only_to_the_same_dialect() -> None:
    extra: Json = {
        "frequency_penalty": 0.5,
        "presence_penalty": -1,
        "logit_bias": {"50256": -100},
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
        "web_search_options": {},
        "moderation": {"model": "omni-moderation-latest"},
        "top_k": 5,
    }
    assert asked(**extra).request.extra == extra


def test_what_means_nothing_goes_nowhere() -> None:
    nothing: Json = {
        "frequency_penalty": 0,
        "presence_penalty": 0.0,
        "logit_bias": {},
        "modalities": ["text"],
        "audio": None,
        "top_k": None,
        "temperature": None,
        "functions": None,
        "n": None,
        "stop": None,
    }
    found = asked(**nothing)
    assert (found.request.extra, found.request.hints, found.legacy) == ({}, {}, False)


def test_every_field_of_the_sdk_is_known() -> None:
    """A field that a newer SDK has is noticed here; those that only some providers take are known to be extra."""
    fields = {*get_type_hints(CompletionCreateParamsNonStreaming), *get_type_hints(CompletionCreateParamsStreaming)}
    known = {field.encode_name for field in msgspec.structs.fields(ChatRequest)}
    assert fields - known == {"audio", "web_search_options", "moderation"}


def test_a_conversation_with_tools_keeps_its_order() -> None:
    found = items(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "In French."}]},
        {"role": "user", "content": "2+2? 3-1?", "name": "eve"},
        {
            "role": "assistant",
            "content": "I ask.",
            "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "add", "arguments": "{}"}},
                {"id": "call_b", "type": "function", "function": {"name": "sub", "arguments": "[]"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_b", "content": "2"},
        {"role": "tool", "tool_call_id": "call_a", "content": [{"type": "text", "text": "4"}]},
        {"role": "assistant", "content": "4 and 2."},
    )
    assert found == [
        Message("msg_0", "system", [InputText("Be brief.")]),
        Message("msg_1", "developer", [InputText("In French.")]),
        Message("msg_2", "user", [InputText("2+2? 3-1?")]),
        Message("msg_3", "assistant", [OutputText("I ask.")]),
        FunctionCall("fc_4", "call_a", "add", "{}"),
        FunctionCall("fc_5", "call_b", "sub", "[]"),
        FunctionCallOutput("fco_6", "call_b", "2"),
        FunctionCallOutput("fco_7", "call_a", [InputText("4")]),
        Message("msg_8", "assistant", [OutputText("4 and 2.")]),
    ]


def test_parts_of_every_kind_are_read() -> None:
    data = "data:image/png;base64,AAAA"
    (message,) = items(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See:"},
                {"type": "image_url", "image_url": {"url": data, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": {"file_data": "QUJD", "filename": "a.txt"}},
                {"type": "file", "file": {"file_id": "file_1"}},
            ],
        }
    )
    assert message.content == [
        InputText("See:"),
        InputImage(data, detail="low"),
        InputImage("https://example.com/a.png"),
        InputFile(None, "a.txt", "QUJD"),
        InputFile("file_1"),
    ]


def test_an_assistants_refusal_is_kept() -> None:
    found = items(
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "text", "text": "Well:"}, {"type": "refusal", "refusal": "No."}]},
    )
    assert [item.content for item in found] == [[Refusal("No.")], [OutputText("Well:"), Refusal("No.")]]


def test_functions_called_by_name_get_ids_that_match() -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": "{}"}}
    found = items(called, {"role": "function", "name": "add", "content": "4"}, called,
                  {"role": "function", "name": "add", "content": None})  # fmt: skip
    calls = [item.call_id for item in found]
    assert calls[0] == calls[1] != calls[2] == calls[3]
    assert [found[1].output, found[3].output] == ["4", ""]


def test_only_sealed_reasoning_comes_back_and_before_what_it_led_to() -> None:
    found = items(
        {
            "role": "assistant",
            "content": "Yes.",
            "reasoning_content": "Let me see. Hidden.",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "Let me see.", "signature": "s", "format": "unknown", "index": 0},
                {"type": "reasoning.encrypted", "data": "d", "index": 1},
                {"type": "reasoning.text", "text": "unsealed"},
                {"type": "reasoning.summary", "summary": "short"},
                {},
            ],
            "tool_calls": None,
            "annotations": [],
        }
    )
    assert found == [
        Reasoning("rs_0", content=[ReasoningText("Let me see.")], encrypted_content="s"),
        Reasoning("rs_0", encrypted_content="d"),
        Message("msg_2", "assistant", [OutputText("Yes.")]),
    ]


def test_a_refusal_of_a_model_names_this_apis_field() -> None:
    assert [field_of(name) for name in ("input", "tools", None)] == ["messages", "tools", None]


CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
BAD: list[tuple[str, Json, str, str]] = [
    ("no messages", {"messages": None}, "messages", "Missing required parameter: 'messages'"),
    ("empty messages", {"messages": []}, "messages", "length >= 1"),
    ("messages as text", {"messages": "hi"}, "messages", "Expected `array`"),
    ("no model", {"model": None}, "model", "Missing required parameter: 'model'"),
    ("a model that is a number", {"model": 4}, "model", "Expected `str`"),
    ("a message without a role", {"messages": [{"content": "x"}]}, "messages", "messages[0]"),
    ("an unknown role", {"messages": [{"role": "robot", "content": "x"}]}, "messages", "messages[0].role"),
    ("a user who says nothing", {"messages": [{"role": "user", "content": None}]}, "messages", "messages[0].content"),
    ("an assistant who says nothing", {"messages": [{"role": "assistant"}]}, "messages", "messages[0].content"),
    (
        "an unknown part",
        {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
        "messages",
        "messages[0].content[0].type",
    ),
    (
        "audio",
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "messages",
        "messages[0].content[0]",
    ),
    (
        "an image in a system message",
        {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        "messages",
        "messages[0].content[0].type",
    ),
    (
        "an image at no address",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc"}}]}]},
        "messages",
        "messages[0].content[0].image_url.url",
    ),
    (
        "an unknown detail",
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", "detail": "x"}}]}
            ]
        },
        "messages",
        "image_url.detail",
    ),
    (
        "a file that is nowhere",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"filename": "a"}}]}]},
        "messages",
        "messages[0].content[0].file",
    ),
    (
        "a file that is in two places",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f", "file_data": "AA"}}]}]},
        "messages",
        "either file_id or file_data",
    ),
    (
        "an output of no call",
        {"messages": [{"role": "tool", "tool_call_id": "c", "content": "x"}]},
        "messages",
        "messages[0].tool_call_id",
    ),
    ("an output without its call", {"messages": [{"role": "tool", "content": "x"}]}, "messages", "tool_call_id"),
    (
        "an output of a function that was not called",
        {"messages": [{"role": "function", "name": "f", "content": "x"}]},
        "messages",
        "messages[0].name",
    ),
    (
        "a custom call",
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}]},
        "messages",
        "messages[0].tool_calls[0]",
    ),
    (
        "a call without an id",
        {"messages": [{"role": "assistant", "tool_calls": [CALL | {"id": ""}]}]},
        "messages",
        "tool_calls[0].id",
    ),
    (
        "sound of an assistant",
        {"messages": [{"role": "assistant", "content": "x", "audio": {"id": "a"}}]},
        "messages",
        "messages[0].audio",
    ),
    ("a custom tool", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools", "tools[0].type"),
    ("a tool without a name", {"tools": [{"type": "function", "function": {}}]}, "tools", "tools[0].function"),
    ("an empty name", {"tools": [{"type": "function", "function": {"name": ""}}]}, "tools", "tools[0].function.name"),
    ("tools and functions", {"tools": [TOOL], "functions": [ADD]}, "functions", "together"),
    ("a choice of no such kind", {"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "must be"),
    (
        "a choice among allowed tools",
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        "tool_choice",
        "must be",
    ),
    ("a call demanded without tools", {"tool_choice": "required"}, "tool_choice", "no tools"),
    (
        "a call demanded of no tool",
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
        "tool_choice",
        "'sub'",
    ),
    ("a function demanded that is none", {"functions": [ADD], "function_call": {"name": "f"}}, "function_call", "'f'"),
    ("a function call of no such kind", {"functions": [ADD], "function_call": "required"}, "function_call", "must be"),
    ("no choices", {"n": 0}, "n", ">= 1"),
    ("too many choices", {"n": 9}, "n", "<= 8"),
    ("too hot", {"temperature": 2.1}, "temperature", "<= 2"),
    ("an impossible top_p", {"top_p": 1.5}, "top_p", "<= 1"),
    ("no tokens", {"max_tokens": 0}, "max_tokens", ">= 1"),
    ("less than no tokens", {"max_completion_tokens": -1}, "max_completion_tokens", ">= 1"),
    ("a stop that is a number", {"stop": 4}, "stop", "Expected"),
    ("a stop among others that is none", {"stop": ["a", None]}, "stop", "stop[1]"),
    ("a seed that is a text", {"seed": "x"}, "seed", "Expected `int"),
    ("probabilities of nothing", {"top_logprobs": 2}, "top_logprobs", "logprobs"),
    ("too many probabilities", {"logprobs": True, "top_logprobs": 21}, "top_logprobs", "<= 20"),
    ("an unknown format", {"response_format": {"type": "xml"}}, "response_format", "response_format.type"),
    (
        "a schema without a name",
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format",
        "response_format.json_schema",
    ),
    ("an unknown effort", {"reasoning_effort": "extreme"}, "reasoning_effort", "extreme"),
    ("an unknown verbosity", {"verbosity": "chatty"}, "verbosity", "chatty"),
    ("a penalty beyond its range", {"frequency_penalty": 3}, "frequency_penalty", "<= 2"),
    ("a bias beyond its range", {"logit_bias": {"1": 200}}, "logit_bias", "<= 100"),
    ("an unknown modality", {"modalities": ["smell"]}, "modalities", "smell"),
    ("options of a stream that are none", {"stream_options": True}, "stream_options", "Expected `object"),
    ("a stream that is a text", {"stream": "yes"}, "stream", "Expected `bool"),
    ("metadata that is no text", {"metadata": {"a": 1}}, "metadata", "metadata"),
]


@pytest.mark.parametrize(("body", "param", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_wrong_field_is_refused_by_name(body: Json, param: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**body)
    assert refused.value.param == param
    assert words in refused.value.message


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Json = {}
    for _ in range(300):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest, match="nested"):
        asked(top_k=deep)
