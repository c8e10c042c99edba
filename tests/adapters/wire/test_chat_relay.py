"""What a relay reads along: the model, the usage, the end; wherever the bytes are cut."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.chat_relay import TAIL_BYTES, Account, asked, error_event, renamed
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.usage import Usage

DELTA = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason": "stop"}],"usage":null}\n\n'
TOLD = (
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"prompt_tokens_details":'
    b'{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}}\r\n\r\n'
)
DONE = b"data: [DONE]\n\n"


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
    [(b'{"model":7}', "model"), (b"{", "JSON"), (b'{"model":"m","x":' + b"[" * 100_000, "JSON"), (b"{}", "model")],
)
def test_a_request_that_cannot_be_read_names_the_place(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        asked(body)


def test_a_renamed_request_keeps_every_other_field() -> None:
    assert msgspec.json.decode(renamed(b'{"model":"a/b","x":[1]}', "b")) == {"model": "b", "x": [1]}


@given(st.lists(st.integers(0, len(DELTA * 3 + STOP + TOLD + DONE)), max_size=8).map(sorted))
def test_usage_and_the_end_are_read_however_the_stream_is_cut(cuts: list[int]) -> None:
    account = read(DELTA * 3 + STOP + TOLD + DONE, *cuts)
    assert account.ended
    assert account.usage() == Usage(5, 7, 2, reasoning_tokens=3)


def test_a_stream_of_any_length_is_read_with_a_bounded_memory() -> None:
    account = read(DELTA * 5_000 + TOLD, len(DELTA) * 4_000)
    assert account.usage().output_tokens == 7
    assert len(account._tail) <= TAIL_BYTES  # pyright: ignore[reportPrivateUsage]  # what it holds is the point


def test_a_finish_reason_is_an_end_and_a_cut_is_none() -> None:
    assert read(DELTA + STOP).ended
    assert not read(DELTA + DELTA).ended


@pytest.mark.parametrize(
    "stream",
    [DELTA * 4, DELTA * 3 + STOP, DELTA * 3 + b'data: {"usage":{"prompt_tokens":"x"}}\n\n', b'"usage":' + DELTA * 4],
)
def test_usage_that_is_not_told_is_estimated_by_events(stream: bytes) -> None:
    usage = read(stream).usage()
    assert usage.estimated
    assert (usage.input_tokens, usage.output_tokens) == (100, 4)


def test_a_whole_answer_has_its_usage_or_is_estimated_by_its_size() -> None:
    told = read(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}', 10, streamed=False)
    assert told.ended
    assert told.usage() == Usage(1, 2)
    assert read(b'{"x":1,"finish_reason":"stop"}' + b" " * 10, streamed=False).usage() == Usage(100, 10, estimated=True)
    assert read(b"", streamed=False).usage() == Usage(100, 0, estimated=True)


@pytest.mark.parametrize("body", [b'{"error":{"message":"no"}}', b"<html>", b'{"choices":[{"finish_reason":null}]}'])
def test_a_whole_body_that_is_no_answer_is_a_failure_that_costs_nothing(body: bytes) -> None:
    account = read(body, streamed=False)
    assert (account.outcome, account.usage()) == ("failed", Usage(estimated=True))


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        (DELTA * 3, None),
        (DELTA + STOP, "completed"),
        (DELTA + STOP + TOLD + DONE, "completed"),
        (DELTA + STOP.replace(b"stop", b"length") + TOLD, "incomplete"),
        (DELTA + STOP.replace(b"stop", b"content_filter") + DONE, "incomplete"),
        (DELTA + STOP.replace(b"stop", b"length") + DELTA + DONE, "incomplete"),
        (DELTA + DONE, "failed"),
        (b'data: {"error":{"message":"no"}}\n\n' + DONE, "failed"),
        (DELTA.replace(b"hi", rb"\"finish_reason\":\"stop\""), None),
    ],
)
def test_how_a_stream_ended_is_read_of_its_last_reason(stream: bytes, outcome: str | None) -> None:
    assert read(stream).outcome == outcome


def test_nothing_heard_has_not_ended() -> None:
    assert read(b"", streamed=False).outcome is None
    assert read(b'{"choices":[{"finish_reason": "length"}]}', streamed=False).outcome == "incomplete"


@pytest.mark.parametrize(
    ("details", "usage"),
    [
        (b'"prompt_tokens_details":null', Usage(5, 7)),
        (b'"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":1}', Usage(5, 7, 2, 1)),
        (b'"num_cached_tokens":3', Usage(5, 7, 3)),
        (b'"prompt_cache_hit_tokens":4', Usage(5, 7, 4)),
    ],
)
def test_what_a_cache_gave_is_read_however_a_server_names_it(details: bytes, usage: Usage) -> None:
    told = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,' + details + b"}}\n\n"
    assert read(DELTA + STOP + told + DONE).usage() == usage


def test_an_empty_usage_tells_nothing() -> None:
    assert read(DELTA + STOP + b'data: {"choices":[],"usage":{}}\n\n').usage().estimated


def test_an_error_inside_a_stream_is_one_event() -> None:
    assert error_event(b'{"error":{}}') == b'data: {"error":{}}\n\n'


@pytest.mark.parametrize("rest", [b'"x": "\xff"', b'"x": ' + b"[" * 20_000 + b"]" * 20_000])
def test_what_cannot_be_written_again_is_refused(rest: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        renamed(b'{"model": "a", ' + rest + b"}", "b")
    assert caught.value.code == "invalid_json"
