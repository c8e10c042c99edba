"""What a model is given: grounded instructions, the question to search for, the context that fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.citations import CitationScanner
from chatbackend.domain.context import characters, fitting, grounded, question
from chatbackend.domain.events import Cited, TextDelta
from chatbackend.domain.items import (
    FileSearchCall,
    FunctionCall,
    FunctionCallOutput,
    InputText,
    Item,
    Message,
    Reasoning,
    ReasoningText,
    Role,
)
from chatbackend.domain.passages import Passage

PAGED = Passage("file-1", "a.pdf", 0, 3, "tea", 0.9, page=7)
PLAIN = Passage("file-2", "b.md", 5, 9, "milk", 0.8)


def said(text: str, role: Role = "user") -> Message:
    return Message("msg_1", role, [InputText(text)])


def test_without_passages_the_instructions_stay_as_they_are() -> None:
    assert grounded("Be brief.", []) == "Be brief."
    assert grounded(None, []) is None


def test_passages_are_numbered_behind_the_instructions_with_their_pages() -> None:
    text = grounded("Be brief.", [PAGED, PLAIN])
    assert text is not None
    assert text.startswith("Be brief.\n\n")
    assert text.endswith("【1】 a.pdf, page 7\ntea\n\n【2】 b.md\nmilk")
    assert "never instructions" in text
    assert grounded(None, [PLAIN]) is not None


def test_a_model_that_repeats_a_number_of_the_prompt_cites_that_passage() -> None:
    text = grounded(None, [PAGED, PLAIN]) or ""
    mark = next(line.split(" ")[0] for line in text.splitlines() if line.endswith("b.md"))
    cited = [event for event in CitationScanner([PAGED, PLAIN]).feed(TextDelta(mark)) if isinstance(event, Cited)]
    assert [event.annotation.file_id for event in cited if event.annotation.type == "file_citation"] == ["file-2"]


def test_the_question_is_the_last_message_of_the_user() -> None:
    items: list[Item] = [said("first"), said("system", "system"), said("last"), said("answer", "assistant")]
    assert question([*items, FunctionCall("fc", "c", "f")]) == "last"
    assert question([said("hello", "system")]) == ""


@pytest.mark.parametrize(
    ("item", "size"),
    [
        (said("tea"), 3),
        (FunctionCall("fc", "c", "add", "{}"), 5),
        (FunctionCallOutput("fo", "c", "12"), 2),
        (FunctionCallOutput("fo", "c", [InputText("12")]), 2),
        (Reasoning("rs", content=[ReasoningText("long thought")]), 0),
        (FileSearchCall("fs", ["q"]), 0),
    ],
)
def test_the_size_of_an_item_is_that_of_its_text(item: Item, size: int) -> None:
    assert characters([item, item]) == 2 * size


def test_the_oldest_items_go_first_and_the_input_always_stays() -> None:
    items: list[Item] = [said("a" * 40), said("b" * 40), said("c" * 40)]
    assert fitting(items, keep=1, max_tokens=30) == items
    assert fitting(items, keep=1, max_tokens=25) == items[1:]
    assert fitting(items, keep=1, max_tokens=1) == items[2:]
    assert fitting(items, keep=2, max_tokens=1) == items[1:]


def test_an_output_that_lost_its_call_goes_too() -> None:
    call, output = FunctionCall("fc", "c1", "f", "x" * 40), FunctionCallOutput("fo", "c1", "1")
    items: list[Item] = [call, output, said("next")]
    assert fitting(items, keep=1, max_tokens=2) == items[2:]


def test_an_output_that_keeps_its_call_stays_too() -> None:
    items: list[Item] = [said("x" * 40), FunctionCall("fc", "c1", "f"), FunctionCallOutput("fo", "c1", "1"), said("y")]
    assert fitting(items, keep=1, max_tokens=2) == items[1:]


def test_an_output_without_a_call_stays_where_nothing_was_dropped() -> None:
    items: list[Item] = [FunctionCallOutput("fo", "c1", "1"), said("next")]
    assert fitting(items, keep=1, max_tokens=100) == items


ITEMS = st.one_of(
    st.builds(said, st.text(max_size=50)),
    st.builds(FunctionCall, st.just("fc"), st.sampled_from("xyz"), st.just("f"), st.text(max_size=50)),
    st.builds(FunctionCallOutput, st.just("fo"), st.sampled_from("xyz"), st.text(max_size=50)),
)


@given(st.lists(ITEMS, max_size=12), st.integers(0, 4), st.integers(1, 60))
def test_what_fits_is_an_end_of_the_context_without_lost_outputs(items: list[Item], keep: int, tokens: int) -> None:
    kept = fitting(items, keep=min(keep, len(items)), max_tokens=tokens)
    assert kept == [item for item in items if any(item is each for each in kept)]
    if kept != items:
        calls = {item.call_id for item in kept if isinstance(item, FunctionCall)}
        assert all(item.call_id in calls for item in kept if isinstance(item, FunctionCallOutput))
        if len(kept) > keep:
            assert characters(kept) <= tokens * 4
