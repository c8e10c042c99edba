"""Anthropic answers, event by event and whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.providers.claude import ClaudeCodec
from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.errors import ChatError, UpstreamBusy, UpstreamCut, UpstreamDenied, UpstreamError
from chatbackend.domain.events import Finished, ModelEvent, TextDelta, UsageReported
from chatbackend.domain.items import UrlCitation
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import Heard, hear, replay

CODEC = ClaudeCodec(ModelProfile())
Json = dict[str, Any]
START: Json = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
STOPPED: Json = {"type": "message_stop"}


def stream(*events: Json) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def opened(kind: str, index: int = 0, **block: object) -> Json:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **block}}


def grew(kind: str, index: int = 0, **delta: object) -> Json:
    return {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", **delta}}


def closed(index: int = 0) -> Json:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None = "end_turn", usage: Json | None = None, **delta: object) -> Json:
    return {"type": "message_delta", "delta": {"stop_reason": reason, **delta}, "usage": usage}


def text(words: str, index: int = 0) -> list[Json]:
    return [opened("text", index, text=""), grew("text", index, text=words), closed(index)]


def cited(words: str, url: str, index: int) -> list[Json]:
    citation = {
        "type": "web_search_result_location",
        "url": url,
        "title": None,
        "cited_text": "c",
        "encrypted_index": "e",
    }
    return [
        opened("text", index, text="", citations=[]),
        grew("citations", index, citation=citation),
        grew("text", index, text=words),
        closed(index),
    ]


def events_of(*events: Json) -> list[ModelEvent]:
    return replay(CODEC, stream(START, *events, ended(), STOPPED))


def heard(*events: Json) -> Heard:
    return hear(events_of(*events))


def whole(*blocks: Json, reason: str | None = "end_turn", **rest: object) -> Heard:
    body: Json = {
        "type": "message",
        "content": list(blocks),
        "stop_reason": reason,
        "usage": {"input_tokens": 5},
        **rest,
    }
    return hear(CODEC.whole(json.dumps(body).encode(), ModelRequest("m", [])))


def test_a_text_comes_and_then_the_finish() -> None:
    first = UsageReported(Usage(5, 1))
    assert events_of(*text("hello")) == [first, TextDelta("hello"), Finished("stop")]


def test_text_in_a_blocks_opening_counts() -> None:
    assert heard(opened("text", text="hel"), grew("text", text="lo"), closed()).text == "hello"
    assert whole({"type": "text", "text": "hello"}, {"type": "text", "text": ""}).text == "hello"


def test_text_blocks_that_touch_are_one_part_and_others_part_them() -> None:
    thought = [opened("thinking", 2, thinking=""), closed(2)]
    assert heard(*text("a", 0), *text("b", 1), *thought, *text("c", 3)).texts == {0: "ab", 3: "c"}


def test_thinking_is_sealed_with_its_signature() -> None:
    told = heard(
        opened("thinking", thinking="", signature=""),
        grew("thinking", thinking="hm"),
        grew("signature", signature="s=="),
        closed(),
    )
    assert (told.thoughts, told.seals) == ("hm", ["claude.signature.s=="])
    told = whole({"type": "thinking", "thinking": "hm", "signature": "s=="})
    assert (told.thoughts, told.seals) == ("hm", ["claude.signature.s=="])


def test_thinking_that_is_not_shown_is_sealed_all_the_same() -> None:
    told = heard(opened("thinking", thinking="", signature=""), grew("signature", signature="s"), closed())
    assert (told.thoughts, told.seals) == ("", ["claude.signature.s"])


def test_redacted_thinking_is_all_seal() -> None:
    assert heard(opened("redacted_thinking", data="d=="), closed()).seals == ["claude.redacted.d=="]
    assert whole({"type": "redacted_thinking", "data": "d=="}).seals == ["claude.redacted.d=="]


def test_calls_come_in_pieces() -> None:
    told = heard(
        opened("tool_use", 0, id="a", name="f", input={}),
        grew("input_json", 0, partial_json=""),
        grew("input_json", 0, partial_json='{"x":'),
        grew("input_json", 0, partial_json="1}"),
        closed(0),
        opened("tool_use", 1, id="b", name="g", input={}),
        closed(1),
    )
    assert told.calls == {0: ["a", "f", '{"x":1}'], 1: ["b", "g", "{}"]}


def test_calls_come_whole() -> None:
    call = {"type": "tool_use", "id": "a", "name": "f"}
    assert whole({**call, "input": {"x": 1}}, reason="tool_use").calls == {0: ["a", "f", '{"x": 1}']}
    assert whole(call, reason="tool_use").tools == [("f", "{}")]
    assert heard(opened("tool_use", id="a", name="f", input={"x": 1}), closed()).tools == [("f", '{"x": 1}')]


def test_the_providers_own_tools_and_unknown_blocks_are_passed_over() -> None:
    told = heard(
        opened("server_tool_use", 0, id="s", name="web_search", input={}),
        grew("input_json", 0, partial_json='{"q": 1}'),
        closed(0),
        opened("web_search_tool_result", 1, content=[{"type": "web_search_result", "url": "u"}]),
        closed(1),
        opened("compaction", 2, content=None),
        grew("compaction", 2, content="summary"),
        closed(2),
        {"type": "ping"},
        {"type": "brand_new"},
        *text("hello", 3),
    )
    assert (told.text, told.calls) == ("hello", {})


def test_a_cited_block_is_cited_as_a_whole_at_its_place_in_the_part() -> None:
    told = heard(*text("一二 ", 0), *cited("three", "https://a", 1), *cited("!", "https://b", 2))
    assert told.citations == [(0, UrlCitation("https://a", "", 3, 8)), (0, UrlCitation("https://b", "", 8, 9))]


def test_citations_without_a_url_or_a_text_have_no_place() -> None:
    page = {"type": "page_location", "document_index": 0, "start_page_number": 1}
    block = {"type": "text", "text": "hello", "citations": [page, {"url": "https://a", "title": "A"}]}
    assert whole(block).citations == [(0, UrlCitation("https://a", "A", 0, 5))]
    assert heard(*cited("", "https://a", 0)).citations == []


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "length"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("brand_new", "stop"),
    ],
)
def test_a_stop_reason_is_translated(said: str, finish: str) -> None:
    assert hear(replay(CODEC, stream(START, *text("x"), ended(said), STOPPED))).finish == finish
    assert whole({"type": "text", "text": "x"}, reason=said).finish == finish


def test_a_refusal_is_explained_where_the_provider_explains() -> None:
    details = {"type": "refusal", "category": None, "explanation": "not this"}
    assert whole(reason="refusal", stop_details=details).refusal == "not this"
    assert hear(replay(CODEC, stream(START, ended("refusal", stop_details=details), STOPPED))).refusal == "not this"
    assert whole(reason="refusal").refusal == ""


def test_usage_adds_up_what_was_read_and_later_counts_replace_earlier_ones() -> None:
    begun = {"input_tokens": 5, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 25, "output_tokens": 1}
    later = {"output_tokens": 9, "cache_read_input_tokens": None, "output_tokens_details": {"thinking_tokens": 4}}
    start: Json = {"type": "message_start", "message": {"usage": begun}}
    events = replay(CODEC, stream(start, *text("x"), ended(usage=later), STOPPED))
    assert [event.usage for event in events if isinstance(event, UsageReported)] == [
        Usage(100, 1, 70, 25),
        Usage(100, 9, 70, 25, 4),
    ]


def test_usage_may_never_come() -> None:
    assert whole(usage=None).usage is None


def test_the_end_mark_may_be_missing_after_a_reason_and_open_blocks_are_closed() -> None:
    told = hear(replay(CODEC, stream(START, opened("tool_use", id="a", name="f", input={}), ended("tool_use"))))
    assert (told.tools, told.finish) == ([("f", "{}")], "tool_calls")


@pytest.mark.parametrize(
    "events", [[], [START], [START, *text("x")], [START, *text("x"), STOPPED], [START, ended(None), STOPPED]]
)
def test_an_answer_without_a_reason_is_a_cut(events: list[Json]) -> None:
    with pytest.raises(UpstreamCut):
        replay(CODEC, stream(*events))


def test_what_follows_the_end_mark_is_not_read() -> None:
    reader = CODEC.reader(ModelRequest("m", []))
    for event in (ended(), STOPPED):
        reader.feed(SseEvent(event["type"], json.dumps(event).encode()))
    assert reader.done
    assert reader.feed(SseEvent("x", b"garbage")) == reader.end() == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [("overloaded_error", UpstreamBusy), ("api_error", UpstreamError), ("authentication_error", UpstreamDenied)],
)
def test_an_error_inside_an_answer_is_an_error(error: str, kind: type[ChatError]) -> None:
    told = {"type": "error", "error": {"type": error, "message": "m"}}
    with pytest.raises(ChatError) as streamed:
        replay(CODEC, stream(START, *text("x"), told))
    with pytest.raises(ChatError) as at_once:
        CODEC.whole(json.dumps(told).encode(), ModelRequest("m", []))
    assert type(streamed.value) is type(at_once.value) is kind


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"type": 1}', b"\xff", b"[" * 9999])
def test_garbage_is_an_error(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        replay(CODEC, b"data: " + data + b"\n\n")
    with pytest.raises(UpstreamError):
        CODEC.whole(data, ModelRequest("m", []))


def test_a_delta_of_a_block_that_never_began_is_garbage() -> None:
    with pytest.raises(UpstreamError):
        heard(grew("text", text="x"))


def test_the_end_of_a_block_that_never_began_is_nothing() -> None:
    assert heard(closed(7), *text("x")).text == "x"


parts = st.sampled_from(
    [
        START,
        *text("日本"),
        *cited("x", "u", 1),
        opened("tool_use", 2, id="a", name="f"),
        grew("input_json", 2, partial_json="{"),
        ended(),
        STOPPED,
    ]
)


@given(st.lists(parts, max_size=12), st.binary(max_size=9), st.lists(st.integers(0, 900), max_size=9))
def test_no_stream_raises_anything_but_our_errors_and_cuts_never_matter(
    events: list[Json], rest: bytes, cuts: list[int]
) -> None:
    bytes_ = stream(*events) + rest
    assert outcome(bytes_, [min(cut, len(bytes_)) for cut in cuts]) == outcome(bytes_, [])


def outcome(bytes_: bytes, cuts: list[int]) -> object:
    try:
        return replay(CODEC, bytes_, cuts)
    except UpstreamError as error:
        return type(error), error.message
