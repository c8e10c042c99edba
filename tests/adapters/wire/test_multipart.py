"""The multipart reader: what it takes, what it refuses, and that the cutting of the bytes never matters."""

import email.message
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise

import aiohttp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatbackend.adapters.wire.multipart import (
    Field,
    FileData,
    FileEnd,
    FileStart,
    MultipartError,
    MultipartLimits,
    MultipartReader,
    MultipartTooLarge,
    Part,
)

TYPE = 'multipart/form-data; boundary="b"'
LIMITS = MultipartLimits(parts=4, header_bytes=300, field_bytes=20, total_bytes=100_000)


def part(headers: str | bytes, content: bytes = b"x") -> bytes:
    raw = headers if isinstance(headers, bytes) else headers.encode()
    return b"--b\r\n" + raw + b"\r\n\r\n" + content + b"\r\n"


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def disposition(parameters: str) -> str:
    return f"Content-Disposition: form-data; {parameters}"


def read(pieces: Iterable[bytes], limits: MultipartLimits = LIMITS) -> list[Part]:
    """Read a body, joining neighbouring pieces of file content."""
    reader = MultipartReader(TYPE, limits)
    found: list[Part] = []
    for piece in pieces:
        for event in reader.feed(piece):
            last = found[-1] if found else None
            if isinstance(event, FileData) and isinstance(last, FileData):
                last.data += event.data
            else:
                found.append(event)
    reader.close()
    return found


def filename(parameters: str | bytes) -> str:
    raw = parameters if isinstance(parameters, bytes) else parameters.encode()
    start = read([body(part(b'Content-Disposition: form-data; name="file"; ' + raw))])[0]
    assert isinstance(start, FileStart)
    return start.filename


def test_fields_come_whole_and_files_come_as_they_arrive() -> None:
    raw = body(
        part(disposition('name="purpose"'), b"assistants"),
        part(disposition('name="file"; filename="a.txt"') + "\r\nContent-Type: text/plain", b"line\r\n--bline"),
        part(disposition("name=empty"), b""),
    )
    assert read([raw]) == [
        Field("purpose", "assistants"),
        FileStart("file", "a.txt", "text/plain"),
        FileData(b"line\r\n--bline"),
        FileEnd(),
        Field("empty", ""),
    ]


def test_an_empty_file_has_a_start_and_an_end() -> None:
    assert read([body(part(disposition('name="f"; filename=""'), b""))]) == [FileStart("f", "", None), FileEnd()]


def test_a_body_without_parts_is_well_formed() -> None:
    assert read([b"--b--"]) == []


def test_line_ends_before_the_first_boundary_are_ignored() -> None:
    assert read([b"\r", b"\n\r\n", body(part(disposition('name="a"')))]) == [Field("a", "x")]


def test_what_follows_the_closing_boundary_is_ignored() -> None:
    assert read([body(part(disposition('name="a"'))), b"epilogue --b\r\n"]) == [Field("a", "x")]


@pytest.mark.anyio
async def test_the_form_of_a_real_client_is_read() -> None:
    form = aiohttp.MultipartWriter("form-data", boundary="b")
    form.append("assistants").set_content_disposition("form-data", name="purpose")
    form.append(b"\0\1", {"Content-Type": "application/pdf"}).set_content_disposition(
        "form-data", name="file", filename='na"me.pdf'
    )
    assert read([await form.as_bytes()]) == [
        Field("purpose", "assistants"),
        FileStart("file", 'na"me.pdf', "application/pdf"),
        FileData(b"\0\1"),
        FileEnd(),
    ]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ('filename="plain.txt"', "plain.txt"),
        ("filename=token.txt", "token.txt"),
        ('FileName="case.txt"', "case.txt"),
        ('filename="../../etc/passwd"', "../../etc/passwd"),
        ('filename="C:\\temp\\new.txt"', "C:\\temp\\new.txt"),
        ('filename="quo\\"ted \\\\ name"', 'quo"ted \\ name'),
        ('filename="bro%22wser 100%.txt"', 'bro"wser 100%.txt'),
        ('filename="semi;colon=.txt"', "semi;colon=.txt"),
        ('filename="наука 日本 😀.txt"', "наука 日本 😀.txt"),
        ("filename*=UTF-8''na%C3%AFve%20file.txt", "naïve file.txt"),
        ("filename=\"naive\"; filename*=utf-8'en'na%C3%AFve", "naïve"),
        ("filename*=iso-8859-1''%A3.txt; filename=x", "£.txt"),
        ('filename="a" ; unknown=1;', "a"),
    ],
)
def test_file_names_are_read_as_clients_write_them(parameters: str, expected: str) -> None:
    assert filename(parameters) == expected


def test_a_file_name_that_is_not_utf_8_is_read_as_latin_1() -> None:
    assert filename('filename="Grüße.txt"'.encode("latin-1")) == "Grüße.txt"


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Type: text/plain",
        "Content-Disposition: attachment; name=a",
        disposition('filename="a.txt"'),
        disposition('name="a"; name="b"'),
        disposition('name="a"') + "\r\n" + disposition('name="b"'),
        disposition('name="a" filename="b"'),
        disposition('name="unclosed'),
        disposition("name"),
        disposition("name=a; filename*=UTF-8''%ff"),
        disposition("name=a; filename*=UTF-8''a%00b"),
        disposition("name=a; filename*=UTF-8''a%0d%0ab"),
        disposition("name=a; filename*=UTF-7''a"),
        disposition("name=a; filename*=nonsense"),
        disposition('name="a\0b"'),
        disposition('name="a\nb"'),
        disposition("name=a") + "\r\nContent-Transfer-Encoding: base64",
        "Bad Header: x",
        ": x",
        "Content-Disposition: form-data; name=a\rX",
    ],
)
def test_a_malformed_part_is_refused(headers: str) -> None:
    with pytest.raises(MultipartError) as refused:
        read([body(part(headers))])
    assert not isinstance(refused.value, MultipartTooLarge)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"--b",
        b"--b\r\n",
        b"--c\r\n",
        b"preamble\r\n--b--",
        b"\r\nx--b--",
        part(disposition("name=a")),
        b"x--b--",
    ],
)
def test_a_body_that_does_not_begin_or_end_as_multipart_is_refused(raw: bytes) -> None:
    with pytest.raises(MultipartError):
        read([raw])


def test_a_field_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(MultipartError, match="UTF-8"):
        read([body(part(disposition("name=a"), b"\xff"))])


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/mixed; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary="b "',
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=a; boundary=b",
    ],
)
def test_a_content_type_without_a_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError):
        MultipartReader(content_type, LIMITS)


TOO_LARGE = {
    "parts": body(*[part(disposition("name=a"))] * 5),
    "headers": body(part(disposition("name=a") + "\r\nX: " + "x" * 300)),
    "header name": body(part("x" * 301 + ": x")),
    "many headers": body(part("\r\n".join(f"X{n}: x" for n in range(100)))),
    "field": body(part(disposition("name=a"), b"x" * 21)),
    "total": body(part(disposition("name=a; filename=b"), b"x" * 100_000)),
}


@pytest.mark.parametrize("what", TOO_LARGE)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_whatever_is_over_its_limit_is_refused_however_it_is_cut(what: str, size: int) -> None:
    with pytest.raises(MultipartTooLarge):
        read(cut(TOO_LARGE[what], range(size, len(TOO_LARGE[what]), size)))


def test_exactly_the_limits_pass() -> None:
    padding = "x" * (300 - len("Content-Disposition") - len("form-data; name=a") - 1)
    raw = body(*[part(disposition("name=a") + f"\r\nY: {padding}", b"x" * 20)] * 4)
    assert read([raw], MultipartLimits(parts=4, header_bytes=300, field_bytes=20, total_bytes=len(raw)))


def test_a_reader_that_failed_stays_failed() -> None:
    reader = MultipartReader(TYPE, LIMITS)
    with pytest.raises(MultipartError):
        reader.feed(b"nonsense")
    with pytest.raises(MultipartError):
        reader.feed(body(part(disposition("name=a"))))
    with pytest.raises(MultipartError):
        reader.close()


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in pairwise(edges)]


def outcome(pieces: Sequence[bytes]) -> list[Part] | type[MultipartError]:
    try:
        return read(pieces)
    except MultipartError as error:
        return type(error)


# Bytes that look like delimiters are what a reader stumbles over.
FRAGMENTS = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"\r\n", b"--b", b"-", b"--", b" ", b"\r\n--b", b"\r\n--b--", b"\r\n--b-", b"a", b"b"]
    )
    | st.binary(max_size=6),
    max_size=12,
).map(b"".join)
PLACES = st.lists(st.integers(min_value=0), max_size=12)


@given(st.lists(st.tuples(st.booleans(), FRAGMENTS), max_size=3), FRAGMENTS, PLACES)
@example([(True, b"\r\n--b \t")], b"", list(range(200)))
def test_how_a_body_is_cut_never_matters(parts: list[tuple[bool, bytes]], tail: bytes, places: list[int]) -> None:
    heads = (disposition("name=a; filename=f") if file else disposition("name=a") for file, _ in parts)
    raw = body(*(part(head, content) for head, (_, content) in zip(heads, parts, strict=True))) + tail
    whole = outcome([raw])
    assert outcome(cut(raw, places)) == whole
    assert outcome([raw[index : index + 1] for index in range(len(raw))]) == whole


@given(FRAGMENTS, PLACES)
@example(b"\r\nx--b--", [2])
@example(b"\r\n--b--", [1, 2, 3])
def test_how_nonsense_is_cut_never_matters(raw: bytes, places: list[int]) -> None:
    assert outcome(cut(raw, places)) == outcome([raw])


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\%'), max_size=40), FRAGMENTS)
def test_what_was_written_is_what_is_read(name: str, content: bytes) -> None:
    raw = content
    while b"\r\n--b" in raw:  # what is left when one is cut out may be another
        raw = raw.replace(b"\r\n--b", b"")
    events = read([body(part(disposition(f'name="n"; filename="{name}"'), raw))])
    data = b"".join(event.data for event in events if isinstance(event, FileData))
    assert events[0] == FileStart("n", name, None)
    assert data == raw


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30))
def test_extended_file_names_agree_with_the_standard_library(name: str) -> None:
    message = email.message.Message()
    message.add_header("Content-Disposition", "form-data", name="n", filename=("utf-8", "", name))
    assert filename(message["Content-Disposition"].partition("; ")[2].partition("; ")[2]) == name.replace("%22", '"')


@pytest.mark.parametrize("pattern", [b"\r", b"\r\n--", b"\r\n--bx", b"\r\n--b-x", b"x"])
def test_reading_takes_linear_time(pattern: bytes) -> None:
    def seconds(size: int) -> float:
        raw = body(part(disposition("name=a; filename=f"), pattern * (size // len(pattern)) + b"x"))
        pieces = cut(raw, range(0, len(raw), 1000))
        limits = MultipartLimits(total_bytes=1 << 30)
        begin = time.process_time()
        read_and_drop(pieces, limits)
        return time.process_time() - begin

    small = min(seconds(1 << 17) for _ in range(3))
    assert min(seconds(1 << 20) for _ in range(3)) < 40 * max(small, 0.001)  # eight times the bytes; quadratic is 64


def read_and_drop(pieces: Iterable[bytes], limits: MultipartLimits) -> None:
    reader = MultipartReader(TYPE, limits)
    for piece in pieces:
        reader.feed(piece)
    reader.close()
