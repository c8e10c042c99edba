"""Heads and whole answers come back as they went in; errors are told in the dialect of who asked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire import kept_answers as wire
from chatbackend.adapters.wire.kept_answers import Caller, TellCallers
from chatbackend.domain.errors import ChatError, UpstreamBusy, UpstreamCut, UpstreamOverloaded
from chatbackend.domain.kept_answers import interrupted

CHAT = wire.caller(Caller("/v1/chat/completions", anthropic=False, request_id="req_1"))
CLAUDE = wire.caller(Caller("/v1/messages", anthropic=True, request_id="req_1"))
EMBEDDINGS_OF_CLAUDE = wire.caller(Caller("/v1/embeddings", anthropic=True, request_id="req_1"))
TELL = TellCallers()
NAMES = st.binary(min_size=1, max_size=9)


@given(st.integers(200, 599), st.lists(st.tuples(NAMES, st.binary(max_size=20))), st.binary())
def test_whatever_its_bytes_an_answer_comes_back_as_it_was(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    head = wire.head(status, headers)
    assert b"\n" not in head
    assert wire.read_head(head) == (status, headers)
    assert wire.read_whole(wire.whole(head, body)) == (status, headers, body)


def test_the_ids_of_the_request_that_was_answered_are_not_kept() -> None:
    headers = [(b"content-type", b"text/plain"), (b"x-request-id", b"1"), (b"request-id", b"1")]
    assert wire.read_head(wire.head(200, headers)) == (200, headers[:1])


@pytest.mark.parametrize(
    ("caller", "error", "status", "kind"),
    [
        (CHAT, UpstreamCut("cut"), 502, "server_error"),
        (CHAT, UpstreamBusy("busy"), 503, "server_error"),
        (CLAUDE, UpstreamBusy("busy"), 529, "overloaded_error"),
        (EMBEDDINGS_OF_CLAUDE, interrupted(), 500, "api_error"),
        (b"", interrupted(), 500, "server_error"),
    ],
)
def test_a_whole_error_has_the_status_and_envelope_of_its_dialect(
    caller: bytes, error: ChatError, status: int, kind: str
) -> None:
    found, headers, body = wire.read_whole(TELL.whole(caller, error, final=True))
    assert (found, json.loads(body)["error"]["type"]) == (status, kind)
    assert dict(headers)[b"content-length"] == str(len(body)).encode()
    assert (b"x-should-retry", b"false") in headers


def test_an_error_that_may_pass_says_when_and_does_not_forbid_another_try() -> None:
    _, headers, _ = wire.read_whole(TELL.whole(CHAT, UpstreamOverloaded("busy", retry_after_s=2), final=False))
    assert (b"retry-after", b"2") in headers
    assert b"x-should-retry" not in dict(headers)


def test_the_last_event_of_a_stream_is_of_its_dialect() -> None:
    assert TELL.last(CHAT, interrupted()).startswith(b'data: {"error":{')
    told = TELL.last(CLAUDE, interrupted())
    assert told.startswith(b"event: error\ndata: ")
    assert json.loads(told.partition(b"data: ")[2])["request_id"] == "req_1"
