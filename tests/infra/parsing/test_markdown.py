"""Markdown headings, against a second and independent reader."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from chatbackend.infra.parsing import markdown
from chatbackend.infra.parsing.limits import ParseLimits


def found(source: str) -> list[tuple[int, str]]:
    return [(heading.level, source[heading.start : heading.end]) for heading in markdown.headings(source)]


def expected(source: str) -> list[tuple[int, str]]:
    """The top-level headings by markdown-it; a heading inside a quote or list is not one of the document's."""
    tokens = MarkdownIt("commonmark").parse(source)
    opened = [(token, tokens[index + 1]) for index, token in enumerate(tokens) if token.type == "heading_open"]
    return [(int(token.tag[1]), inline.content) for token, inline in opened if token.level == 0 and inline.content]


@pytest.mark.parametrize(
    ("source", "headings"),
    [
        ("# One\ntext\n## Two ##\n", [(1, "One"), (2, "Two")]),
        ("###### Six\n####### seven\n#none\n\\# no\n", [(6, "Six")]),
        ("   # Indented\n    # code\n\t# code\n", [(1, "Indented")]),
        ("# \n#\n## #\n", []),
        ("# C# and `#`\n", [(1, "C# and `#`")]),
        ("One\n===\n\nTwo\n---\n", [(1, "One"), (2, "Two")]),
        ("Over two\nlines\n---\n", [(2, "Over two\nlines")]),
        ("text\n\n---\n\n***\n===\n", []),
        ("- item\n---\n> quote\n---\n1. one\n---\n", []),
        ("```\n# code\n```\n# Heading\n", [(1, "Heading")]),
        ("~~~ python\n# code\n```\n~~~~\n# Heading\n", [(1, "Heading")]),
        ("````\n```\n# code\n````\n# Heading", [(1, "Heading")]),
        ("``` not ` fence\n# Heading\n", [(1, "Heading")]),
        ("```\n# never closed\n", []),
        ("# Emoji 😀 title\n# Next\n", [(1, "Emoji 😀 title"), (1, "Next")]),
    ],
)
def test_headings_are_found_outside_code(source: str, headings: list[tuple[int, str]]) -> None:
    assert found(source) == headings


LINES = st.sampled_from([
    "# One", "## Two ##",
    "#no", "  ### Three", "    # code", "Title", "words here", "===", "---", " ---", "", "", "***",
    "```", "~~~", "```py", "````", "> quote", "- item", "1. one", "2. two", "# a # b #", "#\ttab", "- - -", "=", "-",
])  # fmt: skip


@given(st.lists(LINES, max_size=10).filter(lambda lines: lines[:1] != ["---"]))
def test_headings_agree_with_another_reader(lines: list[str]) -> None:
    source = "\n".join(lines) + "\n"
    if any(line.startswith((">", "- i", "1.", "2.", "- -", "-")) and line != "---" for line in lines):
        return  # what continues a list or a quote lazily is no matter of headings
    assert found(source) == expected(source)


def test_front_matter_is_no_heading() -> None:
    assert found("---\ntitle: x\n---\n# One\n") == [(1, "One")]
    assert found("---\nnever closed\n# One\n") == [(1, "One")]


def test_the_text_is_the_source_and_the_title_its_first_main_heading(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"## Sub\r\n\r\n# *Main* title\r\nwords\r\n")
    document = markdown.parse(path, ParseLimits())
    assert document.text == "## Sub\n\n# *Main* title\nwords\n"
    assert document.title == "*Main* title"
    assert [document.text[heading.start : heading.end] for heading in document.headings] == ["Sub", "*Main* title"]


@pytest.mark.parametrize("line", ["#" * 200_000, "- " * 100_000 + "x", "# " * 100_000, "`" * 200_000, "a\n" * 100_000])
def test_no_line_takes_more_than_linear_time(line: str) -> None:
    assert len(list(markdown.headings(line))) <= 1
