"""Messages in turns, for providers that take nothing else."""

from typing import Any

import pytest

from chatbackend.adapters.providers.chat.request import request_body
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.items import InputImage, InputText, Item, Message, OutputText
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
