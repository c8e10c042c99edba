"""Answers as chunks and as one object: what the SDK puts together of the chunks is the object."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chatbackend.adapters.api.chat.completion import DONE, Chunks, WholeChoice, completion_object
from chatbackend.adapters.api.chat.deltas import Choice, ChunkChoice
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import (
    Cited,
    Finished,
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import FileCitation, UrlCitation
from chatbackend.domain.usage import Usage
from tests.support.model_events import SPEECHES

Json = dict[str, Any]
USAGE = Usage(11, 7, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=5)
LOGPROB: Json = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}


def steps(events: Iterable[ModelEvent], *, index: int = 0, legacy: bool = False) -> list[ChunkChoice]:
    choice = Choice(index, legacy=legacy)
    return [new for event in events if (new := choice.feed(event)) is not None]


def decoded(body: bytes) -> list[Json]:
    """Return the chunks of a stream; each event is one line of data that the SDK's type takes strictly."""
    found: list[Json] = []
    for event in body.removesuffix(DONE).split(b"\n\n")[:-1]:
        data = event.removeprefix(b"data: ")
        ChatCompletionChunk.model_validate_json(data, strict=True)
        found.append(msgspec.json.decode(data))
    return found


def streamed(news: Iterable[ChunkChoice], *, include_usage: bool = False) -> list[Json]:
    chunks = Chunks("chatcmpl-1", created=1, model="claude/x", include_usage=include_usage)
    body = b"".join([*(chunks.event(new) for new in news), chunks.end(USAGE)])
    assert body.endswith(DONE)
    return decoded(body)


def whole(news: Sequence[ChunkChoice], *, choices: int = 1) -> Json:
    wholes = [WholeChoice(index) for index in range(choices)]
    for new in news:
        wholes[new.index].add(new)
    body = msgspec.json.encode(completion_object("chatcmpl-1", wholes, USAGE, created=1, model="claude/x"))
    ChatCompletion.model_validate_json(body, strict=True)
    return msgspec.json.decode(body)


def accumulated(chunks: Iterable[Json]) -> Json:
    """Return what the SDK puts together of a stream, in the form that a whole answer has."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    found = cast(Json, state.current_completion_snapshot.to_dict())
    for choice in found["choices"]:
        empty: Json = {"content": None, "refusal": None, "annotations": []}
        choice["message"] = empty | {name: value for name, value in choice["message"].items() if value is not None}
        for call in choice["message"].get("tool_calls", ()):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    return found


def said(events: Iterable[ModelEvent]) -> Json:
    """Return the message of an answer that ends well."""
    return whole(steps([*events, Finished("stop")]))["choices"][0]["message"]


def told(events: Iterable[ModelEvent]) -> list[ModelEvent]:
    """Return what a reader may emit of these: nothing behind the end, arguments of calls that began only."""
    found: list[ModelEvent] = []
    begun: set[int] = set()
    for event in events:
        if isinstance(event, Finished):
            break
        if isinstance(event, ToolCallStarted):
            begun.add(event.index)
        if not isinstance(event, ToolCallDelta) or event.index in begun:
            found.append(event)
    return found


@given(SPEECHES, st.sampled_from(["stop", "length", "tool_calls", "content_filter", "refusal"]), st.booleans())
def test_what_the_sdk_puts_together_of_the_chunks_is_the_whole_answer(
    events: list[ModelEvent],
    reason: FinishReason,
    legacy: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    news = steps([*told(events), Finished(reason)], legacy=legacy)
    chunks = streamed(news, include_usage=True)
    assert accumulated(chunks) == whole(news)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


@given(st.lists(SPEECHES, min_size=2, max_size=3), st.randoms(use_true_random=False))
def test_choices_that_interleave_are_told_apart(speeches: list[list[ModelEvent]], random: Random) -> None:
    choices = [Choice(index) for index in range(len(speeches))]
    news = [choice.begin() for choice in choices]
    rests: list[list[ModelEvent]] = [[*told(events), Finished("stop")] for events in speeches]
    while any(rests):
        index = random.choice([place for place, rest in enumerate(rests) if rest])
        if (new := choices[index].feed(rests[index].pop(0))) is not None:
            news.append(new)
    assert accumulated(streamed(news))["choices"] == whole(news, choices=len(choices))["choices"]


def test_the_first_chunk_has_the_role_and_every_chunk_one_id() -> None:
    chunks = streamed(steps([TextDelta("Hi"), TextDelta("!"), Finished("stop")]))
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "Hi", "refusal": None},
        {"content": "!"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "stop"]
    assert {(chunk["id"], chunk["model"], chunk["created"]) for chunk in chunks} == {("chatcmpl-1", "claude/x", 1)}
    assert not any("usage" in chunk for chunk in chunks)


def test_usage_comes_in_a_chunk_without_choices_and_is_null_before() -> None:
    *before, last = streamed(steps([TextDelta("Hi"), Finished("stop")]), include_usage=True)
    assert [chunk["usage"] for chunk in before] == [None, None]
    assert last["choices"] == []
    assert last["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 5,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def test_a_usage_that_is_estimated_says_so() -> None:
    made = completion_object("chatcmpl-1", [], Usage(1, 2, estimated=True), created=1, model="m")
    assert made["usage"]["chatbackend_estimated"] is True


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("refusal", "content_filter"),
    ],
)
def test_every_end_has_a_finish_reason_of_the_api(reason: FinishReason, shown: str) -> None:
    assert whole(steps([TextDelta("x"), Finished(reason)]))["choices"][0]["finish_reason"] == shown


def test_an_answer_of_nothing_is_an_empty_text() -> None:
    assert said([]) == {"role": "assistant", "content": "", "refusal": None, "annotations": []}


def test_a_refusal_stands_apart_from_the_text() -> None:
    message = said([RefusalDelta("I "), RefusalDelta("won't."), RefusalDelta("")])
    assert (message["content"], message["refusal"]) == (None, "I won't.")


def test_parallel_calls_are_numbered_in_the_order_in_which_they_began() -> None:
    events: list[ModelEvent] = [
        ToolCallStarted("call_a", "add", 4),
        ToolCallStarted("call_b", "sub", 9),
        ToolCallDelta('{"b"', 9),
        ToolCallDelta("{}", 4),
        ToolCallDelta(":1}", 9),
    ]
    chunks = streamed(steps([*events, Finished("tool_calls")]))
    pieces = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert pieces[:2] == [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "add", "arguments": ""}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "sub", "arguments": ""}},
    ]
    assert pieces[2] == {"index": 1, "function": {"arguments": '{"b"'}}
    message = said(events)
    assert message["content"] is None
    assert [(call["id"], call["function"]["arguments"]) for call in message["tool_calls"]] == [
        ("call_a", "{}"),
        ("call_b", '{"b":1}'),
    ]


def test_a_call_asked_for_by_functions_is_a_function_call_and_the_only_one() -> None:
    events: list[ModelEvent] = [
        ToolCallStarted("call_a", "add", 0),
        ToolCallDelta("{}", 0),
        ToolCallStarted("call_b", "sub", 1),
        ToolCallDelta("[]", 1),
        Finished("tool_calls"),
    ]
    choice = whole(steps(events, legacy=True))["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "add", "arguments": "{}"}
    assert "tool_calls" not in choice["message"]


def test_arguments_of_a_call_that_never_began_are_the_providers_fault() -> None:
    with pytest.raises(UpstreamError):
        steps([ToolCallDelta("{}")])


def test_sealed_reasoning_is_given_out_with_its_text_so_that_it_can_come_back() -> None:
    events: list[ModelEvent] = [
        ReasoningDelta("Let me ", 0),
        ReasoningDelta("see.", 0),
        ReasoningSeal("claude.signature.s1", 0),
        ReasoningSeal("claude.redacted.r1", 1),
        ReasoningDelta("Again.", 2),
        ReasoningSeal("claude.signature.s2", 2),
        ReasoningSeal("+", 2),
        ReasoningSeal("?", 1),
        TextDelta("Yes.", 3),
        Finished("stop"),
    ]
    message = accumulated(streamed(steps(events)))["choices"][0]["message"]
    assert message == whole(steps(events))["choices"][0]["message"]
    assert message["reasoning_content"] == "Let me see.Again."
    first, second, third = message["reasoning_details"]
    assert first == {
        "index": 0,
        "type": "reasoning.text",
        "format": "unknown",
        "text": "Let me see.",
        "signature": "claude.signature.s1",
    }
    assert second == {"index": 1, "type": "reasoning.encrypted", "format": "unknown", "data": "claude.redacted.r1?"}
    assert (third["text"], third["signature"]) == ("Again.", "claude.signature.s2+")


def test_reasoning_behind_a_seal_is_another_stretch() -> None:
    message = said([ReasoningDelta("a", 0), ReasoningSeal("s", 0), ReasoningDelta("b", 0), ReasoningSeal("t", 0)])
    assert [detail["text"] for detail in message["reasoning_details"]] == ["a", "b"]


def test_reasoning_without_a_seal_is_only_shown() -> None:
    message = said([ReasoningDelta("Hm."), ReasoningDelta(""), TextDelta("Yes.")])
    assert message["reasoning_content"] == "Hm."
    assert "reasoning_details" not in message


def test_citations_count_in_the_whole_text_and_come_with_the_last_delta() -> None:
    events: list[ModelEvent] = [
        TextDelta("One. ", 0),
        Cited(UrlCitation("https://a.example", "A", 0, 4), 0),
        ToolCallStarted("call_a", "add", 1),
        TextDelta("Two.", 2),
        Cited(UrlCitation("https://b.example", "B", 0, 4), 2),
        Cited(FileCitation("file_1", "a.pdf", 0, None, 0, 1, "q"), 2),
    ]
    chunks = streamed(steps([*events, Finished("stop")]))
    last = chunks[-1]["choices"][0]["delta"]["annotations"]
    assert [note["url_citation"] for note in last] == [
        {"start_index": 0, "end_index": 4, "url": "https://a.example", "title": "A"},
        {"start_index": 5, "end_index": 9, "url": "https://b.example", "title": "B"},
    ]
    assert said(events)["annotations"] == last
    assert sum("annotations" in chunk["choices"][0]["delta"] for chunk in chunks) == 1


def test_log_probabilities_go_with_their_text() -> None:
    events: list[ModelEvent] = [TextDelta("a", 0, [LOGPROB]), TextDelta("b"), TextDelta("", 0, [LOGPROB])]
    choice = whole(steps([*events, Finished("stop")]))["choices"][0]
    assert choice["logprobs"] == {"content": [LOGPROB, LOGPROB], "refusal": None}
    chunks = streamed(steps([*events, Finished("stop")]))
    assert [chunk["choices"][0]["logprobs"] is None for chunk in chunks] == [False, True, False, True]


def test_what_says_nothing_makes_no_chunk() -> None:
    assert steps([TextDelta(""), ReasoningDelta(""), RefusalDelta(""), UsageReported(USAGE)]) == []


ENDLESS = "x" * (1 << 20)


@pytest.mark.parametrize(
    "event",
    [
        TextDelta(ENDLESS),
        ReasoningDelta(ENDLESS),
        RefusalDelta(ENDLESS),
        ToolCallDelta(ENDLESS),
        Cited(UrlCitation(ENDLESS, "", 0, 0)),
    ],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("legacy", [False, True])
def test_an_answer_without_an_end_is_given_up(event: ModelEvent, *, legacy: bool) -> None:
    choice, kept = Choice(legacy=legacy), WholeChoice()
    begun = choice.feed(ToolCallStarted("call_1", "add"))
    assert begun is not None
    kept.add(begun)
    with pytest.raises(UpstreamError, match="too long"):
        for _ in range(9):
            if (new := choice.feed(event)) is not None:
                kept.add(new)


def test_a_stream_of_text_is_passed_on_without_an_end() -> None:
    choice = Choice()
    assert all(choice.feed(TextDelta(ENDLESS)) for _ in range(20))
