"""Where pages and headings lie in a file's text, as `file_texts.layout` keeps it."""

import msgspec

from chatbackend.domain.documents import Document, Heading, Page


class _Layout(msgspec.Struct, array_like=True):
    pages: list[tuple[int, int, int]]
    headings: list[tuple[int, int, int]]
    title: str | None


_decode = msgspec.json.Decoder(_Layout).decode
_encode = msgspec.json.Encoder().encode


def encode(document: Document) -> bytes:
    """Return a document's layout as it is kept."""
    pages = [(page.number, page.start, page.end) for page in document.pages]
    headings = [(heading.level, heading.start, heading.end) for heading in document.headings]
    return _encode(_Layout(pages, headings, document.title))


def decode(text: str, layout: bytes) -> Document:
    """Put a document together again."""
    found = _decode(layout)
    headings = tuple(Heading(*heading) for heading in found.headings)
    return Document(text, pages_of(layout), headings, found.title)


def pages_of(layout: bytes) -> tuple[Page, ...]:
    """Return the pages of a kept layout."""
    return tuple(Page(*page) for page in _decode(layout).pages)
