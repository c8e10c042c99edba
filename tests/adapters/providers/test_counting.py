"""What asks a provider for a count holds what is read, and nothing of what is written."""

import pytest

from chatbackend.adapters.providers.counting import BY_MESSAGES, BY_RESPONSES, counted
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest

ASKED = ModelRequest(
    "m",
    [Message("x", "user", [InputText("hello")])],
    "Be brief.",
    [FunctionTool("add", None, {"type": "object", "properties": {}})],
    temperature=0.5,
    max_output_tokens=100,
    user="u",
)


def test_anthropic_is_asked_with_the_fields_of_its_count() -> None:
    assert set(BY_MESSAGES.body(ASKED, ModelProfile())) == {"model", "messages", "system", "tools"}
    assert BY_MESSAGES.headers["anthropic-version"]


def test_openai_is_asked_with_the_fields_of_its_count() -> None:
    assert set(BY_RESPONSES.body(ASKED, ModelProfile())) == {"model", "input", "instructions", "tools"}


def test_a_count_is_read_and_anything_else_is_an_error() -> None:
    assert counted(b'{"object":"response.input_tokens","input_tokens":7}') == 7
    for body in (b"{}", b"x", b"[]"):
        with pytest.raises(UpstreamError):
            counted(body)
