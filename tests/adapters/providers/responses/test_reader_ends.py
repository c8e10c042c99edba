"""How an answer of a provider's Responses API ends: finished, cut, failed, garbled; and that its cuts never matter."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.wire.sse import SseEvent
from chatbackend.domain.answer import Answer
from chatbackend.domain.errors import (
    ChatError,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
)
from chatbackend.domain.events import (
    UsageReported,
)
from chatbackend.domain.items import Message
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import hear, replay, sse
from tests.adapters.providers.responses.events import (
    ASKED,
    CODEC,
    END,
    PAGE,
    Json,
    added,
    arguments,
    call,
    delta,
    done,
    ended,
    event,
    events_of,
    folded,
    heard,
    message,
    stream,
    terminal,
    text_part,
    thought,
    whole,
    words,
)


@pytest.mark.parametrize(
    ("status", "details", "finish"),
    [
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("incomplete", {"reason": None}, "length"),
        ("incomplete", None, "length"),
        ("completed", None, "stop"),
    ],
)
def test_how_an_answer_ended_is_translated(status: str, details: Json | None, finish: str) -> None:
    end = terminal(status=status, incomplete_details=details)
    assert heard(words("x"), end).finish == finish
    assert whole(status=status, incomplete_details=details).finish == finish


def test_an_answer_that_was_cut_short_in_a_call_ends_for_its_length() -> None:
    assert heard(added(call(1)), arguments('{"x'), terminal(call(1, '{"x'), status="incomplete")).finish == "length"


def test_a_status_may_be_left_to_the_event_or_to_the_output() -> None:
    assert heard(words("x"), {"type": "response.completed"}).finish == "stop"
    assert heard(words("x"), {"type": "response.incomplete", "response": {}}).finish == "length"
    assert whole(status=None).finish == "stop"


def test_an_events_type_may_stand_in_its_data_only() -> None:
    assert hear(replay(CODEC, sse(json.dumps(words("x")), json.dumps(END)))).text == "x"


def test_an_events_type_may_stand_in_its_name_only() -> None:
    bytes_ = b'event: response.output_text.delta\ndata: {"delta": "x"}\n\nevent: response.completed\ndata: {}\n\n'
    assert hear(replay(CODEC, bytes_)).text == "x"


@pytest.mark.parametrize("events", [[], [event("created")], [words("x")], [words("x"), terminal(status="cancelled")]])
def test_an_answer_without_an_end_is_a_cut(events: list[Json]) -> None:
    with pytest.raises(UpstreamCut):
        heard(*events)


def test_a_gateways_end_mark_alone_is_a_cut() -> None:
    with pytest.raises(UpstreamCut):
        replay(CODEC, stream(words("x")) + sse("[DONE]"))
    assert hear(replay(CODEC, stream(words("x"), END) + sse("[DONE]"))).text == "x"


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled", None])
def test_a_body_without_an_answer_is_a_cut(status: str | None) -> None:
    with pytest.raises(UpstreamCut):
        CODEC.whole(json.dumps({"status": status}).encode(), ASKED)


def test_what_follows_the_end_and_what_holds_nothing_is_not_read() -> None:
    reader = CODEC.reader(ASKED)
    assert reader.feed(SseEvent("message", b"")) == []
    reader.feed(SseEvent("response.completed", json.dumps(END).encode()))
    assert reader.done
    assert reader.feed(SseEvent("x", b"garbage")) == reader.end() == []


def test_a_failure_is_told_after_what_was_said_and_used() -> None:
    reader = CODEC.reader(ASKED)
    error = {"code": "server_error", "message": "m"}
    failed = terminal(message(text_part("x")), status="failed", error=error, usage={"input_tokens": 3})
    assert reader.feed(SseEvent("", json.dumps(failed).encode())) == [UsageReported(Usage(3))]
    assert reader.done
    for _ in range(2):
        with pytest.raises(UpstreamError):
            reader.end()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error"}, UpstreamError),
        ({"code": "rate_limit_exceeded"}, UpstreamOverloaded),
        ({"code": "invalid_prompt"}, UpstreamRefused),
        ({"code": "503", "type": "server_error"}, UpstreamError),
        ({"code": "invalid_api_key", "type": "authentication_error"}, UpstreamDenied),
        ({"code": "context_length_exceeded", "type": "invalid_request_error"}, UpstreamRefused),
    ],
)
def test_an_error_inside_an_answer_is_an_error(error: Json, kind: type[ChatError]) -> None:
    said = {"message": "m", **error}
    caught: list[ChatError] = []
    for events in [terminal(status="failed", error=said)], [{"type": "error", "error": said}]:
        with pytest.raises(ChatError) as streamed:
            heard(words("x"), *events)
        caught.append(streamed.value)
    with pytest.raises(ChatError) as at_once:
        CODEC.whole(json.dumps({"status": "failed", "output": [], "error": said}).encode(), ASKED)
    assert {type(each) for each in [*caught, at_once.value]} == {kind}


def test_an_error_may_be_flat_or_nameless() -> None:
    with pytest.raises(UpstreamRefused) as flat:
        heard({"type": "error", "code": "invalid_prompt", "message": "mend it", "param": None})
    assert (flat.value.message, flat.value.code) == ("mend it", "invalid_prompt")
    with pytest.raises(UpstreamOverloaded):
        replay(CODEC, sse('{"error": {"code": 429, "message": "wait"}}'))
    with pytest.raises(UpstreamRefused):
        CODEC.whole(b'{"error": {"code": "invalid_prompt"}, "status": "completed", "output": []}', ASKED)


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"type": 1}', b"\xff", b"[" * 9999])
def test_garbage_is_an_error(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        replay(CODEC, b"data: " + data + b"\n\n")
    with pytest.raises(UpstreamError):
        CODEC.whole(data, ASKED)


@pytest.mark.parametrize(
    "bad",
    [words("x") | {"delta": 1}, added({"type": "message", "content": 1}), terminal({"type": "reasoning", "id": 1})],
)
def test_a_known_event_of_another_shape_is_garbage(bad: Json) -> None:
    with pytest.raises(UpstreamError):
        heard(bad, END)


KINDS = ("reasoning_summary_text", "reasoning_text", "output_text", "refusal")
parts = st.sampled_from(
    [
        *(delta(kind, "日本", index) for kind in KINDS for index in (0, 1, None)),
        *(done(kind, "日本日本x") for kind in KINDS),
        words("b", 0, 1),
        event("output_text.annotation.added", content_index=0, annotation=PAGE),
        added(call(1), 2),
        added(call(2), 2),
        added(call(3), None),
        ended(call(1, "{}"), 2),
        arguments("{", 2),
        arguments("}", None),
        added(message()),
        ended(message(text_part("日本b", PAGE))),
        ended(thought("日本", proof="p")),
        terminal(thought("z", proof="q"), message(text_part("日本c", PAGE)), call(2, "{}"), usage={}),
        terminal(status="failed", error={"code": "server_error"}),
        {"type": "error"},
    ]
)


@given(st.lists(parts, max_size=12), st.binary(max_size=9), st.lists(st.integers(0, 2000), max_size=9))
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


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=5), st.integers(0, 30), st.booleans())
def test_however_much_of_a_text_came_as_deltas_it_is_heard_once(texts: list[str], came: int, named: bool) -> None:  # noqa: FBT001  # drawn
    """The deltas are cut off anywhere, or absent; the end tells everything, by known names or by others."""
    spoken = [(index, character) for index, text in enumerate(texts) for character in text][:came]
    deltas = [words(character, index) for index, character in spoken]
    known = [f"id_{index}" if named else f"other_{index}" for index in range(len(texts))]
    output = [message(text_part(text), item_id=name) for text, name in zip(texts, known, strict=True)]
    answer = folded(events_of(*deltas, terminal(*output)))
    said = "".join(part["text"] for part in texts_of(answer))
    assert said == "".join(texts)


def texts_of(answer: Answer) -> list[Json]:
    (item,) = answer.items
    assert isinstance(item, Message)
    return [{"text": getattr(part, "text", "")} for part in item.content]
