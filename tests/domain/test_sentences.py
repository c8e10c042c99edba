"""Sentences end where a reader would end them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.sentences import sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text, 0, len(text))]


@pytest.mark.parametrize(
    "expected",
    [
        ["One.", "Two!", "Three?", "Four"],
        ['He said "No way!" and left.', '"Why?" he asked.'],
        ['"It works."', "It does."],
        ["Mr. Smith met Dr. Jones.", "They spoke."],
        ["See Fig. 3.", "It shows more."],
        ["No. 5 is alive.", "I said no.", "Then I left."],
        ["J. K. Rowling wrote it, e.g. in bars."],
        ["He lives in the U.S. Army base."],
        ["He lives in the U.S.", "The base is far."],
        ["He lives in the U.S. 5 of them do."],
        ["1. Install it.", "2. Run it."],
        ["It costs 3.5 dollars.", "3 of us pay."],
        ["Yahoo! is a name.", "So is Wait... what."],
        ["In 2010.", "In 2011."],
        ["Wait...", "What?!", "Yes."],
        ["The series .", "It sold ."],
        ["(J. Smith et al. 2020) found it.", "Good."],
    ],
)
def test_western_sentences_end_at_a_stop_before_white_space(expected: list[str]) -> None:
    assert cut(" ".join(expected)) == expected


def test_wide_stops_need_no_white_space() -> None:
    assert cut("你好。世界！「走吧。」他说。ok") == ["你好。", "世界！", "「走吧。」", "他说。", "ok"]


def test_a_stop_at_the_end_of_the_range_is_found_within_it() -> None:
    assert sentences("One. Two. Three.", 5, 9) == [(5, 9)]


def test_only_the_range_is_read() -> None:
    assert sentences("One.  Two. Three.", 4, 11) == [(6, 10)]


@pytest.mark.parametrize("text", ["", " \n ", "\u2028"])
def test_white_space_has_no_sentence(text: str) -> None:
    assert cut(text) == []


@given(st.text(st.sampled_from('aB1 .!?…"\n)。”')))
def test_sentences_hold_every_character_once_but_the_white_space_around_them(text: str) -> None:
    spans = sentences(text, 0, len(text))
    assert "".join(text[start:end] for start, end in spans).split() == [] or spans
    assert [character for character in text if not character.isspace()] == [
        character for start, end in spans for character in text[start:end] if not character.isspace()
    ]
    assert all(text[start:end] == text[start:end].strip() for start, end in spans)


@pytest.mark.parametrize("text", ["." * 500_000, ".)" * 250_000, "Mr. " * 100_000, "A.B." * 100_000, " " * 1_000_000])
def test_hostile_punctuation_is_read_in_linear_time(text: str) -> None:
    assert len(cut(text)) <= 1
