"""What a relay reads along: the model, the usage, the end; wherever the bytes are cut."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.chat_relay import Account, asked, error_event, renamed
from chatbackend.domain.errors import InvalidRequest, UpstreamError, UpstreamOverloaded
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


def test_a_finish_reason_is_an_end_and_a_cut_is_none() -> None:
    assert read(DELTA + STOP).ended
    assert not read(DELTA + DELTA).ended


@pytest.mark.parametrize(
    "stream",
    [DELTA * 4, DELTA * 3 + STOP, DELTA * 3 + b'data: {"usage":{"prompt_tokens":"x"}}\n\n'],
)
def test_usage_that_is_not_told_is_estimated_by_events(stream: bytes) -> None:
    usage = read(stream).usage()
    assert usage.estimated
    assert (usage.input_tokens, usage.output_tokens) == (100, 4)


WHOLE = b'{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


def test_a_whole_answer_has_its_usage_or_is_estimated_by_its_size() -> None:
    told = read(WHOLE, streamed=False)
    assert (told.ended, told.outcome, told.usage()) == (True, "completed", Usage(1, 2))
    body = b'{"choices":[{"finish_reason":"length"}]}'
    untold = read(body, streamed=False)
    assert (untold.outcome, untold.usage()) == ("incomplete", Usage(100, len(body) // 4, estimated=True))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"no","type":"rate_limit_error"}}', UpstreamOverloaded),
        (b'{"error":"no"}', UpstreamError),
        (b"<html>", UpstreamError),
        (WHOLE[:-3], UpstreamError),
        (b"", UpstreamError),
        (b'{"choices":[]}', UpstreamError),
        (b'{"choices":"none"}', UpstreamError),
        (b"[" * 100_000, UpstreamError),
    ],
)
def test_a_whole_body_that_is_no_answer_is_a_failure_that_costs_nothing(
    body: bytes, error: type[UpstreamError]
) -> None:
    account = read(body, streamed=False)
    assert type(account.error) is error
    assert (account.ended, account.outcome) == (False, "failed")
    assert account.usage() == Usage(0 if body else 100, estimated=True)


def test_a_whole_answer_that_does_not_say_why_it_stopped_is_not_whole() -> None:
    account = read(b'{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}', streamed=False)
    assert (account.ended, account.outcome, account.error) == (False, None, None)


@pytest.mark.parametrize(
    ("stream", "outcome"),
    [
        (DELTA * 3, None),
        (DELTA + STOP, "completed"),
        (DELTA + STOP + TOLD + DONE, "completed"),
        (DELTA + STOP.replace(b"stop", b"length") + TOLD, "incomplete"),
        (DELTA + STOP.replace(b"stop", b"content_filter") + DONE, "incomplete"),
        (DELTA + STOP.replace(b"stop", b"length") + DELTA + DONE, "incomplete"),
        (DELTA + DONE, None),
        (b'data: {"error":{"message":"no"}}\n\n' + DONE, "failed"),
        (DELTA.replace(b"hi", rb"\"finish_reason\":\"stop\""), None),
    ],
)
def test_how_a_stream_ended_is_read_of_its_last_reason(stream: bytes, outcome: str | None) -> None:
    assert read(stream).outcome == outcome


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


def shown(*chunks: bytes) -> tuple[bytes, Account]:
    account = Account(400, streamed=True)
    return b"".join(map(account.feed, chunks)), account


def test_the_end_mark_is_shown_only_behind_a_reason() -> None:
    text, account = shown(DELTA, STOP + DONE)
    assert (text, account.rest) == (DELTA + STOP, DONE)
    text, account = shown(DELTA + DONE)
    assert (text, account.ended) == (DELTA, False)


def test_an_end_mark_that_a_provider_leaves_out_is_added() -> None:
    text, account = shown(DELTA, STOP, b'data: {"usage"')
    assert (text, account.ended, account.rest) == (DELTA + STOP, True, DONE)


def test_an_error_in_a_stream_is_not_shown_but_known() -> None:
    text, account = shown(DELTA, b'data: {"error":{"message":"slow","code":429}}\n\n' + DONE)
    assert text == DELTA
    assert isinstance(account.error, UpstreamOverloaded)
    assert (account.ended, account.outcome) == (False, "failed")


def test_a_field_called_error_that_says_nothing_is_none() -> None:
    fine = DELTA.replace(b"{", b'{"error":null,', 1)
    assert shown(fine)[0] == fine


def test_what_is_no_chunk_is_not_shown() -> None:
    text, account = shown(DELTA, b'data: {"id": "half a js\n\n', DELTA)
    assert text == DELTA
    assert isinstance(account.error, UpstreamError)


def test_only_events_are_a_stream() -> None:
    account = Account(1, streamed=True)
    assert account.reads("text/event-stream; charset=utf-8")
    assert not account.reads("text/html")
    assert Account(1, streamed=False).reads("application/json")


@pytest.mark.parametrize("text", [b"", b'\\"object\\":\\"\\"'])
def test_azures_first_chunk_is_given_its_kind_and_others_are_left_alone(text: bytes) -> None:
    first = b'data: {"id":"","object": "","choices":[],"prompt_filter_results":[]}\n\n'
    other = DELTA.replace(b"hi", text)
    kind = b'"object":"chat.completion.chunk"'
    assert shown(first, other)[0] == first.replace(b'"object": ""', kind) + other
