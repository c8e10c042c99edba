"""Extension, declared type and bytes must agree; whatever is two things at once is refused."""

import codecs
import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.validation.file_type import HEAD_BYTES, TAIL_BYTES, check, check_tail
from chatbackend.domain.files import FORMATS, FileRejected
from tests.support import documents

PDF = documents.pdf([[(12, "words")]])
DOCX = documents.word([("Normal", "words")])
HTML = b"<!doctype html><html><body><p>words</p></body></html>"
SCRIPT = b"<script>alert(1)</script>"
ZIP = documents.zipped({"a.txt": "archived"})
PNG, JPEG, GIF, WEBP = (documents.image(kind) for kind in ("png", "jpeg", "gif", "webp"))


def refusal(filename: str, head: bytes, declared: str | None = None) -> str:
    """Check a whole small file as an upload does, and return the code of its refusal."""
    with pytest.raises(FileRejected) as refused:
        check_tail(check(filename, declared, head[:HEAD_BYTES]), head[-TAIL_BYTES:])
    assert refused.value.message.endswith(".")
    return refused.value.code


@pytest.mark.parametrize(
    ("filename", "declared", "data", "name"),
    [
        ("a.pdf", "application/pdf", PDF, "pdf"),
        ("A.PDF", None, b"\xef\xbb\xbf\r\n" + PDF, "pdf"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", DOCX, "docx"),
        ("a.docx", "application/octet-stream", documents.word_of("<w:p/>"), "docx"),
        ("a.html", "text/html; charset=utf-8", HTML, "html"),
        ("a.htm", "", b"<p>a fragment", "html"),
        ("a.md", "text/markdown", b"# Title\n", "markdown"),
        ("a.md", "text/plain", "# Grüße\n".encode("cp1252"), "markdown"),
        ("a.txt", "Text/Plain", b"BMW makes cars; MZ made motorcycles, ID3 is a tag.", "text"),
        ("a.txt", None, b"x", "text"),
        ("a.txt", None, codecs.BOM_UTF16_LE + "Grüße".encode("utf-16-le"), "text"),
        ("a.txt", None, codecs.BOM_UTF32_BE + "Grüße".encode("utf-32-be"), "text"),
        ("a.txt", None, "日本語のテキスト".encode("shift_jis"), "text"),
        ("a.log.txt", None, b"\x1b[31mred\x1b[0m" + b"words " * 40 + b"\x01", "text"),
        ("a.ts", "video/mp2t", b"export const a = 1;", "text"),
        ("a.csv", "application/vnd.ms-excel", b"a;b\n1;2\n", "text"),
        ("a.xml", "application/xml", b"<?xml version='1.0'?><a/>", "text"),
        ("a.png", "image/png", PNG, "png"),
        ("a.jpg", "image/jpeg", JPEG, "jpeg"),
        ("a.jpeg", "image/jpg", JPEG, "jpeg"),
        ("a.gif", None, GIF, "gif"),
        ("a.webp", "image/webp", WEBP, "webp"),
    ],
)
def test_a_file_that_is_what_it_says_is_taken(filename: str, declared: str | None, data: bytes, name: str) -> None:
    known = check(filename, declared, data[:HEAD_BYTES])
    check_tail(known, data[-TAIL_BYTES:])
    assert known.name == name


def test_a_character_cut_by_the_end_of_the_head_does_not_count_as_binary() -> None:
    text = "€" * HEAD_BYTES
    assert check("a.txt", None, text.encode()[:HEAD_BYTES]).name == "text"
    assert check("a.txt", None, text.encode("utf-16")[: HEAD_BYTES - 1]).name == "text"


@pytest.mark.parametrize("filename", ["a", "a.exe", "a.pptx", "a.xlsx", "a.zip", "a.svg", "pdf", ".pdf", "a.pdf/"])
def test_an_unsupported_file_is_told_what_is_supported(filename: str) -> None:
    with pytest.raises(FileRejected, match=r"\.docx, .*\.pdf.* for vision, \.gif") as refused:
        check(filename, None, b"whatever")
    assert refused.value.code == "unsupported_file"


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_an_empty_file_is_never_taken(suffix: str) -> None:
    assert refusal("a" + suffix, b"") in {"empty_file", "unsupported_file"}


@pytest.mark.parametrize(
    ("filename", "declared", "data"),
    [
        ("a.pdf", "text/plain", PDF),
        ("a.txt", "application/pdf", b"words"),
        ("a.html", "text/plain", HTML),
        ("a.png", "image/jpeg", PNG),
        ("a.docx", "application/zip", DOCX),
        ("a.md", "'\"<script>" * 50, b"words"),
    ],
)
def test_a_declared_type_that_does_not_fit_the_extension_is_refused(filename: str, declared: str, data: bytes) -> None:
    assert refusal(filename, data, declared) == "type_mismatch"


@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("png.pdf", PNG),
        ("text.pdf", b"just words"),
        ("html.pdf", HTML),
        ("docx.pdf", DOCX),
        ("pdf.docx", PDF),
        ("text.docx", b"just words"),
        ("html.docx", HTML),
        ("xlsx.docx", documents.zipped({"[Content_Types].xml": "x", "xl/workbook.xml": "x"})),
        ("pptx.docx", documents.zipped({"[Content_Types].xml": "x", "ppt/presentation.xml": "x"})),
        ("odt.docx", documents.zipped({"mimetype": "application/vnd.oasis.opendocument.text"}, stored=True)),
        ("jar.docx", documents.zipped({"META-INF/MANIFEST.MF": "x"})),
        ("zip.docx", ZIP),
        ("pdf.txt", PDF),
        ("png.txt", PNG),
        ("gzip.txt", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(range(256))),
        ("rtf.txt", rb"{\rtf1 words}"),
        ("postscript.txt", b"%!PS-Adobe-3.0\n"),
        ("program.py", b"\x7fELF\x02\x01\x01" + bytes(60)),
        ("binary.md", bytes(range(1, 256)) * 4),
        ("utf16-without-mark.txt", "words".encode("utf-16-le")),
        ("broken-utf16.txt", codecs.BOM_UTF16_LE + b"\x00\xdc\x00\xdc"),
        ("words.html", b"just words"),
        ("words.xml", b"just words"),
        ("png.html", PNG),
        ("jpeg.png", JPEG),
        ("html.png", HTML),
        ("words.gif", b"just words"),
        ("riff.webp", b"RIFF\x24\0\0\0WAVEfmt "),
        ("old.docx", documents.compound_file("WordDocument")),
        ("old.txt", documents.compound_file("WordDocument")),
    ],
)
def test_a_lying_extension_is_refused(filename: str, data: bytes) -> None:
    assert refusal(filename, data) == "type_mismatch"


def test_an_encrypted_office_document_is_told_apart_from_an_old_one() -> None:
    assert refusal("a.docx", documents.compound_file("EncryptionInfo", "EncryptedPackage")) == "encrypted_file"


def test_a_zip_whose_first_entry_is_encrypted_is_refused_as_encrypted() -> None:
    encrypted = bytearray(DOCX)
    encrypted[6] |= 1
    assert refusal("a.docx", bytes(encrypted)) == "encrypted_file"


def stored_docx_with_pdf() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as container:
        container.writestr("[Content_Types].xml", PDF)
    return out.getvalue()


def commented(data: bytes) -> bytes:
    """A JPEG with `data` in a comment segment."""
    return JPEG[:2] + b"\xff\xfe" + struct.pack(">H", len(data) + 2) + data + JPEG[2:]


def with_comment(container: bytes, comment: bytes) -> bytes:
    """A ZIP whose comment is `comment`."""
    return container[:-2] + struct.pack("<H", len(comment)) + comment


POLYGLOTS = {
    "gif+pdf.gif": GIF + PDF,
    "gif+pdf.pdf": GIF + PDF,
    "png+pdf.png": PNG + PDF,
    "png+pdf.pdf": PNG + PDF,
    "jpeg+pdf.jpg": commented(PDF[:200]),
    "jpeg+html.jpg": commented(SCRIPT),
    "gif+html.gif": GIF + b"!\xfe\x20" + HTML,
    "gif+php.gif": GIF + b"<?php system($_GET[0]);?>",
    "gif+js.js": b"GIF89a=1;/*" + b"x" * 40 + b"*/alert(1)",
    "webp+html.webp": WEBP + HTML,
    "gif+zip.gif": GIF + ZIP,
    "png+late-zip.png": PNG + bytes(HEAD_BYTES) + ZIP,
    "pdf+zip.pdf": PDF + ZIP,
    "pdf+commented-zip.pdf": with_comment(PDF + ZIP, b"%%EOF"),
    "pdf+html.pdf": PDF[:9] + b"%" + SCRIPT + PDF[9:],
    "pdf+html.html": b"<!-- " + PDF[:60] + b"-->" + HTML,
    "html+pdf.pdf": HTML + PDF,
    "pdf+js.js": b"/*%PDF-1.4\n1 0 obj*/ alert(1)",
    "pdf+md.md": b"%PDF-1.4\n# Title\n",
    "docx+pdf.docx": stored_docx_with_pdf(),
    "docx+pdf-after.docx": DOCX + PDF,
    "docx+pdf-after.pdf": DOCX + PDF,
    "exe+docx.docx": b"MZ\x90\0" + bytes(60) + DOCX,
    "html+zip.html": HTML + ZIP,
    "text+zip.txt": b"words " * 2000 + ZIP,
    "shell+binary.sh": b"#!/bin/sh\nexit\n" + bytes(range(256)),
    "webp-in-text.txt": b"RIFFabcdWEBP words",
}


@pytest.mark.parametrize("filename", POLYGLOTS)
def test_a_polyglot_is_refused(filename: str) -> None:
    assert refusal(filename, POLYGLOTS[filename]) == "type_mismatch"


@pytest.mark.parametrize("cut", [1, 5, 22, 100])
def test_a_container_that_is_cut_off_is_refused(cut: int) -> None:
    assert refusal("a.docx", DOCX[:-cut]) == "type_mismatch"


def test_a_zip_end_record_in_the_middle_of_a_text_is_only_text() -> None:
    check_tail(FORMATS[".txt"], b"PK\x05\x06" + bytes(18) + b"and so on")


@given(st.sampled_from(sorted(FORMATS)), st.none() | st.text(max_size=30), st.binary(max_size=200))
def test_no_bytes_make_the_check_fail_in_another_way(suffix: str, declared: str | None, head: bytes) -> None:
    try:
        assert check("a" + suffix, declared, head).purpose != "none"
    except FileRejected as refused:
        assert refused.code in {"unsupported_file", "empty_file", "encrypted_file", "type_mismatch"}


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300))
def test_any_printable_text_is_text(words: str) -> None:
    assert check("a.txt", None, ("text " + words).encode()).name == "text"
