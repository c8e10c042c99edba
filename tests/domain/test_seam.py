"""A continuation joins what was said: nothing twice, nothing left out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.seam import MIN_ECHO, Seam

LONG = "It was the best of times, "


def joined(said: str, pieces: list[str]) -> str:
    seam = Seam(said)
    return said + "".join(seam.feed(piece) for piece in pieces) + seam.end()


@pytest.mark.parametrize(
    ("said", "pieces", "whole"),
    [
        ("Hello", [" world"], "Hello world"),
        ("Hello ", [" world"], "Hello world"),
        ("Hello ", ["world"], "Hello world"),
        ("Hello\n\n", ["\n", "\nworld"], "Hello\n\nworld"),
        ("Hello \n", ["", " ", "\n", "  code"], "Hello \n  code"),
        (LONG, [LONG, "it was the worst"], LONG + "it was the worst"),
        (LONG, [LONG[:5], LONG[5:] + "it"], LONG + "it"),
        (LONG, ["It was ", "bad."], LONG + "It was bad."),
        (LONG, ["It was "], LONG + "It was "),
        (LONG, [LONG[:-1]], LONG + LONG[:-1]),
        ("ha", ["ha", "ha"], "hahaha"),
    ],
)
def test_what_was_said_before_is_dropped_and_nothing_else(said: str, pieces: list[str], whole: str) -> None:
    assert joined(said, pieces) == whole


def test_the_model_is_given_the_text_without_its_last_white_space() -> None:
    assert Seam("a b \n").given == "a b"


@given(said=st.text("ab \n", max_size=40), text=st.text("ab \n", max_size=60), cuts=st.lists(st.integers(0, 60)))
def test_how_the_continuation_was_cut_never_matters(said: str, text: str, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(edges)]
    assert joined(said, pieces) == joined(said, [text])


@given(said=st.text(min_size=MIN_ECHO), new=st.text())
def test_a_repeated_beginning_is_said_once(said: str, new: str) -> None:
    assert joined(said, [said, new]) == said + new
