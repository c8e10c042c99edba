"""What a relay of Messages reads along: the model, the usage, the end; wherever the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.messages_relay import Account, asked, error_event
from chatbackend.domain.errors import InvalidRequest, UpstreamError, UpstreamOverloaded
from chatbackend.domain.usage import Usage

START = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","content":[],"usage":'
    b'{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":1}}}\n\n'
)
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"say \\"type\\":\\"message_stop\\""}}\n\n'
)
END = (
    b'event: message_delta\r\ndata: {"type": "message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":9}}\r\n\r\n'
)
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
WHOLE = b'{"type":"message","content":[],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":4}}'
STREAM = START + DELTA * 3 + END + STOP


def read(stream: bytes, *cuts: int, streamed: bool = True) -> Account:
    account = Account(400, streamed=streamed)
    for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
        account.feed(stream[start:end])
    return account


def test_the_model_and_the_stream_flag_are_read_and_nothing_else() -> None:
    found = asked(b'{"model":"m","stream":true,"unknown":[{}]}')
    assert (found.model, found.stream) == ("m", True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"model":7}', "'model'"),
        (b'{"model":"m","stream":"yes"}', "'stream'"),
        (b"{", "JSON"),
        (b'{"model":"m","x":' + b"[" * 100_000, "JSON"),
        (b"{}", "model"),
        (b"[]", "object"),
    ],
)
def test_a_request_that_cannot_be_read_names_the_place(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        asked(body)


@given(st.lists(st.integers(0, len(STREAM)), max_size=8).map(sorted))
def test_usage_and_the_end_are_read_however_the_stream_is_cut(cuts: list[int]) -> None:
    account = read(STREAM, *cuts)
    assert account.ended
    assert account.outcome == "completed"
    assert account.usage() == Usage(7, 9, 2)


def test_a_stream_has_begun_with_its_first_delta() -> None:
    assert not read(START).begun
    assert read(START + DELTA).begun


def test_a_stream_is_over_with_its_end_mark_and_not_with_text_that_looks_like_it() -> None:
    cut = read(START + DELTA + END)
    assert (cut.ended, cut.outcome) == (False, None)
    assert not read(START + DELTA + STOP).ended, "it did not say why it stopped"
    assert Account(1, streamed=False).outcome is None, "nothing came"


def test_what_was_not_told_is_estimated_from_what_came() -> None:
    assert read(START + DELTA * 3).usage() == Usage(7, 3, 2, estimated=True)
    assert read(DELTA * 3).usage() == Usage(100, 3, estimated=True)
    whole = b'{"type":"message","stop_reason":"end_turn"} '
    assert read(whole, streamed=False).usage() == Usage(100, len(whole) // 4, estimated=True)
    assert read(b'{"type":"error","error":{}}', streamed=False).usage() == Usage(estimated=True), "no answer"
    assert read(b'data: {"type":7}\n\n').usage() == Usage(100, 0, estimated=True)


def test_a_whole_answer_tells_its_usage_and_its_end() -> None:
    account = read(WHOLE, streamed=False)
    assert (account.usage(), account.outcome, account.ended) == (Usage(3, 4), "incomplete", True)


def test_an_error_is_an_event_of_its_own() -> None:
    assert error_event(b"{}") == b"event: error\ndata: {}\n\n"


@pytest.mark.parametrize("body", [b"<html>", b'{"type":"error"}', WHOLE[:-9], b'{"type":"other"}', b'{"type":7}'])
def test_a_body_that_is_no_message_has_not_ended(body: bytes) -> None:
    account = read(body, streamed=False)
    assert not account.ended
    assert account.usage() == Usage(estimated=True)


def test_a_message_that_does_not_say_why_it_stopped_is_not_whole() -> None:
    account = read(WHOLE.replace(b'"max_tokens"', b"null"), streamed=False)
    assert (account.ended, account.outcome, account.error) == (False, None, None)


def shown(*chunks: bytes) -> tuple[bytes, Account]:
    account = Account(400, streamed=True)
    return b"".join(map(account.feed, chunks)), account


def test_the_end_is_shown_only_behind_a_reason() -> None:
    text, account = shown(START + DELTA, END + STOP)
    assert (text, account.rest, account.ended) == (START + DELTA + END, STOP, True)
    text, account = shown(START + DELTA + STOP)
    assert (text, account.ended) == (START + DELTA, False)


def test_an_error_in_a_stream_is_not_shown_but_known() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    text, account = shown(START + DELTA, error)
    assert text == START + DELTA
    assert isinstance(account.error, UpstreamOverloaded)
    assert (account.ended, account.outcome) == (False, "failed")


def test_what_is_no_event_of_a_message_is_not_shown() -> None:
    text, account = shown(START, b'data: {"type": "content\n\n', DELTA)
    assert text == START
    assert isinstance(account.error, UpstreamError)


def test_events_that_we_do_not_know_pass() -> None:
    later = b'event: new\ndata: {"type":"new"}\n\ndata: {"type":7}\n\nevent: ping\ndata: {"type":"ping"}\n\n'
    assert shown(START, later)[0] == START + later


def test_only_events_are_a_stream() -> None:
    assert Account(1, streamed=True).reads("text/event-stream")
    assert not Account(1, streamed=True).reads("application/json")
    assert Account(1, streamed=False).reads("application/json")
