"""Plain text in any usual encoding."""

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.files import FileRejected
from chatbackend.infra.parsing import text
from chatbackend.infra.parsing.limits import ParseLimits


def parse(tmp_path: Path, data: bytes, limits: ParseLimits | None = None) -> str:
    path = tmp_path / "file"
    path.write_bytes(data)
    return text.parse(path, limits or ParseLimits()).text


def refusal(tmp_path: Path, data: bytes, limits: ParseLimits | None = None) -> str:
    with pytest.raises(FileRejected) as refused:
        parse(tmp_path, data, limits)
    return refused.value.code


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"plain", "plain"),
        ("Grüße 😀".encode(), "Grüße 😀"),
        (codecs.BOM_UTF8 + b"marked", "marked"),
        ("Grüße".encode("utf-16"), "Grüße"),
        (codecs.BOM_UTF16_BE + "Grüße".encode("utf-16-be"), "Grüße"),
        ("Grüße 😀".encode("utf-32"), "Grüße 😀"),
        ("“Grüße” – 5 €".encode("cp1252"), "“Grüße” – 5 €"),
        (b"\x81 undefined in 1252", "\x81 undefined in 1252"),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, data: bytes, expected: str) -> None:
    assert parse(tmp_path, data) == expected


def test_line_ends_become_plain_and_all_else_stays(tmp_path: Path) -> None:
    assert parse(tmp_path, b"  one\r\ntwo\rthree\n\n\tfour  \n") == "  one\ntwo\nthree\n\n\tfour  \n"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (codecs.BOM_UTF8, "no_text"),
        (b" \n\t ", "no_text"),
        (b"a\0b", "invalid_file"),
        ("a\0b".encode("utf-16"), "invalid_file"),
        (codecs.BOM_UTF16_LE + b"\x00\xdc", "invalid_file"),
        (codecs.BOM_UTF16_LE + b"odd", "invalid_file"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    assert refusal(tmp_path, data) == code


def test_the_longest_text_passes_and_one_character_more_does_not(tmp_path: Path) -> None:
    limits = ParseLimits(max_text_chars=10)
    assert parse(tmp_path, "😀".encode() * 10, limits)
    assert refusal(tmp_path, b"x" * 11, limits) == "too_complex"


def test_a_file_that_can_only_be_too_long_is_not_even_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileRejected) as refused:
        text.parse(tmp_path / "sparse", ParseLimits())
    assert refused.value.code == "too_complex"


@given(st.binary(max_size=100))
def test_any_bytes_decode_to_storable_text_or_are_refused(data: bytes) -> None:
    try:
        decoded = text.decode(data)
    except FileRejected as refused:
        assert refused.code == "invalid_file"
    else:
        decoded.encode("utf-8")
