"""What a parsed file is: one text, and where its pages and headings lie in it.

All offsets are code points into `Document.text`, half-open `[start, end)`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a paged format; pages tile the text in order without overlap."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading as it stands in the text; `level` counts from 1 (the outermost)."""

    level: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a file. `pages` is empty for formats that have none (Markdown, HTML, DOCX, plain text)."""

    text: str
    pages: tuple[Page, ...] = ()
    headings: tuple[Heading, ...] = ()
    title: str | None = None

    def page_at(self, offset: int) -> int | None:
        """Return the number of the page that holds the code point at `offset`, None without pages."""
        return next((page.number for page in self.pages if page.start <= offset < page.end), None)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: `text == document.text[start:end]`.

    `header` is the deterministic context (title and heading path) that is indexed and embedded
    before the text, but is never part of a quote.
    """

    index: int
    start: int
    end: int
    text: str
    header: str = ""
    page: int | None = None
