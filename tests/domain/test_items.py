"""The plain text of items."""

import pytest

from chatbackend.domain.items import (
    FunctionCall,
    InputImage,
    InputText,
    Item,
    Message,
    OutputText,
    Refusal,
    text_of,
)


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (Message("m", "user", [InputText("a"), InputImage("data:x"), InputText("b")]), "a\nb"),
        (Message("m", "assistant", [OutputText("a"), Refusal("no")]), "a\nno"),
        (Message("m", "user", []), ""),
        (FunctionCall("fc", "c", "f", "{}"), ""),
    ],
)
def test_only_the_texts_of_a_message_are_its_text(item: Item, text: str) -> None:
    assert text_of(item) == text
