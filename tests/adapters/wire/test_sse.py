"""The SSE codec: tables of bytes, and what holds for every way to cut them."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.sse import COMMENT, SseEvent, SseReader, SseTooLarge, encode

BOUND = 64


def read(*chunks: bytes) -> list[SseEvent]:
    reader = SseReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def outcome(stream: bytes, cuts: list[int]) -> tuple[list[SseEvent], bool | str]:
    """Return the events and how it ended: True inside an event, False between two, or the error."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader, events = SseReader(max_event_bytes=BOUND), list[SseEvent]()
    try:
        for start, end in pairwise(places):
            events += reader.feed(stream[start:end])
        return events, reader.end()
    except SseTooLarge as error:
        return events, str(error)


# Bytes that look like streams: fields, all three line ends, what splitlines would cut at, text over the bound.
fields = [b"data", b"event", b"id", b"retry", b":", b": ", b" ", b"x", b"{}", b"\0", b"\xef\xbb\xbf"]
breaks = [b"\n", b"\r", b"\r\n", b"\n\n", "\u2028".encode(), "\x85".encode()]
texts = ["日".encode(), b"\xff", b"y" * 40, b"z" * BOUND]
pieces = st.sampled_from([*fields, *breaks, *texts])
marked = st.lists(pieces, max_size=40).map(lambda some: b"".join([b"\xef\xbb\xbf", *some]))
streams = st.lists(pieces, max_size=40).map(b"".join) | marked


@given(streams, st.lists(st.integers(0, 400), max_size=12))
def test_where_the_bytes_were_cut_never_matters(stream: bytes, cuts: list[int]) -> None:
    assert outcome(stream, cuts) == outcome(stream, [])
    assert outcome(stream, list(range(len(stream)))) == outcome(stream, [])


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_no_bytes_raise_anything_but_the_bound(chunks: list[bytes]) -> None:
    reader = SseReader(max_event_bytes=BOUND)
    try:
        for chunk in chunks:
            reader.feed(chunk)
        reader.end()
    except SseTooLarge:
        assert reader.too_large


names = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
ids = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
data = st.binary(max_size=200).filter(lambda text: b"\r" not in text)


@given(st.lists(st.tuples(names, data, ids), max_size=5))
def test_what_is_written_is_read_back(events: list[tuple[str, bytes, str]]) -> None:
    stream = COMMENT.join(encode(event, text, event_id=event_id) for event, text, event_id in events)
    assert read(stream) == [SseEvent(event or "message", text, event_id) for event, text, event_id in events]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("message", b"a", "")]),
        (b"data:a\r\rdata:b\r\n\r\n", [("message", b"a", ""), ("message", b"b", "")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", b"a", "")]),
        (b"\xef\xbbdata: a\n\n", []),
        (b": comment\n:\ndata: a\n\n", [("message", b"a", "")]),
        (b"data: a\ndata:\ndata\ndata: b\n\n", [("message", b"a\n\n\nb", "")]),
        (b"data:  two spaces\n\n", [("message", b" two spaces", "")]),
        (b"event: ping\n\ndata: a\n\n", [("message", b"a", "")]),
        (b"event: ping\ndata\n\n", [("ping", b"", "")]),
        (
            b"id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
            [("message", b"a", "7"), ("message", b"b", "7"), ("message", b"c", "")],
        ),
        (b"id: 7\nid: 8\0\ndata: a\n\n", [("message", b"a", "7")]),
        (b"retry: 10\nfoo: bar\ndata: a\n\n", [("message", b"a", "")]),
        ("data: a\u2028b\x85c\x0b\x0c\n\n".encode(), [("message", "a\u2028b\x85c\x0b\x0c".encode(), "")]),
        (b"event: \xff\ndata: \xff\n\n", [("\ufffd", b"\xff", "")]),
    ],
)
def test_a_stream_is_read_as_the_specification_says(stream: bytes, events: list[tuple[Any, ...]]) -> None:
    assert read(stream) == [SseEvent(*event) for event in events]


def test_a_line_end_torn_between_cr_and_lf_is_one_line_end() -> None:
    assert read(b"data: a\r", b"\ndata: b\r", b"\r", b"\n") == [SseEvent("message", b"a\nb")]


def test_an_event_without_its_empty_line_is_lost_and_said_to_be() -> None:
    reader = SseReader()
    assert reader.feed(b"data: a\n\ndata: b\n") == [SseEvent("message", b"a")]
    assert reader.end()


def test_a_stream_that_stops_between_events_is_not_said_to_be_cut() -> None:
    reader = SseReader()
    reader.feed(b"data: a\n\n")
    assert not reader.end()


def test_the_events_before_one_that_is_too_large_still_come() -> None:
    reader = SseReader(max_event_bytes=8)
    assert reader.feed(b"data: a\n\ndata: 1234567890") == [SseEvent("message", b"a")]
    assert reader.too_large
    with pytest.raises(SseTooLarge):
        reader.feed(b"\n\n")
    with pytest.raises(SseTooLarge):
        reader.end()


@pytest.mark.parametrize("stream", [b": " + b"x" * 99, b"data: 123456789\n" * 9, b"x" * 99 + b"\n"])
def test_neither_comments_nor_many_lines_get_past_the_bound(stream: bytes) -> None:
    reader = SseReader(max_event_bytes=BOUND)
    reader.feed(stream)
    assert reader.too_large


def test_endless_comments_are_no_event() -> None:
    reader = SseReader(max_event_bytes=BOUND)
    for _ in range(1000):
        assert reader.feed(COMMENT) == []
    assert not reader.end()


@pytest.mark.timeout(20)  # rereading what is held would take minutes; this takes a fraction of a second
def test_a_large_event_in_small_reads_takes_linear_time() -> None:
    reader = SseReader(max_event_bytes=32 << 20)
    reader.feed(b"data: ")
    for _ in range(32 << 10):
        assert reader.feed(b"x" * 512) == []
    (event,) = reader.feed(b"\n\n")
    assert len(event.data) == 16 << 20


def test_an_event_is_written_with_its_type_and_id() -> None:
    assert encode("ping", b"{}") == b"event: ping\ndata: {}\n\n"
    assert encode("", b"{}", event_id="7") == b"id: 7\ndata: {}\n\n"


def test_line_breaks_in_data_become_lines_of_data() -> None:
    assert encode("", b"a\r\nb\rc\nd") == b"data: a\ndata: b\ndata: c\ndata: d\n\n"


@pytest.mark.parametrize("break_", ["\r", "\n"])
def test_a_line_break_in_a_field_is_refused(break_: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode(f"a{break_}b", b"")
    with pytest.raises(ValueError, match="one line"):
        encode("a", b"", event_id=f"1{break_}2")


def test_a_ping_is_a_comment() -> None:
    assert read(COMMENT) == []
