"""Titles made from messages, and words that conversations are found by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.conversations import one_line, title_of
from chatbackend.domain.finding import INDEXED_CHARACTERS, SOUGHT_MAX, sought, words
from chatbackend.domain.items import FunctionCall, InputText, Item, Message, OutputText


def user(text: str) -> Item:
    return Message("msg_1", "user", [InputText(text)])


def test_the_first_user_message_with_words_gives_the_title() -> None:
    answer = Message("msg_0", "assistant", [OutputText("No.")])
    assert (
        title_of([answer, FunctionCall("fc", "c", "f"), user(" \n"), user(" What\nis  it?"), user("x")])
        == "What is it?"
    )
    assert title_of([answer]) is None


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("a" * 80, "a" * 80),
        ("a" * 81, "a" * 79 + "…"),
        ("word " * 20, "word " * 14 + "word…"),
        ("a " + "b" * 90, "a " + "b" * 77 + "…"),
    ],
)
def test_a_long_title_is_cut_between_words_where_that_leaves_half(said: str, title: str) -> None:
    assert title_of([user(said)]) == title


def test_a_title_has_one_line_and_no_control_characters() -> None:
    assert one_line(" a\x00b\r\n\x1b[31m\u2028c ") == "a b [31m c"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("The Ferry leaves", "ferr"),
        ("Überröcke", "uber"),
        ("Straße", "strasse"),
        ("snake_case", "case"),
        ("漢字を読む", "字を"),
        ("a3f9c2", "a3F9"),
        ("ﬁnal", "final"),
    ],
)
def test_a_word_is_found_by_its_beginning_in_any_spelling(text: str, query: str) -> None:
    assert all(part in words(text) for part in sought(query))


def test_the_middle_of_a_word_is_not_sought_but_in_scripts_without_spaces() -> None:
    assert sought("erry 字") == (" erry", "字")
    assert " erry" not in words("ferry")


def test_only_so_much_is_kept_and_sought() -> None:
    assert words("x" * INDEXED_CHARACTERS + " late") == " " + "x" * INDEXED_CHARACTERS
    assert words("!?") == ""
    assert len(sought(" ".join(f"w{number}" for number in range(30)))) == SOUGHT_MAX
    assert sought("tea TEA tea") == (" tea",)


@given(st.text())
def test_whatever_is_sought_has_no_wildcards_and_a_text_is_found_by_its_own_words(text: str) -> None:
    found = sought(text)
    assert not any(sign in part for part in found for sign in "%_\\")
    assert all(part in words(text) for part in found)
