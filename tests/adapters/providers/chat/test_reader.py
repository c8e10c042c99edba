"""Chat Completions answers, chunk by chunk and whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.errors import (
    ChatError,
    UpstreamBusy,
    UpstreamCut,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
)
from chatbackend.domain.events import Finished, TextDelta, UsageReported
from chatbackend.domain.items import UrlCitation
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import Heard, hear, replay, sse

CODEC = ChatCodec(ModelProfile())
DONE = "[DONE]"
Json = dict[str, Any]


def chunk(delta: Json | None = None, finish_reason: str | None = None, **rest: object) -> str:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason, "logprobs": rest.pop("logprobs", None)}
    return json.dumps({"id": "x1", "object": "chat.completion.chunk", "choices": [choice], **rest})


TEXT, STOP = chunk({"content": "hello"}), chunk(finish_reason="stop")


def heard(*data: str) -> Heard:
    return hear(replay(CODEC, sse(*data)))


def whole(message: Json, finish_reason: str | None = "stop", **rest: object) -> Heard:
    choice = {"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": rest.pop("logprobs", None)}
    return hear(CODEC.whole(json.dumps({"id": "x1", "choices": [choice], **rest}).encode(), ModelRequest("m", [])))


@pytest.mark.parametrize(
    ("delta", "attribute", "value"),
    [
        ({"content": "hi"}, "text", "hi"),
        ({"content": None, "reasoning_content": "hm"}, "thoughts", "hm"),
        ({"reasoning": "hm"}, "thoughts", "hm"),
        ({"reasoning": {"effort": "high"}}, "thoughts", ""),
        ({"refusal": "no"}, "refusal", "no"),
        ({"content": [{"type": "text", "text": "hi"}, {"type": "reference", "reference_ids": [1]}]}, "text", "hi"),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"text": "m"}]}]},
            "thoughts",
            "hm",
        ),
        ({"content": [{"type": "thinking", "thinking": "hm"}]}, "thoughts", "hm"),
        ({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}, "tools", [("f", "{}")]),
        ({"content": None, "tool_calls": None, "refusal": None, "annotations": None}, "text", ""),
    ],
)
def test_a_delta_and_a_message_say_the_same(delta: Json, attribute: str, value: object) -> None:
    assert getattr(heard(chunk(delta), STOP, DONE), attribute) == value
    assert getattr(whole(delta), attribute) == value


def test_the_end_mark_may_be_missing_after_a_reason() -> None:
    assert heard(TEXT, STOP).finish == "stop"


def test_an_end_mark_without_a_reason_is_a_cut() -> None:
    with pytest.raises(UpstreamCut):
        heard(TEXT, DONE)


def test_an_answer_without_a_reason_is_a_cut() -> None:
    with pytest.raises(UpstreamCut):
        heard(TEXT)
    with pytest.raises(UpstreamCut):
        whole({"content": "hello"}, None)


def test_the_finish_comes_after_everything_else() -> None:
    usage = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    events = replay(CODEC, sse(TEXT, STOP, usage, DONE))
    assert events == [TextDelta("hello"), UsageReported(Usage(3, 4)), Finished("stop")]


def test_what_follows_the_end_mark_is_not_read() -> None:
    reader = CODEC.reader(ModelRequest("m", []))
    for text in (TEXT, STOP, DONE):
        reader.feed(SseEvent("message", text.encode()))
    assert reader.done
    assert reader.feed(SseEvent("message", b"garbage")) == reader.end() == []


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("max_tokens", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("refusal", "refusal"),
        ("eos", "stop"),
    ],
)
def test_a_finish_reason_is_translated(said: str, finish: str) -> None:
    assert heard(TEXT, chunk(finish_reason=said), DONE).finish == finish


def test_an_answer_that_stops_after_calls_stops_for_them() -> None:
    call = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    assert heard(chunk(call), STOP, DONE).finish == "tool_calls"
    assert heard(chunk(call), chunk(finish_reason="length"), DONE).finish == "length"


@pytest.mark.parametrize(
    ("said", "kind"),
    [("error", UpstreamError), ("abort", UpstreamError), ("insufficient_system_resource", UpstreamOverloaded)],
)
def test_a_broken_answer_is_no_success(said: str, kind: type[ChatError]) -> None:
    with pytest.raises(kind):
        heard(TEXT, chunk(finish_reason=said), DONE)


def test_an_empty_finish_reason_is_none_and_a_later_null_takes_nothing_back() -> None:
    assert heard(chunk({"content": "a"}, ""), STOP, chunk({"content": ""}), DONE).finish == "stop"


@pytest.mark.parametrize(
    "chunks", [["{}"], ['{"choices": null}'], ['{"choices": []}'], ['{"choices": [{}]}'], ["null_event"]]
)
def test_chunks_that_say_nothing_say_nothing(chunks: list[str]) -> None:
    silent = b"data:\n\n" if chunks == ["null_event"] else sse(*chunks)
    assert hear(replay(CODEC, silent + sse(TEXT, STOP, DONE))).text == "hello"


def test_other_choices_than_the_first_are_not_read() -> None:
    second = json.dumps({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "length"}]})
    told = heard(TEXT, second, STOP, DONE)
    assert (told.text, told.finish) == ("hello", "stop")


def test_log_probabilities_come_with_their_text() -> None:
    tokens: list[Json] = [{"token": "h", "logprob": -0.1, "bytes": [104], "top_logprobs": []}]
    probable: Json = {"content": tokens, "refusal": None}
    told = heard(chunk({"content": "hello"}, logprobs=probable), chunk({"content": ""}, logprobs=probable), STOP, DONE)
    assert told.logprobs == tokens * 2
    assert whole({"content": "hello"}, logprobs=probable).logprobs == tokens


def test_what_servers_leave_out_of_log_probabilities_is_filled_in() -> None:
    """The Responses API demands all of it."""
    sparse: Json = {"content": [{"token": "é", "top_logprobs": [{"token": "e", "logprob": -1, "bytes": None}]}]}
    told = heard(chunk({"content": "é"}, logprobs=sparse), STOP, DONE)
    likely = {"token": "e", "logprob": -1.0, "bytes": [101]}
    assert told.logprobs == [{"token": "é", "logprob": -9999.0, "bytes": [195, 169], "top_logprobs": [likely]}]


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        (
            {
                "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 4},
            },
            Usage(10, 5, 3, 2, 4),
        ),
        ({"num_cached_tokens": 3}, Usage(10, 5, 3)),
        ({"prompt_cache_hit_tokens": 3, "prompt_tokens_details": None}, Usage(10, 5, 3)),
        ({}, Usage(10, 5)),
    ],
)
def test_usage_is_read_in_every_spelling(fields: Json, usage: Usage) -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 5, **fields}
    assert heard(TEXT, chunk(finish_reason="stop", usage=counts), DONE).usage == usage
    assert heard(TEXT, STOP, json.dumps({"x_groq": {"id": "r", "usage": counts}}), DONE).usage == usage
    assert whole({"content": "x"}, usage=counts).usage == usage


def test_a_later_usage_replaces_an_earlier_one_and_an_empty_one_is_none() -> None:
    counts = [{"prompt_tokens": 1, "completion_tokens": tokens} for tokens in (1, 2)]
    told = heard(chunk({"content": "a"}, usage=counts[0]), chunk({}, "stop", usage=counts[1]), chunk(usage={}), DONE)
    assert told.usage == Usage(1, 2)


def test_a_usage_may_never_come() -> None:
    assert heard(TEXT, STOP, DONE).usage is None


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (sse(TEXT, '{"error": {"message": "busy", "type": "overloaded_error"}}'), UpstreamBusy),
        (sse(TEXT, '{"object": "error", "message": "m", "type": "BadRequestError", "code": 400}'), UpstreamRefused),
        (sse(TEXT, '{"error": "all is lost"}'), UpstreamError),
        (sse(TEXT, '{"x_groq": {"error": "over_capacity"}}'), UpstreamBusy),
        (sse(TEXT) + b'event: error\ndata: {"error": {"message": "m", "status_code": 400}}\n\n', UpstreamRefused),
        (b'event: error\ndata: {"message": "flat", "code": 429}\n\n', UpstreamOverloaded),
        (sse(TEXT, '{"id": "half'), UpstreamError),
        (sse("[1]"), UpstreamError),
        (sse("[" * 9999), UpstreamError),
        (b"data: \xff\n\n", UpstreamError),
    ],
)
def test_an_error_or_garbage_inside_a_stream_is_an_error(stream: bytes, kind: type[ChatError]) -> None:
    with pytest.raises(ChatError) as caught:
        replay(CODEC, stream)
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": {"message": "m"}}', b"{}"])
def test_a_whole_answer_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        CODEC.whole(body, ModelRequest("m", []))


def test_marks_that_stand_for_sources_are_cited_at_their_place() -> None:
    urls: Json = {"citations": ["https://a", "https://b"], "search_results": [{"url": "https://b", "title": "B"}, {}]}
    told = heard(chunk({"content": "一 [2"}, **urls), chunk({"content": "][1] [0] [3]"}), STOP, DONE)
    assert told.citations == [(0, UrlCitation("https://b", "B", 2, 5)), (0, UrlCitation("https://a", "", 5, 8))]


@pytest.mark.parametrize("citations", [None, [], [{"url": "u"}], "u", {"a": 1}])
def test_sources_of_another_shape_are_no_sources(citations: object) -> None:
    assert heard(chunk({"content": "[1]"}, citations=citations, search_results=7), STOP, DONE).citations == []


def test_a_url_citation_keeps_its_place() -> None:
    place = {"url": "https://a", "title": None, "start_index": 1, "end_index": 3}
    notes = [{"type": "url_citation", "url_citation": place}, {"type": "other"}]
    assert whole({"content": "hello", "annotations": notes}).citations == [(0, UrlCitation("https://a", "", 1, 3))]


parts = st.sampled_from(
    [TEXT, STOP, DONE, "{}", '{"error": "x"}', chunk({"content": "日本"}), chunk(usage={"prompt_tokens": 1})]
)


@given(st.lists(st.one_of(parts, st.text(max_size=20)), max_size=8), st.lists(st.integers(0, 900), max_size=9))
def test_no_stream_raises_anything_but_our_errors_and_cuts_never_matter(data: list[str], cuts: list[int]) -> None:
    stream = sse(*data)
    assert outcome(stream, [min(cut, len(stream)) for cut in cuts]) == outcome(stream, [])


def outcome(stream: bytes, cuts: list[int]) -> object:
    try:
        return replay(CODEC, stream, cuts)
    except UpstreamError as error:
        return type(error), error.message
