"""Reads PDF with PDFium: the text of every page in place, headings by the size of their letters.

Source: ISO 32000-1 7.5.5 (the file ends in `%%EOF`); PDFium's `fpdf_text.h`.
"""

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import pypdfium2 as pdfium
from pypdfium2 import raw

from chatbackend.domain.documents import Document, Heading, Page
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.builder import check_length, finished, storable
from chatbackend.infra.parsing.limits import ParseLimits

_PAGE_GAP: Final = "\n\n"
_HYPHEN: Final = "\ufffe"  # PDFium's mark of a hyphen at the end of a line, which swallows the line end
_HEADING_RATIO: Final = 1.15
_HEADING_CHARS: Final = 200
_LEVELS: Final = 6
_LEADER: Final = re.compile(r"(?:\. ?){4}")  # the dots of a table of contents


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    size: float  # of its letters, in points to the nearest half; 0 when unknown


def parse(path: Path, limits: ParseLimits) -> Document:
    """Return the text of all pages; each page's tile includes the gap to the next.

    Raises:
        FileRejected: `encrypted_file`, `invalid_file`, `too_complex`, or `no_text` for a scan.
    """
    _check_end(path)
    with _open(path) as document:
        if len(document) > limits.max_pages:
            raise FileRejected("too_complex", f"The PDF has more than {limits.max_pages:,} pages.")
        text, pages, lines = _read(document, limits)
        if not text or text.isspace():
            raise FileRejected("no_text", "The PDF holds no text: it may be a scan, which needs a text layer (OCR).")
        headings = list(_headings(text, lines))
        return finished(text, limits, pages=pages, headings=headings, title=_title(document))


def _title(document: pdfium.PdfDocument) -> str:
    return document.get_metadata_value("Title")  # pyright: ignore[reportUnknownMemberType] - pypdfium2 is untyped


def _check_end(path: Path) -> None:
    """Refuse a cut file: PDFium would repair it and give half of it for the whole."""
    size = path.stat().st_size
    if not size:
        raise FileRejected("empty_file", "The file is empty.")
    with path.open("rb") as file:
        file.seek(max(0, size - 2048))
        if b"%%EOF" not in file.read():
            raise FileRejected("invalid_file", "The PDF is cut off: its end is missing.")


def _open(path: Path) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        code = cast(int | None, error.err_code)
        if code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            message = "The PDF is protected by a password: remove it and upload again."
            raise FileRejected("encrypted_file", message) from error
        raise FileRejected("invalid_file", "The PDF is damaged and cannot be read.") from error


def _read(document: pdfium.PdfDocument, limits: ParseLimits) -> tuple[str, list[Page], list[_Line]]:
    pieces: list[str] = []
    pages: list[Page] = []
    lines: list[_Line] = []
    position = 0
    for index in range(len(document)):
        if index:
            pieces.append(_PAGE_GAP)
            position += len(_PAGE_GAP)
            pages[-1] = Page(index, pages[-1].start, position)
        start = position
        for text, size in _page_lines(document, index):
            if position > start:
                pieces.append("\n")
                position += 1
            pieces.append(text)
            lines.append(_Line(position, position + len(text), size))
            position += len(text)
        pages.append(Page(index + 1, start, position))
        check_length(position, limits.max_text_chars)
    return "".join(pieces), pages, lines


def _page_lines(document: pdfium.PdfDocument, index: int) -> list[tuple[str, float]]:
    """Return the lines of a page with the size of their letters."""
    try:
        page = document[index]
        textpage = page.get_textpage()
    except pdfium.PdfiumError as error:
        raise FileRejected("invalid_file", f"Page {index + 1} of the PDF is damaged and cannot be read.") from error
    lines: list[tuple[str, float]] = []
    unit = 0  # PDFium counts in UTF-16
    for line in textpage.get_text_range().split("\r\n"):
        indent = len(line) - len(line.lstrip())
        lines.append((storable(line.replace(_HYPHEN, "-\n")), _letter_size(textpage, unit + indent) if line else 0.0))
        unit += len(line.encode("utf-16-le", "surrogatepass")) // 2 + 2
    textpage.close()
    page.close()
    return lines


def _letter_size(textpage: pdfium.PdfTextPage, unit: int) -> float:
    """Return the size in points, font matrix included: many writers set size 1 and scale by the matrix."""
    index = raw.FPDFText_GetCharIndexFromTextIndex(textpage, unit)
    matrix = raw.FS_MATRIX()
    if index < 0 or not raw.FPDFText_GetMatrix(textpage, index, ctypes.byref(matrix)):
        return 0.0
    size = raw.FPDFText_GetFontSize(textpage, index) * math.hypot(matrix.c, matrix.d)
    return round(size * 2) / 2 if math.isfinite(size) else 0.0


def _headings(text: str, lines: list[_Line]) -> Iterator[Heading]:
    """Yield short lines in letters larger than those that most of the text is set in; the largest are level 1."""
    usage = Counter[float]()
    for line in lines:
        usage[line.size] += line.end - line.start
    body = max(usage, key=lambda size: usage[size], default=0.0)
    large = sorted((size for size in usage if size >= body * _HEADING_RATIO), reverse=True)
    levels = {size: min(rank, _LEVELS) for rank, size in enumerate(large, 1)} if body else {}
    for heading in _joined(line for line in lines if line.end > line.start):
        words = text[heading.start : heading.end]
        if heading.size not in levels or len(words) > _HEADING_CHARS or _LEADER.search(words):
            continue
        if any(map(str.isalpha, words)):
            yield Heading(levels[heading.size], heading.start, heading.end)


def _joined(lines: Iterator[_Line]) -> Iterator[_Line]:
    """Join neighbours of one size: a heading over several lines is one (a longer run is none by its length)."""
    run: _Line | None = None
    for line in lines:
        if run and run.size == line.size and line.start == run.end + 1:
            run = _Line(run.start, line.end, run.size)
            continue
        if run:
            yield run
        run = line
    if run:
        yield run
