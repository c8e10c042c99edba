"""A relayed stream is cut behind its events, however it comes."""

from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.whole_events import MAX_HELD_BYTES, WholeEvents

STREAM = b'event: a\ndata: {"n": 1}\n\n: ping\n\nevent: b\r\ndata: x\r\n\r\n' * 2 + b"data: [DONE]\n\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_only_whole_events_are_passed_on_however_they_are_cut(cuts: list[int]) -> None:
    events, passed = WholeEvents(), b""
    for start, end in zip((0, *cuts), (*cuts, len(STREAM)), strict=True):
        passed += events.feed(STREAM[start:end])
        assert passed.endswith((b"\n\n", b"\n\r\n")) or not passed
    assert (passed, events.rest) == (STREAM, b"")


def test_what_broke_off_is_held_but_not_without_end() -> None:
    events = WholeEvents()
    assert events.feed(b"data: 1\n\ndata: ") == b"data: 1\n\n"
    assert events.rest == b"data: "
    assert len(events.feed(b"x" * MAX_HELD_BYTES)) > MAX_HELD_BYTES
