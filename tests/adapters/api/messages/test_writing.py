"""An answer as Anthropic's message: the SDK adds its events up to the whole message, whatever the model says."""

import json
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import encode
from pydantic import TypeAdapter

from chatbackend.adapters.api.messages.writing import MessageWriter
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
