"""Reads plain text and source code: any of the usual encodings, as it stands.

Source: https://encoding.spec.whatwg.org/#names-and-labels (Windows-1252 is what the web takes for other 8-bit text).
"""

import codecs
from pathlib import Path
from typing import Final

from chatbackend.domain.documents import Document
from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing.builder import check_length, finished, storable
from chatbackend.infra.parsing.limits import ParseLimits

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def parse(path: Path, limits: ParseLimits) -> Document:
    """Return the whole text, line ends made plain."""
    return finished(read(path, limits.max_text_chars), limits)


def read(path: Path, most_chars: int, declared: str | None = None) -> str:
    """Return the text of a file as Unicode with plain line ends; `declared` is an encoding to try before guessing.

    Raises:
        FileRejected: `empty_file`; `too_complex` when it is too long; `invalid_file` when it is no text.
    """
    size = path.stat().st_size
    if not size:
        raise FileRejected("empty_file", "The file is empty.")
    check_length(size // 4, most_chars)  # no encoding spends more than four bytes on a character
    text = decode(path.read_bytes(), declared)
    check_length(len(text), most_chars)
    if "\0" in text:
        raise FileRejected("invalid_file", "The file is not text: it holds NUL characters.")
    return storable(text)


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode by byte order mark, else as declared, as UTF-8, as Windows-1252 or, whatever it is, as Latin-1."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(name)
            except UnicodeDecodeError as error:
                raise FileRejected("invalid_file", f"The file is marked as {name} but is not.") from error
    for name in (declared or "utf-8", "utf-8", "cp1252"):
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
