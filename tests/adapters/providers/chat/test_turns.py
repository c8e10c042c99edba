"""Messages in turns, for providers that take nothing else."""

from typing import Any

import pytest

from chatbackend.adapters.providers.chat.request import request_body
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
)
from chatbackend.domain.models import ModelProfile, ModelRequest

PROFILE = ModelProfile(alternates=True)
PNG = "data:image/png;base64,aGk="


def user(text: str, *images: str) -> Message:
    return Message("msg_1", "user", [InputText(text), *(InputImage(url) for url in images)])


def model(text: str) -> Message:
    return Message("msg_2", "assistant", [OutputText(text)])


def system(text: str) -> Message:
    return Message("msg_3", "system", [InputText(text)])


def messages(*items: Item, instructions: str | None = None) -> list[tuple[str, Any]]:
    body = request_body(ModelRequest("m", list(items), instructions=instructions), PROFILE)
    return [(message["role"], message["content"]) for message in body["messages"]]


def test_turns_that_alternate_stay_as_they_are() -> None:
    assert messages(user("a"), model("b"), user("c"), instructions="s") == [
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
    ]


def test_neighbours_of_one_role_become_one_message() -> None:
    assert messages(user("a"), user("b"), model("c"), model("d"), user("e")) == [
        ("user", "a\n\nb"),
        ("assistant", "c\n\nd"),
        ("user", "e"),
    ]


def test_parts_are_joined_as_parts() -> None:
    text, image = {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": PNG}}
    assert messages(user("a"), user("a", PNG)) == [("user", [text, text, image])]


def test_the_system_speaks_first_and_is_told_by_the_user_later() -> None:
    assert messages(system("s"), user("a"), model("b"), system("t"), user("c"), instructions="i") == [
        ("system", "i"),
        ("system", "s"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "t\n\nc"),
    ]


def test_a_conversation_that_the_model_began_has_an_opening() -> None:
    assert messages(model("hello"), user("a")) == [
        ("user", "(You begin.)"),
        ("assistant", "hello"),
        ("user", "a"),
    ]


@pytest.mark.parametrize("items", [[], [system("s")], [user("a"), model("b")]])
def test_a_conversation_that_does_not_end_with_the_user_is_refused(items: list[Item]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        messages(*items, instructions="s")
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", "input")


def test_calls_are_told_in_words_to_a_model_without_tools() -> None:
    pixel = InputImage(PNG)
    items: list[Item] = [
        user("a"),
        FunctionCall("fc_1", "call_1", "f", '{"x": 1}'),
        FunctionCall("fc_2", "call_2", "g", ""),
        FunctionCallOutput("out_1", "call_1", "one"),
        FunctionCallOutput("out_9", "call_9", [pixel]),
    ]
    body = request_body(ModelRequest("m", items), ModelProfile(accepts_tools=False, alternates=True))
    assert [(message["role"], message["content"]) for message in body["messages"]] == [
        ("user", "a"),
        ("assistant", '(Call of f: {"x": 1})\n\n(Call of g: {})'),
        (
            "user",
            [
                {"type": "text", "text": "(Output of f:)"},
                {"type": "text", "text": "one"},
                {"type": "text", "text": "(Output of a call:)"},
                {"type": "image_url", "image_url": {"url": PNG}},
            ],
        ),
    ]


@pytest.mark.parametrize(
    ("marks", "expected"), [(True, {"continue_final_message": True, "add_generation_prompt": False}), (False, {})]
)
def test_a_server_that_has_to_be_told_is_told_of_the_beginning_of_an_answer(
    *, marks: bool, expected: dict[str, bool]
) -> None:
    profile = ModelProfile(accepts_prefill=True, marks_prefill=marks)
    body = request_body(ModelRequest("m", [user("a"), model("b")], prefilled=True), profile)
    assert {name: value for name, value in body.items() if value in (True, False) and name != "stream"} == expected
    assert body["messages"][-1] == {"role": "assistant", "content": "b"}
