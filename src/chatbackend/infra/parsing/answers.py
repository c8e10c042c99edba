"""Reads a child's answer as the word of a stranger: a hostile file may have taken the child over."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from chatbackend.domain.documents import Document, Heading, Page
from chatbackend.domain.files import FileRejected, RejectionCode
from chatbackend.infra.parsing.limits import ParseLimits

_SPAN_BYTES = 48  # of one page or heading in JSON, at most
_REST_BYTES = 64 * 1024


class ParserFault(Exception):
    """What a parser said of its failure; for the log, never for the file's owner."""


class Nonsense(Exception):
    """The answer is not one that our own child gives."""


class Parsed(msgspec.Struct, tag_field="kind", tag="parsed", forbid_unknown_fields=True):
    """The file was read; its text follows in the next frame."""

    pages: list[tuple[int, int, int]]
    headings: list[tuple[int, int, int]]
    title: str | None


class Refused(msgspec.Struct, tag_field="kind", tag="refused", forbid_unknown_fields=True):
    """The file was refused."""

    code: RejectionCode
    message: str
    detail: str


_OUTCOME = msgspec.json.Decoder(Parsed | Refused)


def most_outcome_bytes(limits: ParseLimits) -> int:
    """Return how large an outcome within the limits can be."""
    return _REST_BYTES + _SPAN_BYTES * (limits.max_pages + limits.max_headings)


def read_outcome(payload: bytes | bytearray) -> Parsed:
    """Return a success.

    Raises:
        FileRejected: the child refused the file.
        Nonsense: the payload is no outcome.
    """
    try:
        outcome = _OUTCOME.decode(payload)
    except msgspec.DecodeError as error:
        raise Nonsense("no outcome") from error
    if isinstance(outcome, Refused):
        raise FileRejected(outcome.code, outcome.message) from ParserFault(outcome.detail)
    return outcome


def read_document(outcome: Parsed, payload: bytes | bytearray, limits: ParseLimits) -> Document:
    """Return the document, once everything in it is in order.

    Raises:
        Nonsense: it is not: text that is no text, pages that do not tile it, headings beside it.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Nonsense("text is not UTF-8") from error
    pages = tuple(Page(*page) for page in outcome.pages)
    headings = tuple(Heading(*heading) for heading in outcome.headings)
    if len(text) > limits.max_text_chars or "\0" in text:
        raise Nonsense("text out of bounds")
    if not _tile(pages, len(text)) or not _in_order(headings, len(text)):
        raise Nonsense("pages or headings out of bounds")
    return Document(text, pages, headings, outcome.title)


def _tile(pages: Sequence[Page], length: int) -> bool:
    if not pages:
        return True
    joined = all(page.end == after.start and page.number + 1 == after.number for page, after in pairwise(pages))
    sized = all(page.start <= page.end for page in pages)
    return joined and sized and pages[0].start == 0 and pages[0].number == 1 and pages[-1].end == length


def _in_order(headings: Sequence[Heading], length: int) -> bool:
    apart = all(heading.end <= after.start for heading, after in pairwise(headings))
    inside = all(0 <= heading.start < heading.end <= length and heading.level > 0 for heading in headings)
    return apart and inside
