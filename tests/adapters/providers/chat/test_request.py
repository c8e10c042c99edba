"""Requests as Chat Completions bodies."""

from typing import Any

import pytest

from chatbackend.adapters.providers.chat.request import request_body
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
    Refusal,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest, TextFormat, ToolChoice

PROFILE = ModelProfile()
PNG = "data:image/png;base64,aGk="
TOOL = FunctionTool("f", "does", {"type": "object"}, strict=True)
Json = dict[str, Any]


def body(*items: Item, profile: ModelProfile = PROFILE, **fields: Any) -> Json:  # noqa: ANN401  # any field of a request
    return request_body(ModelRequest("m", list(items), **fields), profile)


def user(*parts: Part) -> Message:
    return Message("msg_1", "user", list(parts))


def said(text: str) -> Message:
    return Message("msg_2", "assistant", [OutputText(text)])


def call(number: int, arguments: str = "{}") -> FunctionCall:
    return FunctionCall(f"fc_{number}", f"call_{number}", "f", arguments)


def output(number: int, text: str | list[Any] = "ok") -> FunctionCallOutput:
    return FunctionCallOutput(f"out_{number}", f"call_{number}", text)


def called(*numbers: int, content: str | None = None) -> Json:
    calls = [{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in numbers]
    return {"role": "assistant", "content": content, "tool_calls": calls}


def told(number: int, text: str = "ok") -> Json:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}


def messages(*items: Item) -> list[Json]:
    return body(*items)["messages"]


def test_a_plain_request_holds_only_what_was_asked() -> None:
    assert body(user(InputText("hi")), instructions="be brief") == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"temperature": 0.0, "top_p": 0.5, "seed": 7}, {"temperature": 0.0, "top_p": 0.5, "seed": 7}),
        ({"stop": ["END"], "user": "u"}, {"stop": ["END"], "user": "u"}),
        ({"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"text_format": TextFormat("json_object")}, {"response_format": {"type": "json_object"}}),
        (
            {"text_format": TextFormat("json_schema", "n", {"type": "object"}, strict=True)},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        (
            {"text_format": TextFormat("json_schema", schema={})},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}}},
        ),
    ],
)
def test_a_setting_is_spelled_as_the_dialect_does(fields: Json, expected: Json) -> None:
    made = body(user(InputText("hi")), **fields)
    assert {name: made[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (ToolChoice(), None),
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("function", "f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tools_and_their_choice_are_spelled(choice: ToolChoice, expected: object) -> None:
    made = body(tools=[TOOL, FunctionTool("g")], tool_choice=choice, parallel_tool_calls=False)
    function = {"name": "f", "description": "does", "parameters": {"type": "object"}, "strict": True}
    assert made["tools"] == [
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "g"}},
    ]
    assert made.get("tool_choice") == expected
    assert made["parallel_tool_calls"] is False


def test_without_tools_nothing_is_said_of_them() -> None:
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(
        body(tool_choice=ToolChoice("none"), parallel_tool_calls=True)
    )


def test_unknown_fields_of_the_dialect_pass_and_never_override_ours() -> None:
    made = body(extra={"logit_bias": {"1": 2}, "model": "other", "stream": False})
    assert (made["logit_bias"], made["model"], made["stream"]) == ({"1": 2}, "m", True)


def test_unknown_fields_of_another_dialect_are_refused_and_its_hints_stay_behind() -> None:
    with pytest.raises(InvalidRequest, match="top_k") as caught:
        body(extra={"top_k": 3}, extra_dialect="messages")
    assert (caught.value.param, caught.value.code) == ("top_k", "unsupported_by_model")
    assert "inference_geo" not in body(hints={"inference_geo": "us"}, extra_dialect="messages")
    assert body(hints={"store": True})["store"] is True


def test_penalties_of_open_responses_are_those_of_chats() -> None:
    made = body(extra={"presence_penalty": 0.5, "frequency_penalty": -1}, extra_dialect="responses")
    assert (made["presence_penalty"], made["frequency_penalty"]) == (0.5, -1)
    with pytest.raises(InvalidRequest, match="'stop'"):
        body(extra={"presence_penalty": 0.5, "stop": "x"}, extra_dialect="responses")
    with pytest.raises(InvalidRequest, match="'presence_penalty'"):
        body(extra={"presence_penalty": 0.5}, extra_dialect="messages")


def test_a_profile_shapes_the_request() -> None:
    profile = ModelProfile(
        max_tokens_field="max_completion_tokens",
        default_max_tokens=5,
        system_role="developer",
        accepts_stream_options=False,
    )
    made = body(profile=profile, instructions="x")
    assert made["max_completion_tokens"] == 5
    assert made["messages"] == [{"role": "developer", "content": "x"}]
    assert "stream_options" not in made


def test_a_whole_answer_is_asked_for_without_stream_options() -> None:
    made = body(stream=False)
    assert made["stream"] is False
    assert "stream_options" not in made


def test_a_model_without_system_messages_is_told_as_the_user() -> None:
    profile = ModelProfile(accepts_system=False)
    assert body(profile=profile, instructions="x")["messages"] == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_and_developer_messages_stay_in_their_place(role: Any) -> None:  # noqa: ANN401  # a role
    items = (user(InputText("hi")), Message("m", role, [InputText("a"), InputText("b"), InputImage(PNG)]))
    assert messages(*items)[1] == {"role": "system", "content": "a\nb"}


def test_an_answer_and_its_calls_are_one_message() -> None:
    items = [user(InputText("hi")), said("let me see"), call(1), call(2), output(1), output(2), said("done")]
    assert messages(*items) == [
        {"role": "user", "content": "hi"},
        called(1, 2, content="let me see"),
        told(1),
        told(2),
        {"role": "assistant", "content": "done"},
    ]


def test_text_between_calls_and_their_outputs_joins_the_calls() -> None:
    assert messages(call(1), said("so"), output(1)) == [called(1, content="so"), told(1)]


def test_answers_of_two_turns_stay_two_messages() -> None:
    assert [message["content"] for message in messages(said("a"), said("b"))] == ["a", "b"]


def test_rounds_of_calls_stay_apart() -> None:
    assert messages(call(1), output(1), call(2), output(2)) == [called(1), told(1), called(2), told(2)]


def test_a_call_without_arguments_has_empty_ones() -> None:
    (message,) = messages(call(1, ""))
    assert message == called(1)


def test_a_refusal_stays_a_refusal() -> None:
    (message,) = messages(Message("m", "assistant", [Refusal("no")]))
    assert message == {"role": "assistant", "content": "", "refusal": "no"}


def test_reasoning_and_searches_are_not_sent_back() -> None:
    assert messages(Reasoning("rs_1"), FileSearchCall("fs_1", ["q"])) == []


def test_images_and_files_become_parts() -> None:
    parts = [
        InputText("see"),
        InputImage(PNG, detail="low"),
        InputImage("https://x/y.png"),
        InputFile(file_data="aGk="),
    ]
    assert messages(user(*parts))[0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"filename": "file.pdf", "file_data": "data:application/pdf;base64,aGk="}},
    ]


def test_a_file_that_says_its_type_keeps_it() -> None:
    file = InputFile(filename="a.txt", file_data="data:text/plain;base64,aGk=")
    assert messages(user(file))[0]["content"] == [
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGk="}}
    ]


def test_an_image_out_of_a_tool_follows_all_outputs_as_the_users() -> None:
    items = (call(1), call(2), output(1, [InputText("see"), InputImage(PNG)]), output(2, [InputImage(PNG)]), said("ok"))
    image = {"type": "image_url", "image_url": {"url": PNG}}
    assert messages(*items)[1:4] == [
        told(1, "see"),
        told(2, "The output follows in the next user message."),
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Output of tool call call_1:"},
                image,
                {"type": "text", "text": "Output of tool call call_2:"},
                image,
            ],
        },
    ]


def test_an_output_of_nothing_promises_nothing_to_follow() -> None:
    assert messages(call(1), output(1, [InputText("")]))[1:] == [told(1, "")]


def test_an_id_that_is_too_long_is_short_on_both_sides() -> None:
    given = [f"chatcmpl-tool-{number}" + "0" * 30 for number in range(2)]
    calls = [FunctionCall("fc", call_id, "f", "{}") for call_id in given]
    outputs = [FunctionCallOutput("fco", call_id, [InputText("see"), InputImage(PNG)]) for call_id in given]
    asked, *told_back, media = messages(*calls, *outputs)
    ids = [each["id"] for each in asked["tool_calls"]]
    assert ids == [each["tool_call_id"] for each in told_back]
    assert len(set(ids)) == 2
    assert all(len(each) == 40 for each in ids)
    assert ids[1] in media["content"][2]["text"]


def test_a_label_that_is_too_long_is_made_short() -> None:
    assert body(user(InputText("hi")), user="u" * 64)["user"] == "u" * 64
    first, second = (body(user(InputText("hi")), user="u" * 65 + end)["user"] for end in "ab")
    assert len(first) == len(second) == 64
    assert first != second


@pytest.mark.parametrize(
    ("item", "profile", "fields"),
    [
        (user(InputImage(PNG)), ModelProfile(accepts_images=False), {}),
        (user(InputImage(file_id="f")), PROFILE, {}),
        (user(InputFile(file_id="f")), PROFILE, {}),
        (user(InputFile(file_url="https://x")), PROFILE, {}),
        (said("x"), ModelProfile(accepts_tools=False), {"tools": [TOOL]}),
        (said("x"), ModelProfile(structured="none"), {"text_format": TextFormat("json_schema")}),
    ],
)
def test_what_a_model_does_not_take_is_refused_before_dialling(item: Item, profile: ModelProfile, fields: Json) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body(item, profile=profile, **fields)
    assert caught.value.code == "unsupported_by_model"
