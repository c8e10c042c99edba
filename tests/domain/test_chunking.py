"""A document is cut along its structure, and the passages say exactly where they stand."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbackend.domain.chunking import chunk
from chatbackend.domain.documents import Chunk, Document, Heading, Page
from chatbackend.domain.tokens import estimate_tokens

FRAGMENTS = [
    "One sentence here. ", "Is it? ", "word ", "a, b; c: ", "x" * 90, "日本語です。", "\n", "\n\n", "\r\n", "\f",
    "- item\n", "1. step\n", "| a | b |\n", "```\n", "def f(x):\n", "    return x\n", "# Title\n", "@a\n", " " * 70,
    "…", '."', "\u2028",
]  # fmt: skip


def words(count: int, name: str = "Word") -> str:
    """A sentence of `count` tokens with its full stop."""
    return " ".join([name] * (count - 1)) + "."


def texts(chunks: list[Chunk]) -> list[str]:
    return [each.text for each in chunks]


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = "".join(draw(st.lists(st.sampled_from(FRAGMENTS), max_size=60)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3, unique=True)))
    pages = [Page(n, a, b) for n, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(text)], strict=True), 1)]
    spans = st.tuples(st.integers(1, 8), st.integers(0, len(text)), st.integers(0, 30))
    headings = [Heading(level, a, min(len(text), a + size)) for level, a, size in draw(st.lists(spans, max_size=4))]
    title = draw(st.sampled_from([None, "Guide", "a.py"]))
    return Document(text, tuple(pages) if draw(st.booleans()) else (), tuple(headings), title)


@settings(max_examples=400)
@given(documents(), st.integers(1, 60), st.integers(0, 3), st.none() | st.integers(0, 30))
def test_passages_cover_a_document_in_order_at_exact_offsets(
    document: Document, max_tokens: int, sentences: int, tokens: int | None
) -> None:
    def cut() -> list[Chunk]:
        return chunk(document, max_tokens=max_tokens, overlap_sentences=sentences, overlap_tokens=tokens)

    chunks = cut()
    assert chunks == cut()
    assert [each.index for each in chunks] == list(range(len(chunks)))
    assert all(each.text == document.text[each.start : each.end] == each.text.strip() != "" for each in chunks)
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(chunks))
    assert all(each.page == document.page_at(each.start) for each in chunks)
    covered = {at for each in chunks for at in range(each.start, each.end)}
    assert all(at in covered for at, character in enumerate(document.text) if not character.isspace())


def test_a_small_document_stays_whole() -> None:
    text = f"{words(100)}\n\n{words(100)}\n\n{words(100)}"
    assert texts(chunk(Document(text), max_tokens=240)) == [text]


def test_the_static_strategy_never_exceeds_its_maximum() -> None:
    text = "\n\n".join(words(100) for _ in range(3))
    chunks = chunk(Document(text), max_tokens=240, overlap_tokens=0)
    assert [estimate_tokens(each.text) for each in chunks] == [200, 100]


def test_the_static_strategy_repeats_as_many_sentences_as_fit() -> None:
    names = ["One", "Two", "Three", "Four"]
    text = " ".join(words(10, name) for name in names)
    chunks = chunk(Document(text), max_tokens=30, overlap_tokens=25)
    assert texts(chunks) == [text[: -len(words(10, "Four")) - 1], text[len(words(10, "One")) + 1 :]]


def test_a_passage_ends_where_the_text_breaks_most_strongly() -> None:
    text = f"{words(30)} {words(30)}\n\n{words(19)} {words(30)}"
    chunks = chunk(Document(text), max_tokens=80, overlap_sentences=0)
    assert texts(chunks) == [f"{words(30)} {words(30)}", f"{words(19)} {words(30)}"]


def test_a_passage_repeats_the_last_sentence_of_the_one_before() -> None:
    text = f"{words(40)} {words(9, 'Last')} {words(45)}"
    chunks = chunk(Document(text), max_tokens=60)
    assert texts(chunks) == [f"{words(40)} {words(9, 'Last')}", f"{words(9, 'Last')} {words(45)}"]


def test_a_long_last_sentence_is_not_repeated() -> None:
    text = f"{words(30)} {words(30)} {words(38)}"
    assert chunk(Document(text), max_tokens=60)[1].text == words(38)


def test_a_sentence_is_never_cut_unless_it_alone_is_too_long() -> None:
    text = f"Short one here. {words(50)} {words(20)} {words(30)}"
    chunks = chunk(Document(text), max_tokens=40, overlap_sentences=0)
    assert texts(chunks)[2:] == [words(20), words(30)]
    assert " ".join(texts(chunks)) == text


def test_a_heading_begins_a_passage_once_the_one_before_is_half_full() -> None:
    text = f"# A\n{words(30)}\n# B\n{words(30)}"
    start = text.index("# B")
    headings = (Heading(1, 0, 3), Heading(1, start, start + 3))
    chunks = chunk(Document(text, headings=headings), max_tokens=50)
    assert texts(chunks) == [text[: start - 1], text[start:]]


def test_the_first_of_two_headings_in_the_second_half_begins_a_passage() -> None:
    text = f"{words(30)}\n# B\n{words(5)}\n# C\n{words(30)}"
    b, c = text.index("# B"), text.index("# C")
    document = Document(text, headings=(Heading(1, b, b + 3), Heading(1, c, c + 3)))
    assert texts(chunk(document, max_tokens=50)) == [words(30), text[b:]]


def test_a_heading_of_two_lines_is_not_cut() -> None:
    heading = "A heading over\ntwo lines"
    text = f"{words(22)}\n\n{heading}\n{words(20)} {words(30)}"
    start = text.index(heading)
    document = Document(text, headings=(Heading(1, start, start + len(heading)),))
    assert texts(chunk(document, max_tokens=50, overlap_sentences=0)) == [text[: -len(words(30)) - 1], words(30)]


def test_a_heading_stays_with_the_sentence_under_it() -> None:
    text = f"{words(10)}\n\nTitle\n{words(45)} {words(30)}"
    headings = (Heading(2, text.index("Title"), text.index("Title") + 5),)
    chunks = chunk(Document(text, headings=headings), max_tokens=50, overlap_sentences=0)
    assert texts(chunks) == [words(10), f"Title\n{words(45)}", words(30)]


def test_the_header_is_the_title_and_the_headings_above() -> None:
    text = f"# A\n{words(30)}\n## B\n{words(30)}\n# C\n{words(30)}"
    headings = tuple(
        Heading(level, text.index(line), text.index(line) + len(line))
        for level, line in [(1, "# A"), (2, "## B"), (1, "# C")]
    )
    chunks = chunk(Document(text, headings=headings, title=" The\n guide "), max_tokens=40)
    assert [each.header for each in chunks] == ["The guide > A", "The guide > A > B", "The guide > C"]


def test_a_title_that_repeats_itself_stands_once_in_the_header() -> None:
    document = Document("# Guide\nText.", headings=(Heading(1, 0, 7),), title="Guide")
    assert chunk(document)[0].header == "Guide"


def test_a_header_is_bounded() -> None:
    text = "t" * 500 + "\nText."
    headings = tuple(Heading(level, 0, 500) for level in range(1, 9))
    assert len(chunk(Document(text, headings=headings, title="u" * 500))[0].header) <= 300


def test_a_page_begins_a_passage_as_a_paragraph_does() -> None:
    text = f"{words(30)}\n{words(10, 'Page')}\n{words(20)}"
    start = text.index("Page")
    document = Document(text, pages=(Page(1, 0, start), Page(2, start, len(text))))
    chunks = chunk(document, max_tokens=45, overlap_sentences=0)
    assert [(each.page, each.text) for each in chunks] == [(1, words(30)), (2, text[start:])]


def cut_small(text: str, pages: tuple[Page, ...] = ()) -> list[str]:
    return texts(chunk(Document(text, pages), max_tokens=20, overlap_tokens=0))


def test_a_sentence_goes_on_over_the_end_of_a_page() -> None:
    text = "We went to the large market in the city and\n\nbought some bread there. Then we all went home again."
    start = text.index("bought")
    pages = (Page(1, 0, start), Page(2, start, len(text)))
    assert cut_small(text, pages) == [text[: start + 24], text[start + 25 :]]


def test_wrapped_lines_are_one_sentence() -> None:
    text = "This line was broken by a writer in the middle\nof its sentence. And this is another that was\nbroken."
    assert cut_small(text) == [text[:63], text[64:]]


def test_items_of_a_list_are_not_joined_but_their_hanging_lines_are() -> None:
    text = "- This item of a list is longer than one line of\n  text and goes on\n- This one here does not go on at all"
    at = text.index("\n- This")
    assert cut_small(text) == [text[:at], text[at + 1 :]]


def test_fenced_code_is_cut_between_lines_and_prose_after_it_is_prose_again() -> None:
    code = "~~~\nfirst. Second. Third. Fourth ```\nfirst. Second. Third. Fourth.\n~~~"
    prose = "One is here. Two is there. Three is nowhere. Four is gone. Five is not here."
    at, end = code.index("\nfirst. Second. Third. Fourth."), prose.index(" Five")
    assert cut_small(f"{code}\n{prose}") == [code[:at], code[at + 1 :], prose[:end], prose[end + 1 :]]


def test_code_is_cut_between_definitions_and_the_header_names_them() -> None:
    body = "        return 1 + 2 + 3 + 4 + 5 + 6\n"
    text = f'"""Adds."""\nclass A:\n    # why\n    def f(self):\n{body}\n    def g(self):\n{body}'
    chunks = chunk(Document(text, title="add.py"), max_tokens=26, overlap_sentences=0)
    assert [each.header for each in chunks] == [
        "add.py\nAdds.",
        "add.py > class A: > def f(self):\nAdds.",
        "add.py > class A: > def g(self):\nAdds.",
    ]


def test_tokens_can_be_counted_by_the_caller() -> None:
    chunks = chunk(Document("One. Two. Three."), max_tokens=6, overlap_sentences=0, count=len)
    assert texts(chunks) == ["One.", "Two.", "Three."]


def test_a_document_of_white_space_has_no_passage() -> None:
    assert chunk(Document(" \n\f ")) == []


@pytest.mark.parametrize("title", [None, "a.py"])
@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "\n" * 1_000_000,
        "a\n" * 100_000,
        "a " * 500_000,
        f"a{' ' * 1_000_000}b",
        "日本" * 100_000,
        "# \n" * 100_000,
    ],
    ids=["one word", "line ends", "short lines", "short words", "a gap", "no spaces", "empty headings"],
)
def test_hostile_text_is_cut_in_linear_time_into_bounded_passages(text: str, title: str | None) -> None:
    chunks = chunk(Document(text, title=title))
    assert all(len(each.text) <= 240 * 32 for each in chunks)
