"""An answer's bytes, streamed or whole: failures never swallow what came before them."""

import json

import pytest

from chatbackend.adapters.providers.answer_body import StreamedBody, WholeBody, answer_body
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.errors import UpstreamCut, UpstreamError, UpstreamOverloaded
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.domain.models import ModelProfile, ModelRequest
from tests.adapters.providers.heard import sse

CODEC = ChatCodec(ModelProfile())
HELLO = '{"choices": [{"delta": {"content": "hello"}}]}'
STOP = '{"choices": [{"delta": {}, "finish_reason": "stop"}]}'
BUSY = '{"error": {"type": "overloaded_error"}}'


def streamed(*data: str, max_event_bytes: int = 1000) -> tuple[StreamedBody, list[object]]:
    body = StreamedBody(CODEC.reader(ModelRequest("m", [])), max_event_bytes=max_event_bytes)
    return body, list(body.feed(sse(*data)))


def test_a_stream_is_done_at_its_end_mark_and_deaf_after_it() -> None:
    body, events = streamed(HELLO, STOP, "[DONE]")
    assert events == [TextDelta("hello"), Finished("stop")]
    assert body.done
    assert body.feed(sse(HELLO)) == []
    assert body.end() == []


def test_a_stream_without_an_end_mark_ends_with_its_bytes() -> None:
    body, events = streamed(HELLO, STOP)
    assert events == [TextDelta("hello")]
    assert not body.done
    assert body.end() == [Finished("stop")]


def test_text_before_an_error_still_comes() -> None:
    body, events = streamed(HELLO, BUSY, HELLO)
    assert events == [TextDelta("hello")]
    assert body.done
    with pytest.raises(UpstreamOverloaded):
        body.end()


def test_text_before_an_event_that_is_too_large_still_comes() -> None:
    body, events = streamed(HELLO, "x" * 2000)
    assert events == [TextDelta("hello")]
    assert body.done
    with pytest.raises(UpstreamError, match="too large"):
        body.end()


def test_a_stream_that_stops_inside_an_event_was_cut() -> None:
    body = StreamedBody(CODEC.reader(ModelRequest("m", [])))
    body.feed(sse(HELLO) + b'data: {"choi')
    with pytest.raises(UpstreamCut):
        body.end()


def test_a_whole_answer_comes_in_pieces_and_is_read_at_its_end() -> None:
    body = WholeBody(CODEC, ModelRequest("m", []))
    answer = {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
    for piece in json.dumps(answer).partition("hello"):
        assert body.feed(piece.encode()) == []
    assert body.end() == [TextDelta("hello"), Finished("stop")]


def test_a_whole_answer_that_is_too_large_is_given_up() -> None:
    body = WholeBody(CODEC, ModelRequest("m", []), max_bytes=10)
    body.feed(b" " * 11)
    assert body.done
    assert body.feed(b"{}") == []
    with pytest.raises(UpstreamError, match="too large"):
        body.end()


@pytest.mark.parametrize(
    ("content_type", "encoding", "kind"),
    [
        ("text/event-stream", "", StreamedBody),
        ("text/event-stream", "identity", StreamedBody),
        ("application/json", "", WholeBody),
    ],
)
def test_the_content_type_says_how_an_answer_is_read(content_type: str, encoding: str, kind: type[object]) -> None:
    assert isinstance(
        answer_body(CODEC, ModelRequest("m", []), content_type=content_type, content_encoding=encoding), kind
    )


@pytest.mark.parametrize(("content_type", "encoding"), [("text/html", ""), ("", ""), ("application/json", "gzip")])
def test_anything_else_is_no_answer(content_type: str, encoding: str) -> None:
    with pytest.raises(UpstreamError):
        answer_body(CODEC, ModelRequest("m", []), content_type=content_type, content_encoding=encoding)
