"""Divide a document into units that a passage should not cut, and say how strongly the text breaks before each."""

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from chatbackend.domain.characters import BULLETS, STOPS, WIDE_STOPS
from chatbackend.domain.code import is_code, outline
from chatbackend.domain.documents import Document, Heading
from chatbackend.domain.sentences import sentences


class Break(IntEnum):
    """How strongly the text breaks before a unit; a heading of level n has `HEADING - n`, at least `SUBSECTION`."""

    NEVER = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4
    SUBSECTION = 5
    HEADING = 12


class Unit(NamedTuple):
    """A sentence, a heading or a line of code: `[start, end)` without the white space around it."""

    start: int
    end: int
    strength: int


_LINE = re.compile(r"\S[^\n\r\f\v\x1c-\x1e\x85\u2028\u2029]*+")
_FENCES: Final = ("```", "~~~")
_ITEM = re.compile(rf"[{BULLETS}] |\d{{1,3}}[.)] |[|>#]|\[\d+\]|[a-zA-Z][.)] ")
_CLOSED = re.compile(rf"[{STOPS}{WIDE_STOPS}:;][\"'\u201d\u2019)\]]?\Z")
_WRAPPED: Final = range(40, 161)  # how long a line is that a writer or a PDF broke in the middle of a sentence


class _Line(NamedTuple):
    start: int
    end: int
    indent: int
    after_blank: bool
    opens_page: bool
    heading: Heading | None  # the heading that it is, or is a part of
    literal: bool  # code, of which every line stands for itself


class _Block(NamedTuple):
    """Lines that belong together: a wrapped paragraph, a heading, or one line of code."""

    start: int
    end: int
    strength: int
    whole: bool  # has no sentences


def headings_of(document: Document) -> tuple[Heading, ...]:
    """Return the headings of the text in order; for source code its definitions."""
    if document.headings or not is_code(document):
        return tuple(sorted(document.headings, key=lambda heading: heading.start))
    return outline(document.text)


def units(document: Document, headings: tuple[Heading, ...]) -> Iterator[Unit]:
    """Yield the units in order; every character that is not white space is in exactly one."""
    for block in _blocks(document, headings):
        strength = block.strength
        spans = [(block.start, block.end)] if block.whole else sentences(document.text, block.start, block.end)
        for start, end in spans:
            yield Unit(start, end, strength)
            strength = Break.SENTENCE


def _blocks(document: Document, headings: tuple[Heading, ...]) -> Iterator[_Block]:
    lines = _lines(document, headings)
    previous = next(lines, None)
    if previous is None:
        return
    block = _Block(previous.start, previous.end, Break.PARAGRAPH, whole=_whole(previous))
    for line in lines:
        if _continues(document.text, previous, line):
            block = block._replace(end=line.end)
        else:
            yield block
            block = _Block(line.start, line.end, _strength(previous, line), whole=_whole(line))
        previous = line
    yield block


def _lines(document: Document, headings: tuple[Heading, ...]) -> Iterator[_Line]:
    text = document.text
    waiting = list(reversed(headings))
    pages = sorted((page.start for page in document.pages), reverse=True)
    heading: Heading | None = None
    literals = _Literals(always=is_code(document))
    last_end = 0
    for match in _LINE.finditer(text):
        start, words = match.start(), match[0].rstrip()
        gap = text[last_end:start]
        last_end = start + len(words)
        heading = heading if heading is not None and start < heading.end else None
        while waiting and waiting[-1].start < last_end:
            heading = waiting.pop()
        opens_page = bool(pages) and pages[-1] <= start
        while pages and pages[-1] <= start:
            pages.pop()
        yield _Line(
            start=start,
            end=last_end,
            indent=len(gap) - gap.rfind("\n") - 1,
            after_blank="\f" in gap or max(gap.count("\n"), gap.count("\r")) > 1,
            opens_page=opens_page,
            heading=heading,
            literal=literals.next(words),
        )


class _Literals:
    """Tells lines of code from prose: all of them, or those from a fence to the next of its kind."""

    def __init__(self, *, always: bool) -> None:
        self._always = always
        self._fence = ""

    def next(self, line: str) -> bool:
        marker = line[:3] if line.startswith(_FENCES) else ""
        inside = bool(self._fence or marker)
        if not self._fence:
            self._fence = marker
        elif self._fence == marker:
            self._fence = ""
        return self._always or inside


def _continues(text: str, previous: _Line, line: _Line) -> bool:
    """Return whether the line goes on with the sentence of the line before it, as wrapped text does."""
    if previous.heading is not None or line.heading is not None:
        return previous.heading is line.heading
    if previous.literal or line.literal or _ITEM.match(text, line.start):
        return False
    if _CLOSED.search(text, max(previous.start, previous.end - 2), previous.end):
        return False
    if line.after_blank:
        return line.opens_page and text[line.start].islower()
    hangs = line.indent > previous.indent and _ITEM.match(text, previous.start) is not None
    return previous.end - previous.start in _WRAPPED and (hangs or line.indent == previous.indent)


def _strength(previous: _Line, line: _Line) -> int:
    if line.heading is not None:
        return max(Break.SUBSECTION, Break.HEADING - line.heading.level)
    if previous.heading is not None and not line.literal:
        return Break.NEVER
    return Break.PARAGRAPH if line.after_blank or line.opens_page else Break.LINE


def _whole(line: _Line) -> bool:
    return line.literal or line.heading is not None
