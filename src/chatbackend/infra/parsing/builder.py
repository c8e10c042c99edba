"""Builds the text of a document block by block, with its headings in place, and stops at the limits."""

import re
from typing import Final

from chatbackend.domain.documents import Document, Heading, Page
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.limits import ParseLimits

_LINE_END: Final = re.compile(r"\r\n?")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_TITLE_CHARS: Final = 300


class TextBuilder:
    """Collects blocks of text; offsets are final the moment a block is in."""

    def __init__(self, limits: ParseLimits) -> None:
        self._limits = limits
        self._pieces: list[str] = []
        self._headings: list[Heading] = []
        self.length = 0

    def block(self, text: str, *, gap: int = 2, level: int | None = None) -> None:
        """Add `text` after `gap` line ends (none at the start); a blank one is left out.

        Raises:
            FileRejected: `too_complex` past the limit of characters.
        """
        text = storable(text).strip("\n").rstrip()
        if not text or text.isspace():
            return
        if self.length:
            self._add("\n" * gap)
        start = self.length
        self._add(text)
        if level is not None and len(self._headings) < self._limits.max_headings:
            self._headings.append(Heading(level, start, self.length))

    def document(self, title: str | None) -> Document:
        """Return what was collected.

        Raises:
            FileRejected: `no_text` when nothing was.
        """
        return finished("".join(self._pieces), self._limits, headings=self._headings, title=title)

    def _add(self, piece: str) -> None:
        self.length += len(piece)
        check_length(self.length, self._limits.max_text_chars)
        self._pieces.append(piece)


def finished(
    text: str,
    limits: ParseLimits,
    *,
    pages: list[Page] | None = None,
    headings: list[Heading] | None = None,
    title: str | None = None,
) -> Document:
    """Return the document, or refuse one without text or with too much of it."""
    check_length(len(text), limits.max_text_chars)
    if not text or text.isspace():
        raise FileRejected("no_text", "The file holds no text.")
    kept = tuple((headings or ())[: limits.max_headings])
    name = " ".join(storable(title or "").split())[:_TITLE_CHARS]
    return Document(text, tuple(pages or ()), kept, name or None)


def check_length(chars: int, most: int) -> None:
    """Refuse a text longer than `most`."""
    if chars > most:
        raise FileRejected("too_complex", f"The file holds more than {most:,} characters of text.")


def storable(text: str) -> str:
    """Return `text` with plain line ends, without NUL and lone surrogates, which no database or JSON reader takes."""
    return _SURROGATE.sub("\ufffd", _LINE_END.sub("\n", text).replace("\0", ""))
