"""A Messages request, read for any provider; what is wrong is refused naming the field."""

import re
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.api.messages.marks import given_id, is_claudes, seal_of, shown_id
from chatbackend.adapters.api.messages.reading import read, read_count
from chatbackend.adapters.providers.messages.seal import seal_redacted, seal_signature
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Part,
    Reasoning,
    ReasoningText,
)
from chatbackend.domain.models import FunctionTool, ModelRequest, TextFormat, ToolChoice

Json = dict[str, Any]
HELLO: list[Json] = [{"role": "user", "content": "hello"}]
TOOL: Json = {"name": "add", "description": "adds", "input_schema": {"type": "object"}, "strict": True}
SEARCH: Json = {"type": "web_search_20250305", "name": "web_search"}
PNG = b64encode(b"png").decode()


def asked(**fields: object) -> ModelRequest:
    return read({"model": "m", "max_tokens": 4096, "messages": HELLO, **fields})


def said(*turns: Json) -> list[Item]:
    return asked(messages=list(turns)).items


def user(*blocks: Json) -> list[Part]:
    """Return the parts of a user's message of these blocks."""
    (message,) = said({"role": "user", "content": list(blocks)})
    assert isinstance(message, Message)
    return message.content


def result(**block: object) -> str | list[Any]:
    """Return the output that a tool's result is read as."""
    (output,) = said({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", **block}]})
    assert isinstance(output, FunctionCallOutput)
    assert output.call_id == "call_1"
    return output.output


def test_the_plain_fields_are_read() -> None:
    found = asked(
        system="Be brief.",
        stop_sequences=["END"],
        temperature=0.5,
        top_p=0.9,
        metadata={"user_id": "u"},
        stream=True,
    )
    assert found.instructions == "Be brief."
    assert (found.max_output_tokens, found.stop, found.temperature, found.top_p) == (4096, ["END"], 0.5, 0.9)
    assert (found.user, found.stream, found.extra_dialect) == ("u", True, "messages")
    assert found.items == [Message("msg", "user", [InputText("hello")])]
    assert (found.extra, found.hints) == ({}, {})


def test_a_system_prompt_in_blocks_is_one_text() -> None:
    blocks = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "b"}]
    assert asked(system=blocks).instructions == "a\n\nb"
    assert said(*HELLO, {"role": "system", "content": blocks})[1] == Message("msg", "system", [InputText("a\n\nb")])


def test_the_blocks_of_a_turn_keep_their_order() -> None:
    items = said(
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "r"},
                {"type": "text", "text": "one"},
                {"type": "text", "text": "two"},
                {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "2"},
                {"type": "text", "text": "x"},
            ],
        },
        {"role": "assistant", "content": "plain"},
    )
    assert items == [
        Reasoning("rs", content=[ReasoningText("hm")], encrypted_content=seal_signature("s")),
        Reasoning("rs", encrypted_content=seal_redacted("r")),
        Message("msg", "assistant", [OutputText("one"), OutputText("two")]),
        FunctionCall("fc", "call_1", "add", '{"a":1}'),
        FunctionCallOutput("fco", "call_1", "2"),
        Message("msg", "user", [InputText("x")]),
        Message("msg", "assistant", [OutputText("plain")]),
    ]


@pytest.mark.parametrize(
    ("source", "image"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PNG}, InputImage(f"data:image/png;base64,{PNG}")),
        ({"type": "url", "url": "https://a.example/b.png"}, InputImage("https://a.example/b.png")),
        ({"type": "file", "file_id": "file_1"}, InputImage(file_id="file_1")),
    ],
)
def test_an_image_is_read_from_every_source(source: Json, image: InputImage) -> None:
    assert user({"type": "image", "source": source}) == [image]


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        (
            {"source": {"type": "base64", "media_type": "application/pdf", "data": "JVB"}},
            [InputFile(filename="document.pdf", file_data="data:application/pdf;base64,JVB")],
        ),
        (
            {"source": {"type": "base64", "media_type": "application/pdf", "data": "JVB"}, "title": "a.pdf"},
            [InputText("Document: a.pdf"), InputFile(filename="a.pdf", file_data="data:application/pdf;base64,JVB")],
        ),
        ({"source": {"type": "url", "url": "https://a.example"}}, [InputFile(file_url="https://a.example")]),
        ({"source": {"type": "file", "file_id": "file_1"}}, [InputFile(file_id="file_1")]),
        (
            {"source": {"type": "text", "media_type": "text/plain", "data": "words"}, "title": "T", "context": "C"},
            [InputText("Document: T\nC"), InputText("words")],
        ),
        ({"source": {"type": "content", "content": "words"}}, [InputText("words")]),
        (
            {
                "source": {
                    "type": "content",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image", "source": {"type": "url", "url": "https://a.example"}},
                    ],
                },
                "context": "C",
            },
            [InputText("C"), InputText("a"), InputImage("https://a.example")],
        ),
    ],
)
def test_a_document_is_read_from_every_source(block: Json, parts: list[Part]) -> None:
    assert user({"type": "document", **block}) == parts


def test_a_search_result_is_text() -> None:
    block = {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "found"}]}
    assert user(block) == [InputText("Search result: T\nSource: S\nfound")]


def test_a_tools_result_says_when_it_failed() -> None:
    text = {"type": "text", "text": "no"}
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example"}}
    assert result() == ""
    assert result(content="no", is_error=True) == "The tool failed:\nno"
    assert result(content=[text, image]) == [InputText("no"), InputImage("https://a.example")]
    assert result(content=[text], is_error=True) == [InputText("The tool failed:"), InputText("no")]


def test_tools_and_their_choice_are_read() -> None:
    found = asked(tools=[TOOL, {**TOOL, "type": "custom", "cache_control": None}])
    assert found.tools == [FunctionTool("add", "adds", {"type": "object"}, strict=True)] * 2
    assert (found.tool_choice, found.parallel_tool_calls) == (ToolChoice(), None)


@pytest.mark.parametrize(
    ("choice", "expected", "parallel"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice(), False),
        ({"type": "any"}, ToolChoice("required"), None),
        ({"type": "tool", "name": "add", "disable_parallel_tool_use": True}, ToolChoice("function", "add"), False),
        ({"type": "none"}, ToolChoice("none"), None),
    ],
)
def test_every_choice_of_tools_is_read(choice: Json, expected: ToolChoice, parallel: object) -> None:
    found = asked(tools=[TOOL], tool_choice=choice)
    assert (found.tool_choice, found.parallel_tool_calls) == (expected, parallel)


def test_tools_of_the_api_itself_are_for_claude_alone_with_all_the_others() -> None:
    choice = {"type": "tool", "name": "web_search"}
    found = asked(tools=[TOOL, SEARCH], tool_choice=choice)
    assert found.extra == {"tools": [TOOL, SEARCH], "tool_choice": choice}
    assert (found.tools, found.tool_choice) == ([], ToolChoice())
    assert asked(tools=[SEARCH]).extra == {"tools": [SEARCH]}


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "minimal"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 20000}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "xhigh"),
        ({"thinking": {"type": "enabled", "budget_tokens": 64000}}, "max"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "between_tools"}}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "xhigh"),
    ],
)
def test_thinking_is_an_effort_for_other_providers_and_a_hint_for_claude(fields: Json, effort: str | None) -> None:
    found = asked(max_tokens=100_000, **fields)
    assert found.reasoning_effort == effort
    assert found.hints == fields


def test_a_demanded_shape_is_read() -> None:
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert asked(output_config=config).text_format == TextFormat("json_schema", "answer", {"type": "object"})


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            True,
        ),
        ({"type": "object", "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, None),
        ({"type": "object", "properties": [], "additionalProperties": False}, None),
        ({"type": "array", "items": {"type": "object"}}, None),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, None),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, True),
    ],
)
def test_a_shape_that_leaves_nothing_open_is_held_to_everywhere(schema: Json, strict: object) -> None:
    config = {"format": {"type": "json_schema", "schema": schema}}
    assert asked(output_config=config).text_format.strict is strict


def test_what_only_claude_knows_is_kept_for_claude_and_what_does_not_matter_is_a_hint() -> None:
    hints = {"cache_control": {"type": "ephemeral"}, "service_tier": "auto", "diagnostics": {}}
    extra: Json = {"top_k": 5, "container": "c", "mcp_servers": [], "inference_geo": "eu", "something_new": 1}
    found = asked(**hints, **extra, context_management={"edits": []}, speed="fast", user_profile_id=None)
    assert (found.hints, found.extra) == (hints, extra)


def test_a_conversation_that_ends_with_the_model_is_to_be_continued() -> None:
    call: Json = {"type": "tool_use", "id": "call_1", "name": "add", "input": {}}
    endings: list[tuple[Any, bool]] = [("I am", True), ([call, TEXT], True), ([call], False), ([], False)]
    for content, begun in endings:
        turns: list[Json] = [*HELLO, {"role": "assistant", "content": content}]
        assert asked(messages=turns).prefilled is begun
    assert not asked().prefilled


def test_a_count_needs_no_bound_of_the_answer() -> None:
    assert read_count({"model": "m", "messages": HELLO}).items == asked().items


TEXT: Json = {"type": "text", "text": "x"}
BAD: list[tuple[Json, str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "7"}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "messages[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [TEXT, {"type": "text"}]}]}, "messages[0].content[1]"),
    ({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, "messages[0].content[0].type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "x"}}]}]},
        "messages[0].content[0].source",
    ),
    (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "x"}}
                    ],
                }
            ]
        },
        "messages[0].content[0].source.media_type",
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "", "name": "n", "input": {}}]}]},
        "messages[0].content[0].id",
    ),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "n", "input": "{}"}]}]},
        "messages[0].content[0].input",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0]"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}]},
        "messages[0].content[0]",
    ),
    ({"system": 7}, "system"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"stop_sequences": "END"}, "stop_sequences"),
    ({"temperature": 1.5}, "temperature"),
    ({"top_p": -1}, "top_p"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [TOOL, {"name": "x"}]}, "tools[1].input_schema"),
    ({"tools": [{**TOOL, "input_schema": "{}"}]}, "tools[0].input_schema"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, "tool_choice.name"),
    ({"thinking": {"type": "enabled"}}, "thinking"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "thinking.budget_tokens"),
    ({"output_config": {"effort": "some"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "json_object"}}}, "output_config.format.type"),
    ({"metadata": {"user_id": "u" * 513}}, "metadata.user_id"),
    ({"stream": "yes"}, "stream"),
]


@pytest.mark.parametrize(("fields", "place"), BAD, ids=[f"{number} {place}" for number, (_, place) in enumerate(BAD)])
def test_a_wrong_request_is_refused_naming_the_field(fields: Json, place: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        asked(**fields)
    assert f"'{place}'" in wrong.value.message
    assert wrong.value.param == place.partition("[")[0].partition(".")[0]


def test_a_missing_field_is_named() -> None:
    for name in ("model", "max_tokens", "messages"):
        body = {
            field: value for field, value in {"model": "m", "max_tokens": 1, "messages": HELLO}.items() if field != name
        }
        with pytest.raises(InvalidRequest, match=name):
            read(body)


def test_a_body_that_is_too_deep_is_refused() -> None:
    nested: Any = {}
    for _ in range(300):
        nested = {"a": nested}
    with pytest.raises(InvalidRequest, match="nested"):
        asked(something=nested)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_providers_id_of_a_call_comes_back_as_it_was(call_id: str) -> None:
    shown = shown_id(call_id)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", shown)
    assert given_id(shown) == call_id


def test_an_id_that_only_looks_coded_stays_as_it_is() -> None:
    assert given_id("toolu_coded_%%") == "toolu_coded_%%"
    assert given_id("toolu_coded__w") == "toolu_coded__w"


def test_a_signature_tells_whose_it_is() -> None:
    assert seal_of("sig") == seal_signature("sig")
    assert seal_of("chatbackend.responses.encrypted.x") == "responses.encrypted.x"
    assert (seal_of("chatbackend."), seal_of("")) == (None, None)


def test_a_request_with_anything_of_ours_is_not_claudes() -> None:
    assert is_claudes(b'{"text":"\\"signature\\":\\"chatbackend.","file_id":"file_011CNha8iCJcU1wXNR6q4V8w"}')
    assert not is_claudes(b'{"signature": "chatbackend.x"}')
    assert not is_claudes(b'{"encrypted_index":""}')
    assert not is_claudes(b'{"file_id":"file_0123456789abcdef01234567"}')
