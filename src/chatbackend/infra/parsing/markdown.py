"""Reads Markdown: the text is the source itself, its headings are found outside code and front matter.

Source: https://spec.commonmark.org/0.31.2/ (sections 4.2 ATX headings, 4.3 setext headings, 4.5 fenced code blocks).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from chatbackend.domain.documents import Document, Heading
from chatbackend.infra.parsing.builder import finished
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.text import read

_FENCE: Final = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_ATX: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)")
_ATX_END: Final = re.compile(r"(?:^|[ \t])#+[ \t]*$")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)[ \t]*$")
# What begins a block of its own and so is no paragraph that could be underlined.
_NOT_PARAGRAPH: Final = re.compile(r" {0,3}(?:>|[-+*](?:[ \t]|$)|\d{1,9}[.)](?:[ \t]|$)|\||<[!/?a-zA-Z])|(?: {4}|\t)")
_RULE: Final = re.compile(r" {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$")


def parse(path: Path, limits: ParseLimits) -> Document:
    """Return the source with its headings; the title is the first heading of the first level."""
    text = read(path, limits.max_text_chars)
    found = list(headings(text))
    title = next((text[heading.start : heading.end] for heading in found if heading.level == 1), None)
    return finished(text, limits, headings=found, title=title)


def headings(text: str) -> Iterator[Heading]:
    """Yield ATX and setext headings in order; each covers its words, without the marks."""
    paragraph: tuple[int, int] | None = None  # where the paragraph began that the next line may underline
    fence = ""
    position = _front_matter_end(text)
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        line = text[position:end]
        if fence:
            fence = "" if _closes(line, fence) else fence
        elif opened := _FENCE.match(line):
            fence, paragraph = opened[1], None
        elif heading := _atx(line, position) or _setext(line, paragraph):
            if heading.end > heading.start:
                yield heading
            paragraph = None
        else:
            paragraph = _paragraph(line, position, paragraph)
        position = end + 1


def _front_matter_end(text: str) -> int:
    """Where YAML front matter ends; without this its last line would read as an underlined heading."""
    if not text.startswith("---\n"):
        return 0
    end = text.find("\n---\n", 3)
    return 0 if end < 0 else end + 5


def _closes(line: str, fence: str) -> bool:
    mark = line.strip()
    return len(mark) >= len(fence) and not mark.strip(fence[0]) and not line.startswith(("    ", "\t"))


def _atx(line: str, position: int) -> Heading | None:
    match = _ATX.match(line)
    if match is None:
        return None
    content = _ATX_END.sub("", line[match.end() :]).rstrip()
    start = position + match.end()
    return Heading(len(match[1]), start, start + len(content))


def _setext(line: str, paragraph: tuple[int, int] | None) -> Heading | None:
    match = _UNDERLINE.match(line) if paragraph else None
    if match is None or paragraph is None:
        return None
    return Heading(1 if match[1].startswith("=") else 2, *paragraph)


def _paragraph(line: str, position: int, before: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the span of words of the paragraph that `line` continues or begins, None when it is none."""
    words = line.strip()
    if not words or _RULE.match(line) or (before is None and _NOT_PARAGRAPH.match(line)):
        return None
    if before and re.match(r" {0,3}(?:>|[-+*][ \t]|1[.)][ \t])", line):
        return None
    start = position + len(line) - len(line.lstrip())
    return before[0] if before else start, start + len(words)
