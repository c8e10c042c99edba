"""Citation marks in a stream of text become citations; the reader never sees a mark."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.citations import LONGEST_MARK, CitationScanner, cite
from chatbackend.domain.documents import Page
from chatbackend.domain.events import (
    Cited,
    Finished,
    ModelEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import FileCitation
from chatbackend.domain.passages import Passage
from chatbackend.domain.usage import Usage

PASSAGES = [Passage(f"file-{number}", "a.pdf", number, number + 4, "text", 0.5, page=number) for number in (1, 2)]


def scanned(*events: ModelEvent, passages: list[Passage] = PASSAGES) -> tuple[str, list[tuple[str, int]]]:
    """Return the text, and (file, place) of each citation."""
    scanner = CitationScanner(passages)
    found = [out for event in events for out in scanner.feed(event)] + scanner.end()
    text = "".join(out.text for out in found if isinstance(out, TextDelta))
    notes = [out.annotation for out in found if isinstance(out, Cited)]
    return text, [(note.file_id, note.index) for note in notes if isinstance(note, FileCitation)]


@pytest.mark.parametrize(
    ("said", "text", "citations"),
    [
        ("Tea【1】 and milk【2】.", "Tea and milk.", [("file-1", 3), ("file-2", 12)]),
        ("【1】【2】", "", [("file-1", 0), ("file-2", 0)]),
        ("with a source【2†a.pdf】", "with a source", [("file-2", 13)]),
        ("unknown【3】 and 【0】 go", "unknown and  go", []),
        ("no mark 【x】 stays", "no mark 【x】 stays", []),
        ("【12345】", "【12345】", []),
        ("open 【1", "open 【1", []),
        ("【" * 3 + "1】", "【【", [("file-1", 2)]),
        ("【a【1】", "【a", [("file-1", 2)]),
        ("【1†" + "a" * 13 + "】", "", [("file-1", 0)]),
        ("【1†" + "a" * 14 + "】", "【1†" + "a" * 14 + "】", []),
        ("【" + "1" * LONGEST_MARK + "】!", "【" + "1" * LONGEST_MARK + "】!", []),
        ("closed】 alone", "closed】 alone", []),
        ("𝄞【1】", "𝄞", [("file-1", 1)]),
    ],
)
def test_marks_become_citations_where_they_stood(said: str, text: str, citations: list[tuple[str, int]]) -> None:
    assert scanned(TextDelta(said)) == (text, citations)


@given(st.lists(st.sampled_from(["【", "1", "2", "9", "】", "†", "a", "bcdefghijk"]), max_size=40), st.data())
def test_how_the_text_was_cut_never_matters(letters: list[str], data: st.DataObject) -> None:
    said = "".join(letters)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=6)))
    pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    assert scanned(*map(TextDelta, pieces)) == scanned(TextDelta(said))


@given(st.text(st.sampled_from("【】1†a"), max_size=200))
def test_little_is_held_back(said: str) -> None:
    scanner, shown = CitationScanner(PASSAGES), 0
    for letter in said:
        for out in scanner.feed(TextDelta(letter)):
            shown += len(out.text) if isinstance(out, TextDelta) else 0
    marked = len(said) - len(scanned(TextDelta(said))[0])
    assert shown + marked + LONGEST_MARK >= len(said)


def test_without_passages_every_bracket_is_text() -> None:
    assert scanned(TextDelta("see 【1】"), passages=[]) == ("see 【1】", [])


def test_each_block_of_text_counts_its_own_places() -> None:
    assert scanned(TextDelta("ab【1】", 0), TextDelta("c【2】", 1)) == ("abc", [("file-1", 2), ("file-2", 1)])


def test_what_was_held_is_let_go_before_any_other_event() -> None:
    scanner = CitationScanner(PASSAGES)
    scanner.feed(TextDelta("a【1"))
    assert scanner.feed(Finished("stop")) == [TextDelta("【1"), Finished("stop")]


def test_a_count_between_the_pieces_of_a_mark_does_not_tear_it() -> None:
    counted = UsageReported(Usage(1, 1))
    assert scanned(TextDelta("Tea【"), counted, TextDelta("1"), counted, TextDelta("】.")) == ("Tea.", [("file-1", 3)])


@pytest.mark.parametrize("between", [ToolCallStarted("c1", "add"), ReasoningDelta("hm")])
def test_text_after_another_item_counts_from_its_own_start(between: ModelEvent) -> None:
    assert scanned(TextDelta("abc"), between, TextDelta("d【1】")) == ("abcd", [("file-1", 1)])


def test_log_probabilities_stay_with_the_text() -> None:
    one, two, three = ({"token": token} for token in ("one", "two", "three"))
    scanner = CitationScanner(PASSAGES)
    assert scanner.feed(TextDelta("a", logprobs=[one])) == [TextDelta("a", logprobs=[one])]
    assert scanner.feed(TextDelta("【", logprobs=[two])) == []
    assert scanner.feed(TextDelta("x】 b", logprobs=[three])) == [
        TextDelta("【", logprobs=[two, three]),
        TextDelta("x】 b"),
    ]
    scanner.feed(TextDelta("【1】", logprobs=[one]))
    assert scanner.end() == [TextDelta("", logprobs=[one])]


def test_a_citation_without_a_claim_holds_the_exact_place_of_its_passage() -> None:
    passage = Passage("file-1", "a.pdf", 10, 14, "text", 0.5, page=3)
    assert cite(passage, " ", index=7) == FileCitation("file-1", "a.pdf", 7, page=3, start=10, end=14, quote="text")


def test_a_citation_is_the_sentence_that_supports_the_claim_on_the_page_where_it_starts() -> None:
    text = "The roof is red. Coolant lasts fourteen months. Bees hum."
    pages = (Page(4, 90, 117), Page(5, 117, 170))
    passage = Passage("file-1", "a.pdf", 100, 100 + len(text), text, 0.5, page=4, pages=pages)
    cited = cite(passage, "The coolant is good for fourteen months", index=0)
    assert cited.quote == "Coolant lasts fourteen months."
    assert (cited.page, cited.start, cited.end) == (5, 117, 147)


def test_a_claim_that_shares_nothing_with_the_passage_cites_it_whole() -> None:
    passage = Passage("file-1", "a.pdf", 0, 9, "Bees hum.", 0.5)
    assert cite(passage, "zebra", index=0).quote == "Bees hum."


def test_marks_side_by_side_stand_behind_the_same_claim() -> None:
    first = Passage("f1", "a", 0, 33, "Bees hum. Coolant lasts a decade.", 0.5)
    second = Passage("f2", "b", 0, 36, "Coolant is kept a decade. Roofs fall", 0.5)
    scanner = CitationScanner([first, second])
    events = scanner.feed(TextDelta("Roofs fall. Old news【1】 coolant for a decade【1】【2】. End"))
    quotes = [
        event.annotation.quote
        for event in events
        if isinstance(event, Cited) and isinstance(event.annotation, FileCitation)
    ]
    assert quotes[1:] == ["Coolant lasts a decade.", "Coolant is kept a decade."]
