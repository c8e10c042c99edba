"""An answer as Anthropic's message: the SDK adds its events up to the whole message, whatever the model says."""

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode
from pydantic import TypeAdapter

from chatbackend.adapters.api.messages.writing import MessageWriter, usage_object
from chatbackend.adapters.providers.messages.seal import seal_redacted, seal_signature
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

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
GUESS = Usage(11, estimated=True)
COST = Usage(7, 3)


def written(*events: ModelEvent) -> tuple[list[dict[str, Any]], Message]:
    """Return the stream's events and the whole message, both as the SDK's types take them."""
    writer = MessageWriter("msg_1", "openai/gpt", GUESS)
    told = [each for event in events for each in writer.feed(event)] + writer.end(COST)
    return [json.loads(encode(each)) for each in told], Message.model_validate_json(encode(writer.message()))


def added_up(events: list[dict[str, Any]]) -> Message:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        snapshot = accumulate_event(event=EVENT.validate_python(event), current_snapshot=snapshot, json_bufs=buffers)
    return Message.model_validate(snapshot.model_dump())


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return each event's type, of blocks and deltas theirs."""
    return [
        (event.get("content_block") or (event["type"] == "content_block_delta" and event["delta"]) or event)["type"]
        for event in events
    ]


def shown(message: Message) -> dict[str, Any]:
    """Return what a message says; an estimate that the end replaced, and counts it does not repeat, aside."""
    found = message.model_dump(exclude={"usage"})
    for block in found["content"]:
        if block["type"] == "text":
            block["citations"] = block["citations"] or None
    return found | {"output": message.usage.output_tokens, "input": message.usage.input_tokens}


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
INDEX = st.integers(0, 2)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def arguments(draw: st.DrawFn) -> list[str]:
    """Return an object's JSON in pieces, whole or cut off, or text that is none."""
    text = json.dumps(draw(st.dictionaries(TEXT, VALUE, max_size=3)), ensure_ascii=draw(st.booleans()))
    match draw(st.integers(0, 5)):
        case 0:
            text = text[: draw(st.integers(0, len(text)))]
        case 1:
            text = draw(st.sampled_from(["", "null", "[1]", "get_weather(1)", '"x"']))
        case _:
            pass
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def model_events(draw: st.DrawFn) -> list[ModelEvent]:
    """Return any sequence of a model's events; each tool call has its own index, its arguments may come anywhere."""
    loose: list[ModelEvent] = draw(
        st.lists(
            st.one_of(
                st.builds(TextDelta, TEXT, INDEX),
                st.builds(ReasoningDelta, TEXT, INDEX),
                st.builds(RefusalDelta, TEXT, INDEX),
                st.builds(ReasoningSeal, st.sampled_from(["x", seal_signature("s"), seal_redacted("r")]), INDEX),
                st.builds(Cited, st.just(UrlCitation("https://a.example", "A", 0, 1)), INDEX),
                st.builds(Cited, st.just(FileCitation("f", "a.txt", 0, None, 0, 1, "q")), INDEX),
                st.builds(UsageReported, st.just(Usage(5, 1))),
                st.builds(ToolCallDelta, st.just("  "), st.just(99)),
            ),
            max_size=12,
        )
    )
    for number in range(draw(st.integers(0, 3))):
        calls: list[ModelEvent] = [ToolCallStarted(draw(TEXT), "tool", number)]
        calls += [ToolCallDelta(piece, number) for piece in draw(arguments())]
        at = 0
        for event in calls:
            at = draw(st.integers(at, len(loose)))
            loose.insert(at, event)
            at += 1
    reason: FinishReason = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter", "refusal"]))
    return [*loose, Finished(reason)]


@given(model_events())
def test_whatever_a_model_says_the_events_add_up_to_the_whole_message(events: list[ModelEvent]) -> None:
    told, message = written(*events)
    assert shown(added_up(told)) == shown(message)
    texts = "".join(event.text for event in events if isinstance(event, TextDelta | RefusalDelta))
    assert "".join(block.text for block in message.content if block.type == "text") == texts


@given(model_events())
def test_blocks_come_one_after_the_other_between_a_start_and_an_end(events: list[ModelEvent]) -> None:
    told, message = written(*events)
    assert [event["type"] for event in (told[0], *told[-2:])] == ["message_start", "message_delta", "message_stop"]
    at, opened = 0, False
    for event in told[1:-2]:
        assert event["index"] == at
        match event["type"]:
            case "content_block_start":
                assert not opened
                opened = True
            case "content_block_delta":
                assert opened
            case _:
                assert opened
                at, opened = at + 1, False
    assert (at, opened) == (len(message.content), False)


def test_an_answer_is_told_in_the_apis_order() -> None:
    told, message = written(
        UsageReported(Usage(5)),
        ReasoningDelta("hm", 0),
        ReasoningSeal(seal_signature("sig"), 0),
        ReasoningSeal(seal_redacted("red"), 1),
        TextDelta("Hel", 2),
        TextDelta("lo", 2),
        ToolCallStarted("call_1", "add", 3),
        ToolCallDelta('{"a":', 3),
        ToolCallDelta("1}", 3),
        Finished("tool_calls"),
    )
    assert kinds(told) == [
        "message_start",
        *("thinking", "thinking_delta", "signature_delta", "content_block_stop"),
        *("redacted_thinking", "content_block_stop"),
        *("text", "text_delta", "text_delta", "content_block_stop"),
        *("tool_use", "input_json_delta", "input_json_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert told[0]["message"]["usage"]["input_tokens"] == 5
    assert [block.model_dump(exclude_none=True) for block in message.content] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "red"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
    ]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("tool_use", 7, 3)


def test_calls_that_come_in_turns_are_told_one_after_the_other() -> None:
    told, message = written(
        ToolCallStarted("a", "add", 0),
        ToolCallStarted("b", "sub", 1),
        ToolCallDelta('{"x"', 0),
        ToolCallDelta('{"y"', 1),
        ToolCallDelta(":1}", 0),
        ToolCallDelta(":2}", 1),
        ToolCallDelta(" ", 0),
        Finished("stop"),
    )
    assert [event["index"] for event in told[1:-2]] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [block.input for block in message.content if block.type == "tool_use"] == [{"x": 1}, {"y": 2}]
    assert message.stop_reason == "tool_use"


INPUTS: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    (" null ", {}),
    ('{"a": 1}', {"a": 1}),
    ('{"a": 1, "b": [1, {"c": "d', {"a": 1, "b": [1, {}]}),
    ('{"a": "x, y", "b": tru', {"a": "x, y"}),
    ('{"a": {"b": 1}, "c', {"a": {"b": 1}}),
    ('{"a": 12', {"a": 12}),
    ("[1]", {"INVALID_JSON": "[1]"}),
    ("}{", {"INVALID_JSON": "}{"}),
    ('{"a" 1}', {"INVALID_JSON": '{"a" 1}'}),
]


@pytest.mark.parametrize(("arguments", "given"), INPUTS)
def test_a_tools_input_is_always_an_object(arguments: str, given: object) -> None:
    _, message = written(ToolCallStarted("a", "add"), ToolCallDelta(arguments), Finished("length"))
    (block,) = message.content
    assert block.type == "tool_use"
    assert (block.input, message.stop_reason) == (given, "max_tokens")


@pytest.mark.parametrize(
    ("reason", "refused", "expected"),
    [
        ("stop", False, "end_turn"),
        ("tool_calls", False, "end_turn"),
        ("length", False, "max_tokens"),
        ("content_filter", False, "refusal"),
        ("refusal", False, "refusal"),
        ("stop", True, "refusal"),
        ("length", True, "max_tokens"),
    ],
)
def test_every_end_has_the_apis_reason(reason: FinishReason, refused: object, expected: str) -> None:
    told, message = written(*([RefusalDelta("I will not.")] if refused else []), Finished(reason))
    assert message.stop_reason == told[-2]["delta"]["stop_reason"] == expected
    explanation = message.stop_details and message.stop_details.explanation
    assert explanation == ("I will not." if refused and expected == "refusal" else None)
    assert (message.stop_details is not None) == (expected == "refusal")


def test_thinking_that_nobody_signed_and_other_providers_seals_come_back_to_us() -> None:
    _, message = written(
        ReasoningDelta("a", 0), ReasoningDelta("b", 1), ReasoningSeal("responses.encrypted.x", 1), Finished("stop")
    )
    assert [block.signature for block in message.content if block.type == "thinking"] == [
        "chatbackend.",
        "chatbackend.responses.encrypted.x",
    ]


def test_a_signature_is_the_end_of_its_block() -> None:
    _, message = written(ReasoningDelta("a"), ReasoningSeal(seal_signature("s")), ReasoningDelta("b"), Finished("stop"))
    assert [block.thinking for block in message.content if block.type == "thinking"] == ["a", "b"]


def test_web_pages_are_cited_and_files_are_not() -> None:
    _, message = written(
        TextDelta("It is so."),
        Cited(UrlCitation("https://a.example", "A", 0, 9)),
        Cited(FileCitation("f", "a.txt", 0, None, 0, 1, "q")),
        Finished("stop"),
    )
    (block,) = message.content
    assert block.type == "text"
    (cited,) = block.citations or []
    assert cited.type == "web_search_result_location"
    assert (cited.url, cited.title) == ("https://a.example", "A")


def test_usage_parts_what_a_cache_held_and_says_what_is_estimated() -> None:
    assert usage_object(Usage(10, 5, 3, 2, 4)) == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 2,
        "cache_read_input_tokens": 3,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 4},
    }
    assert usage_object(Usage(1, estimated=True))["chatbackend_estimated"] is True


def test_an_answer_without_a_word_is_a_message() -> None:
    told, message = written(UsageReported(Usage(5)), Finished("stop"))
    assert (kinds(told), message.content) == (["message_start", "message_delta", "message_stop"], [])


def test_until_the_provider_tells_the_input_is_a_guess() -> None:
    writer = MessageWriter("msg_1", "m", GUESS)
    (start, *_) = writer.feed(TextDelta("a"))
    assert start["message"]["usage"]["input_tokens"] == 11
    assert writer.end()[-2]["usage"]["input_tokens"] == 11
