"""Decides what a file is: its extension, its declared type and its bytes must tell the same story.

Only the first `HEAD_BYTES` and the last `TAIL_BYTES` are looked at; containers are opened in the parser's process.
Source: PDF 1.7 (ISO 32000-1) 7.5.2 and its implementation note on a header within the first 1024 bytes;
APPNOTE.TXT 6.3 (ZIP) 4.3.7 and 4.3.16; MS-CFB 2.2 and MS-OFFCRYPTO 2.3 (encrypted Office documents).
"""

import codecs
import re
from collections.abc import Callable
from typing import Final, cast

import filetype

from chatbackend.domain.files import FORMATS, FileRejected, Format, extension, parsed_extensions

HEAD_BYTES: Final = 8192
TAIL_BYTES: Final = 22 + 65_535  # a ZIP's end record with the longest comment

_UNDECLARED: Final = ("", "application/octet-stream", "binary/octet-stream")
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_ZIP_ENTRY: Final = b"PK\x03\x04"
_ZIP_END: Final = b"PK\x05\x06"
_PDF_MARK: Final = re.compile(rb"%PDF-\d")
_ACTIVE_MARK: Final = re.compile(rb"<(?:script|html|body|svg|iframe|\?php)\b|<!doctype", re.IGNORECASE)
_MARKUP_MARK: Final = re.compile(r"<[a-zA-Z!?/]")
_TEXT_SIGNATURES: Final = re.compile(r"GIF8[79]a|\{\\rtf|%!PS|RIFF....WEBP", re.DOTALL)
_DOCX_FIRST: Final = ("[Content_Types].xml", "_rels/", "docProps/", "word/", "customXml/")
_FOREIGN_ENTRY: Final = re.compile(
    rb"PK\x03\x04.{26}(?:xl/|ppt/|mimetype|META-INF/|AndroidManifest|classes\.dex)", re.DOTALL
)
_CONTROLS: Final = frozenset(map(chr, range(32))) - frozenset("\t\n\v\f\r\b\x1a\x1b")
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def check(filename: str, declared_type: str | None, head: bytes) -> Format:
    """Return the format that extension, declared type and `head` (the first `HEAD_BYTES`) agree on.

    No type, or `application/octet-stream`, is no declaration.

    Raises:
        FileRejected: `unsupported_file`, `empty_file`, `encrypted_file` or `type_mismatch`.
    """
    suffix = extension(filename)
    known = FORMATS.get(suffix)
    if known is None or known.purpose == "none":
        raise _unsupported(suffix)
    if not head:
        raise FileRejected("empty_file", "The file is empty.")
    _check_declaration(suffix, known, declared_type)
    head = head[:HEAD_BYTES]
    if head.startswith(_OLE):
        raise _compound(suffix, known, head)
    match known.content:
        case "pdf":
            agrees = _is_pdf(head)
        case "zip":
            agrees = _is_docx(head)
        case "image":
            agrees = _is_image(known, head)
        case _:
            agrees = _is_text(head, markup=known.content == "markup")
    if not agrees:
        raise FileRejected("type_mismatch", f"The file's content is not what {suffix} promises{_seen(head)}.")
    return known


def check_tail(known: Format, tail: bytes) -> None:
    """Refuse a file that ends as another format than it began; `tail` is its last `TAIL_BYTES` (or all of it).

    Raises:
        FileRejected: `type_mismatch`.
    """
    end = tail.rfind(_ZIP_END)
    whole = 0 <= end <= len(tail) - 22
    reach = end + 22 + int.from_bytes(tail[end + 20 : end + 22], "little") if whole else -1
    if known.content == "zip":
        if reach != len(tail):
            raise FileRejected("type_mismatch", "The file does not end as a ZIP container does: it is cut or extended.")
    elif reach >= len(tail):
        raise FileRejected("type_mismatch", "The file has a ZIP archive at its end: it is two formats at once.")


def _check_declaration(suffix: str, known: Format, declared_type: str | None) -> None:
    declared = (declared_type or "").partition(";")[0].strip().lower()
    if declared not in _UNDECLARED and declared not in known.media_types:
        raise FileRejected(
            "type_mismatch", f"The declared type {declared[:100]!r} does not fit {suffix}: use {known.media_types[0]}."
        )


def _unsupported(suffix: str) -> FileRejected:
    images = ", ".join(sorted(name for name, known in FORMATS.items() if known.purpose == "vision"))
    return FileRejected(
        "unsupported_file",
        f"Files of type {suffix[:32] or '(no extension)'!s} are not supported. "
        f"Supported are {', '.join(parsed_extensions())} and, for vision, {images}.",
    )


def _compound(suffix: str, known: Format, head: bytes) -> FileRejected:
    """A compound file (OLE) under one of our extensions: an encrypted Office document, or an old one renamed."""
    if known.content == "zip" and _OLE_ENCRYPTED in head:
        return FileRejected("encrypted_file", "The document is protected by a password: remove it and upload again.")
    return FileRejected(
        "type_mismatch",
        f"The file is an Office document of the old kind or protected by a password, not what {suffix} promises.",
    )


def _is_pdf(head: bytes) -> bool:
    """True when nothing but white space stands before the header, and no page or script starts beside it."""
    start = _without_bom(head).lstrip(b"\0\t\n\f\r ")
    return _PDF_MARK.match(start) is not None and not _ACTIVE_MARK.search(head, 0, 1024)


def _is_docx(head: bytes) -> bool:
    if not head.startswith(_ZIP_ENTRY) or _PDF_MARK.search(head, 0, 1024) or _FOREIGN_ENTRY.search(head):
        return False
    if len(head) > 30 and head[6] & 1:
        raise FileRejected("encrypted_file", "The document is protected by a password: remove it and upload again.")
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return name.decode("latin-1").startswith(_DOCX_FIRST)


def _is_image(known: Format, head: bytes) -> bool:
    sniffed = _sniffed(head)
    foreign = _PDF_MARK.search(head, 0, 1024) or _ACTIVE_MARK.search(head) or _ZIP_ENTRY in head
    return sniffed in known.media_types and not foreign


def _is_text(head: bytes, *, markup: bool) -> bool:
    """True for UTF-8, for UTF-16 and 32 with their mark, and for 8-bit text with hardly a control character."""
    text = _decoded(head)
    if text is None or "\0" in text or _PDF_MARK.search(head, 0, 1024):
        return False
    if sum(map(_CONTROLS.__contains__, text)) * 100 > len(text):
        return False
    return not _TEXT_SIGNATURES.match(text) and (not markup or _MARKUP_MARK.search(text) is not None)


def _decoded(head: bytes) -> str | None:
    """Decode as far as the head goes; its last character may be cut."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return _decode(head, name)
    text = _decode(head, "utf-8")
    if text is None and _sniffed(head) is None:
        return head.decode("latin-1")
    return text


def _decode(head: bytes, name: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(name)().decode(head)
    except UnicodeDecodeError:
        return None


def _without_bom(head: bytes) -> bytes:
    return head.removeprefix(codecs.BOM_UTF8)


def _sniffed(head: bytes) -> str | None:
    guess = cast(Callable[[bytes], str | None], filetype.guess_mime)
    return guess(head)


def _seen(head: bytes) -> str:
    """Name what the bytes look like, where that can be told."""
    if _PDF_MARK.search(head, 0, 1024):
        return " (it holds a PDF header)"
    sniffed = _sniffed(head)
    return f" (it looks like {sniffed})" if sniffed else ""
