"""A relayed stream is shown in whole events that were looked at, however it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.relayed_events import MAX_HELD_BYTES, RelayedEvents

STREAM = (
    b'event: a\ndata: {"n": 1}\n\n: ping\n\nevent: b\r\ndata: x\r\ndata:y\r\n\r\ndata: {"n": 2}\n\n' * 2
    + b"data: [DONE]\n\n: bye\n\n"
)
DATA = [b'{"n": 1}', b"x\ny", b'{"n": 2}'] * 2 + [b"[DONE]"]


def passed(stream: bytes, cuts: list[int]) -> tuple[bytes, bytes, list[bytes]]:
    seen: list[bytes] = []

    def take(data: bytes) -> bool:
        seen.append(data)
        return data != b"[DONE]"

    events = RelayedEvents(take)
    shown = b"".join(events.feed(stream[a:b]) for a, b in zip((0, *cuts), (*cuts, len(stream)), strict=True))
    return shown, events.rest, seen


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_every_event_is_looked_at_once_and_what_is_refused_is_held(cuts: list[int]) -> None:
    shown, rest, seen = passed(STREAM, cuts)
    assert shown + rest == STREAM
    assert rest == b"data: [DONE]\n\n: bye\n\n"
    assert seen == DATA


@pytest.mark.parametrize("broken", [b"data: {", b"event: x", b"data: x\n", b"data: x\r\n\r"])
def test_what_broke_off_is_held(broken: bytes) -> None:
    assert passed(b"data: 1\n\n" + broken, [4])[:2] == (b"data: 1\n\n", broken)


def test_what_never_ends_is_not_held_without_end() -> None:
    shown, rest, seen = passed(b"data: 1\n\n" + b"x" * (MAX_HELD_BYTES + 1), [])
    assert (len(shown), rest, seen) == (9 + MAX_HELD_BYTES + 1, b"", [b"1"])


def test_an_event_a_piece_goes_the_way_of_all() -> None:
    stream = b'data: {"n": 1}\n\ndata: \n\ndata:x\n\ndata: [DONE]\n\ndata: after\n\n'
    ends = [at + 2 for at in range(len(stream)) if stream.startswith(b"\n\n", at)][:-1]
    whole = passed(stream, [])
    assert passed(stream, ends) == whole
    assert whole[1:] == (b"data: [DONE]\n\ndata: after\n\n", [b'{"n": 1}', b"x", b"[DONE]"])
