"""Requests as Responses bodies."""

from typing import Any

import pytest

from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.providers.responses.request import request_body
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FileSearchCall,
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
    Refusal,
    SummaryText,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat, ToolChoice

PROFILE = ModelProfile()
TOOL = FunctionTool("f", "does", {"type": "object"}, strict=True)
SCHEMA = {"type": "object"}
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
Json = dict[str, Any]


def body(*items: Item, profile: ModelProfile = PROFILE, **fields: Any) -> Json:  # noqa: ANN401  # any field of a request
    return request_body(ModelRequest("m", list(items), **fields), profile)


def sent(*items: Item, profile: ModelProfile = PROFILE) -> list[Json]:
    return body(*items, profile=profile)["input"]


def user(*parts: Part) -> Message:
    return Message("msg_1", "user", list(parts))


def said(text: str) -> Message:
    return Message("msg_2", "assistant", [OutputText(text)])


def call(number: int, arguments: str = "{}") -> FunctionCall:
    return FunctionCall(f"fc_{number}", f"call_{number}", "f", arguments)


def output(number: int, text: str | list[Any] = "ok") -> FunctionCallOutput:
    return FunctionCallOutput(f"out_{number}", f"call_{number}", text)


def sealed(proof: str, *summary: str) -> Reasoning:
    paragraphs = [SummaryText(text) for text in summary]
    return Reasoning("rs_1", paragraphs, [ReasoningText("hm")], f"responses.encrypted.{proof}")


def asks(text: str, role: str = "user") -> Json:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def answers(text: str) -> Json:
    content: list[Json] = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content}


def calls(number: int, arguments: str = "{}") -> Json:
    return {"type": "function_call", "call_id": f"call_{number}", "name": "f", "arguments": arguments}


def returns(number: int, value: object = "ok") -> Json:
    return {"type": "function_call_output", "call_id": f"call_{number}", "output": value}


def proves(proof: str, *summary: str) -> Json:
    paragraphs = [{"type": "summary_text", "text": text} for text in summary]
    return {"type": "reasoning", "summary": paragraphs, "encrypted_content": proof}


HI = user(InputText("hi"))


def test_a_plain_request_holds_only_what_was_asked_and_stores_nothing() -> None:
    assert body(HI, instructions="be brief") == {
        "model": "m",
        "instructions": "be brief",
        "input": [asks("hi")],
        "stream": True,
        "store": False,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.0, "top_p": 0.5, "user": "u"}, {"temperature": 0.0, "top_p": 0.5, "user": "u"}),
        ({"max_output_tokens": 9}, {"max_output_tokens": 9}),
        ({"stream": False}, {"stream": False}),
        ({"seed": 1}, {"seed": None}),
        ({"top_logprobs": 0}, {"top_logprobs": 0, "include": [LOGPROBS]}),
        ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}, "include": [ENCRYPTED]}),
        ({"reasoning_effort": "high", "top_logprobs": 2}, {"include": [ENCRYPTED, LOGPROBS]}),
        ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}, "include": None}),
        ({"reasoning_summary": "auto"}, {"reasoning": {"summary": "auto"}, "include": [ENCRYPTED]}),
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({"text_format": TextFormat("json_object")}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"text_format": TextFormat("json_schema", "n", SCHEMA, strict=True, description="d")},
            {
                "text": {
                    "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True, "description": "d"}
                }
            },
        ),
        (
            {"text_format": TextFormat("json_schema")},
            {"text": {"format": {"type": "json_schema", "name": "answer", "schema": {}}}},
        ),
    ],
)
def test_a_setting_is_spelled_as_the_dialect_does(fields: Json, expected: Json) -> None:
    made = body(HI, **fields)
    assert {name: made.get(name) for name in expected} == expected


def test_a_profile_may_limit_the_output() -> None:
    assert body(HI, profile=ModelProfile(default_max_tokens=7))["max_output_tokens"] == 7


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), None),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("function", "f"), {"type": "function", "name": "f"}),
    ],
)
def test_tools_are_flat_and_their_choice_is_spelled(choice: ToolChoice, expected: str | Json | None) -> None:
    made = body(tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
    described = {"name": "f", "description": "does", "parameters": {"type": "object"}, "strict": True}
    assert made["tools"] == [{"type": "function", **described}]
    assert made.get("tool_choice") == expected
    assert made["parallel_tool_calls"] is False


def test_a_choice_without_tools_is_left_out() -> None:
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body(HI, parallel_tool_calls=True))


@pytest.mark.parametrize(
    ("dialect", "strict"), [("responses", {}), ("chat", {"strict": False}), ("messages", {"strict": False})]
)
def test_a_tool_that_does_not_say_is_as_strict_as_its_own_dialect_means(dialect: str, strict: Json) -> None:
    made = body(tools=[FunctionTool("g")], extra_dialect=dialect)
    assert made["tools"] == [{"type": "function", "name": "g", "parameters": None, **strict}]


def test_unknown_fields_pass_only_within_the_dialect_and_never_override_ours() -> None:
    made = body(extra={"truncation": "auto", "model": "other"}, hints={"metadata": {}}, extra_dialect="responses")
    assert (made["truncation"], made["metadata"], made["model"]) == ("auto", {}, "m")
    with pytest.raises(InvalidRequest) as caught:
        body(extra={"logit_bias": {}}, extra_dialect="chat")
    assert caught.value.param == "logit_bias"
    assert "metadata" not in body(hints={"metadata": {}}, extra_dialect="chat")


def test_unknown_fields_join_ours_where_both_speak_of_one_object() -> None:
    extra = {"text": {"style": "x"}, "reasoning": {"context": "auto"}, "include": ["x", LOGPROBS]}
    json_object = TextFormat("json_object")
    made = body(extra=extra, extra_dialect="responses", text_format=json_object, reasoning_effort="low", top_logprobs=1)
    assert made["text"] == {"style": "x", "format": {"type": "json_object"}}
    assert made["reasoning"] == {"context": "auto", "effort": "low"}
    assert made["include"] == ["x", LOGPROBS, ENCRYPTED]
    assert extra["include"] == ["x", LOGPROBS]


def test_nonsense_is_the_providers_to_refuse_unless_ours_replaces_it() -> None:
    extra = {"text": 1, "reasoning": 2, "include": 3}
    made = body(extra=extra, extra_dialect="responses", reasoning_effort="low")
    assert (made["text"], made["reasoning"], made["include"]) == (1, {"effort": "low"}, [ENCRYPTED])


@pytest.mark.parametrize(
    ("items", "fields", "profile"),
    [
        ([HI], {}, PROFILE),
        ([HI], {"reasoning_effort": "high"}, ModelProfile(thinking="none")),
        ([sealed("p"), said("a")], {"reasoning_effort": "none"}, PROFILE),
    ],
)
def test_proof_of_reasoning_is_not_asked_of_a_model_that_may_have_none(
    items: list[Item], fields: Json, profile: ModelProfile
) -> None:
    assert "include" not in body(*items, profile=profile, **fields)


def test_proof_of_reasoning_is_asked_for_again_once_it_was_given() -> None:
    assert body(HI, sealed("p"), said("a"), HI)["include"] == [ENCRYPTED]
    assert body(HI, extra={"reasoning": {"summary": "auto"}}, extra_dialect="responses")["include"] == [ENCRYPTED]


@pytest.mark.parametrize(
    ("background", "stream", "expected"),
    [(True, True, (True, True)), (True, False, (None, False)), (False, True, (None, False))],
)
def test_only_a_stream_in_the_background_is_stored(
    background: bool,  # noqa: FBT001  # a table's column
    stream: bool,  # noqa: FBT001  # a table's column
    expected: tuple[bool | None, bool],
) -> None:
    made = body(HI, background=background, stream=stream, extra_dialect="responses")
    assert (made.get("background"), made["store"]) == expected


def test_messages_keep_their_places_and_lose_their_ids() -> None:
    late = Message("m", "developer", [InputText("be kind")])
    assert sent(HI, said("a"), late, Message("m", "user", [OutputText("b"), Refusal("c")])) == [
        asks("hi"),
        answers("a"),
        asks("be kind", "system"),
        {"type": "message", "role": "user", "content": asks("b")["content"] + asks("c")["content"]},
    ]
    assert sent(late, profile=ModelProfile(system_role="developer")) == [asks("be kind", "developer")]


def test_a_model_without_a_system_role_is_told_by_the_user() -> None:
    profile = ModelProfile(accepts_system=False)
    made = body(Message("m", "system", [InputText("kind")]), HI, profile=profile, instructions="brief")
    assert made["input"] == [asks("brief"), asks("kind"), asks("hi")]
    assert "instructions" not in made
    assert body(HI, profile=profile)["input"] == [asks("hi")]


def test_an_answer_goes_back_as_output_with_its_refusal() -> None:
    item = Message("m", "assistant", [InputText("a"), OutputText("b"), Refusal("no")])
    content = answers("a")["content"] + answers("b")["content"] + [{"type": "refusal", "refusal": "no"}]
    assert sent(item) == [{"type": "message", "role": "assistant", "content": content}]


def test_searches_and_empty_messages_are_left_out() -> None:
    assert sent(FileSearchCall("fs", ["q"]), Message("m", "assistant", []), HI) == [asks("hi")]


def test_calls_and_outputs_are_items_of_their_own() -> None:
    assert sent(call(1, '{"x":1}'), call(2, ""), output(1), output(2, [InputText("see")])) == [
        calls(1, '{"x":1}'),
        calls(2),
        returns(1),
        returns(2, [{"type": "input_text", "text": "see"}]),
    ]


def test_ids_and_labels_that_are_too_long_are_made_short() -> None:
    given = "call_" + "0" * 60
    made, back = sent(FunctionCall("fc", given, "f", "{}"), FunctionCallOutput("fco", given, "ok"))
    assert made["call_id"] == back["call_id"]
    assert len(made["call_id"]) == len(body(HI, user="u" * 65)["user"]) == 64


def test_nothing_stands_between_a_call_and_its_output() -> None:
    items = [HI, sealed("1"), call(1), sealed("2"), said("so"), call(2), output(1), output(2), said("done"), call(3)]
    assert sent(*items) == [
        asks("hi"),
        proves("2"),
        answers("so"),
        proves("1"),
        calls(1),
        calls(2),
        returns(1),
        returns(2),
        answers("done"),
        calls(3),
    ]


def test_reasoning_goes_back_as_it_came_without_its_id() -> None:
    assert sent(sealed("gAA=", "a", "b"), sealed("x.y"), call(1)) == [
        proves("gAA=", "a", "b"),
        proves("x.y"),
        calls(1),
    ]


def test_reasoning_that_led_to_nothing_stays_behind() -> None:
    assert sent(sealed("1"), HI, said("a"), sealed("2")) == [asks("hi"), answers("a")]


def test_reasoning_of_others_or_without_a_seal_stays_behind() -> None:
    others = Reasoning("rs_1", content=[ReasoningText("hm")], encrypted_content="claude.signature.s")
    bare = Reasoning("rs_2", content=[ReasoningText("hm")])
    assert sent(others, bare, said("a")) == [answers("a")]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            InputImage("https://x/y.png"),
            {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
        ),
        (
            InputImage("data:image/png;base64,aGk=", detail="high"),
            {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "high"},
        ),
        (
            InputFile(filename="a.md", file_data="aGk="),
            {"type": "input_file", "filename": "a.md", "file_data": "data:text/markdown;base64,aGk="},
        ),
        (
            InputFile(file_data="data:application/pdf;base64,aGk="),
            {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,aGk="},
        ),
        (
            InputFile(filename="a.pdf", file_url="https://x/y.pdf"),
            {"type": "input_file", "file_url": "https://x/y.pdf"},
        ),
    ],
)
def test_images_and_files_are_parts_of_messages_and_of_outputs(part: InputImage | InputFile, expected: Json) -> None:
    assert sent(user(part)) == [{"type": "message", "role": "user", "content": [expected]}]
    assert sent(output(1, [part])) == [returns(1, [expected])]


@pytest.mark.parametrize(
    ("item", "profile", "fields"),
    [
        (user(InputImage("https://x")), ModelProfile(accepts_images=False), {}),
        (user(InputImage(file_id="f")), PROFILE, {}),
        (user(InputFile(file_id="f")), PROFILE, {}),
        (HI, ModelProfile(accepts_tools=False), {"tools": [TOOL]}),
        (HI, ModelProfile(structured="none"), {"text_format": TextFormat("json_schema")}),
        (HI, ResponsesCodec(PROFILE).profile, {"stop": ["END"]}),
    ],
)
def test_what_a_model_does_not_take_is_refused_before_dialling(item: Item, profile: ModelProfile, fields: Json) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(item, profile=profile, **fields)
    assert caught.value.code == "unsupported_by_model"
