"""Responses answers, event by event and whole."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.providers.openai_responses import ResponsesCodec
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
    Cited,
    Finished,
    ModelEvent,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import FunctionCall, Message, Reasoning, UrlCitation
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.responses import COMPLETED
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import Heard, hear, replay, sse

CODEC = ResponsesCodec(ModelProfile())
ASKED = ModelRequest("m", [])
Json = dict[str, Any]
PAGE: Json = {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 0, "end_index": 2}
CITED = UrlCitation("https://x", "X", 0, 2)


def stream(*events: Json) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


def event(kind: str, output_index: int | None = 0, **fields: object) -> Json:
    place = {} if output_index is None else {"output_index": output_index}
    return {"type": f"response.{kind}", "item_id": f"id_{output_index}", **place, **fields}


def delta(kind: str, text: str, output_index: int | None = 0, number: int = 0, **fields: object) -> Json:
    numbered = {"summary_index" if kind == "reasoning_summary_text" else "content_index": number}
    return event(f"{kind}.delta", output_index, delta=text, **numbered, **fields)


def words(text: str, output_index: int | None = 0, number: int = 0, **fields: object) -> Json:
    return delta("output_text", text, output_index, number, **fields)


def done(kind: str, text: str, output_index: int = 0, number: int = 0, **fields: object) -> Json:
    numbered = {"summary_index" if kind == "reasoning_summary_text" else "content_index": number}
    told = "refusal" if kind == "refusal" else "text"
    return event(f"{kind}.done", output_index, **{told: text}, **numbered, **fields)


def arguments(text: str, output_index: int | None = 0, item_id: str = "id_0") -> Json:
    return event("function_call_arguments.delta", output_index, delta=text) | {"item_id": item_id}


def added(item: Json, output_index: int | None = 0) -> Json:
    return event("output_item.added", output_index, item=item)


def ended(item: Json, output_index: int | None = 0) -> Json:
    return event("output_item.done", output_index, item=item)


def text_part(text: str, *annotations: Json, **fields: object) -> Json:
    return {"type": "output_text", "text": text, "annotations": list(annotations), **fields}


def message(*parts: Json, item_id: str = "id_0") -> Json:
    return {"type": "message", "id": item_id, "role": "assistant", "content": list(parts)}


def call(number: int = 0, text: str = "", **fields: object) -> Json:
    item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": "f", "arguments": text}
    return item | fields


def thought(*summary: str, proof: str | None = None, content: tuple[str, ...] = (), item_id: str = "id_0") -> Json:
    return {
        "type": "reasoning",
        "id": item_id,
        "summary": [{"type": "summary_text", "text": text} for text in summary],
        "content": [{"type": "reasoning_text", "text": text} for text in content],
        "encrypted_content": proof,
    }


def terminal(*output: Json, status: str = "completed", **fields: object) -> Json:
    return {"type": f"response.{status}", "response": {"status": status, "output": list(output), **fields}}


END = terminal()
FINISHED = Finished("stop")


def events_of(*events: Json) -> list[ModelEvent]:
    return replay(CODEC, stream(*events))


def heard(*events: Json) -> Heard:
    return hear(events_of(*events))


def whole(*output: Json, **fields: object) -> Heard:
    return hear(CODEC.whole(json.dumps({"status": "completed", "output": output, **fields}).encode(), ASKED))


def folded(events: list[ModelEvent]) -> Answer:
    answer = Answer(lambda prefix: prefix)
    for each in events:
        answer.feed(each)
    answer.close(COMPLETED)
    return answer


def test_a_text_comes_and_then_its_usage_and_the_finish() -> None:
    usage = {
        "input_tokens": 9,
        "output_tokens": 5,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    told = events_of(event("created"), words("hel"), words("lo"), terminal(usage=usage))
    assert told == [TextDelta("hel", 0), TextDelta("lo", 0), UsageReported(Usage(9, 5, 4, 3, 2)), FINISHED]


def test_usage_may_be_bare_or_never_come() -> None:
    assert whole(usage={"input_tokens": 1}).usage == Usage(1)
    assert whole(usage={}).usage is None
    assert whole(usage=None).usage is None


@pytest.mark.parametrize(
    "events",
    [
        [words("hello")],
        [done("output_text", "hello")],
        [ended(message(text_part("hello")))],
        [terminal(message(text_part("hello")))],
        [words("hel"), done("output_text", "hello")],
        [words("hel"), ended(message(text_part("hello")))],
        [words("hel"), terminal(message(text_part("hello")))],
        [words("hel"), terminal(message(text_part("hello"), item_id="other"))],
        [added(message()), words("hel"), words("lo"), done("output_text", "hello"), ended(message(text_part("hello")))],
        [added(message(), None), words("hello", None), ended(message(text_part("hello")), None)],
        [
            added(message(item_id="a"), None),
            words("hello", None),
            ended(message(text_part("hello"), item_id="b"), None),
        ],
        [words("hello"), ended(message(text_part("contradicted")))],
        [words("hello", number=1), ended(message(text_part("hello")))],
        [ended(message()), words("hello")],
    ],
)
def test_however_a_text_is_told_it_is_heard_once(events: list[Json]) -> None:
    told = heard(*events, terminal(message(text_part("hello"))))
    assert list(told.texts.values()) == ["hello"]
    assert list(heard(*events, *[END] * (events[-1]["type"] != END["type"])).texts.values()) == ["hello"]


def test_parts_and_messages_are_parts_of_their_own() -> None:
    told = events_of(words("a"), words("b", 0, 1), words("c", 1), END)
    assert told == [TextDelta("a", 0), TextDelta("b", 1), TextDelta("c", 2), FINISHED]


def test_the_end_completes_each_item_by_its_name_then_by_its_order() -> None:
    spoken = [added(message(item_id="a"), 0), words("a1", 0), added(message(item_id="b"), 1), words("b", 1)]
    output = [message(text_part("a12"), item_id="?"), message(text_part("b2"), item_id="b"), message(text_part("c"))]
    assert list(heard(*spoken, terminal(*output)).texts.values()) == ["a12", "b2", "c"]


def test_an_index_used_anew_is_another_message() -> None:
    told = heard(words("a"), ended(message(text_part("a"))), added(message(item_id="n")), words("b"), END)
    assert list(told.texts.values()) == ["a", "b"]


def test_items_under_one_index_that_come_whole_are_apart() -> None:
    output = [message(text_part("a"), item_id="m1"), message(text_part("b"), item_id="m2"), call(1), call(2)]
    told = events_of(*map(ended, output), ended(output[-1]), END)
    assert told == events_of(terminal(*output))


def test_what_follows_a_whole_item_is_another_where_no_index_tells() -> None:
    told = heard(ended(message(text_part("a")), None), {**words("b", None), "item_id": "unknown"}, END)
    assert list(told.texts.values()) == ["a", "b"]


def test_items_without_ids_are_completed_in_their_order() -> None:
    output = [message(text_part("ab"), item_id=""), message(text_part("cd"), item_id="")]
    spoken = [words("a", 0), words("c", 1)]
    nameless = [{**each, "item_id": None} for each in spoken]
    assert "".join(heard(*nameless, terminal(*output)).texts.values()) == "abcd"


def test_probabilities_come_with_their_text_once() -> None:
    token = {"token": "h", "logprob": -0.5, "top_logprobs": [{"token": "x", "logprob": -1.0}]}
    full = {**token, "bytes": [104], "top_logprobs": [{"token": "x", "logprob": -1.0, "bytes": [120]}]}
    late = {"token": "i", "logprob": -0.1, "bytes": [105], "top_logprobs": []}
    part = text_part("hi", logprobs=[token, late])
    assert heard(words("h", logprobs=[token]), words("i", logprobs=[late]), terminal(message(part))).logprobs == [
        full,
        late,
    ]
    assert heard(words("h", logprobs=[token]), words("i", logprobs=[]), terminal(message(part))).logprobs == [
        full,
        late,
    ]
    assert whole(message(part)).logprobs == [full, late]


def test_a_citation_belongs_to_the_text_so_far_and_comes_once() -> None:
    cite = event("output_text.annotation.added", content_index=0, annotation=PAGE)
    told = events_of(words("hi"), cite, cite, words(" you"), ended(message(text_part("hi you", PAGE))), END)
    assert told == [TextDelta("hi", 0), Cited(CITED, 0), TextDelta(" you", 0), FINISHED]
    assert whole(message(text_part("hi", PAGE, PAGE), text_part("hi", PAGE))).citations == [(0, CITED)]


def test_a_citation_that_is_told_at_the_end_only_is_heard() -> None:
    assert heard(words("hi"), ended(message(text_part("hi", PAGE))), END).citations == [(0, CITED)]


def test_a_citation_that_would_fall_to_another_text_is_dropped() -> None:
    cite = event("output_text.annotation.added", content_index=0, annotation=PAGE)
    assert heard(words("hi"), words("there", 1), cite, END).citations == []
    assert heard(cite, words("hi"), END).citations == []


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        {"type": "file_citation", "file_id": "f", "filename": "n", "index": 1},
        {"type": "container_file_citation", "file_id": "f", "start_index": 0, "end_index": 1},
        {"type": "url_citation", "url": ""},
        {"type": "unknown", "url": "https://x"},
    ],
)
def test_places_in_the_providers_own_files_are_passed_over(annotation: Json | None) -> None:
    cite = event("output_text.annotation.added", content_index=0, annotation=annotation)
    assert heard(words("hi"), cite, END).citations == []


def test_a_citation_may_lack_its_title_and_place() -> None:
    part = text_part("hi", {"type": "url_citation", "url": "https://x", "title": None})
    assert whole(message(part)).citations == [(0, UrlCitation("https://x", "", 0, 0))]


def test_a_refusal_is_heard_in_deltas_and_whole() -> None:
    part = {"type": "refusal", "refusal": "no way"}
    told = heard(delta("refusal", "no"), done("refusal", "no way"), ended(message(part)), terminal(message(part)))
    assert (told.refusal, told.finish) == ("no way", "stop")
    assert whole(message(part)).refusal == "no way"


@pytest.mark.parametrize(
    "events",
    [
        [
            delta("reasoning_summary_text", "a"),
            delta("reasoning_summary_text", "b", number=1),
            done("reasoning_summary_text", "bb", number=1),
            delta("reasoning_text", "c"),
            done("reasoning_text", "cd"),
        ],
        [delta("reasoning_summary_text", "a", None), delta("reasoning_summary_text", "bb", None, 1)],
        [added(thought(proof="early")), ended(thought("a", "bb", proof="p=", content=("cd",)))],
        [],
    ],
)
def test_reasoning_is_one_item_with_its_paragraphs_and_its_seal(events: list[Json]) -> None:
    told = events_of(*events, terminal(thought("a", "bb", proof="p=", content=("cd",)), message(text_part("hi"))))
    reasoning, answer = folded(told).items
    assert isinstance(reasoning, Reasoning)
    assert [part.text for part in reasoning.summary] == ["a\n\nbb"]
    assert [part.text for part in reasoning.content] == ["cd"]
    assert reasoning.encrypted_content == "responses.encrypted.p="
    assert isinstance(answer, Message)


def test_the_first_proof_is_kept() -> None:
    told = events_of(ended(thought("a", proof="p")), terminal(thought("a", proof="again")))
    assert told == [ReasoningDelta("a", 0, summary=True), ReasoningSeal("responses.encrypted.p", 0), FINISHED]


def test_reasoning_items_are_apart() -> None:
    told = heard(ended(thought("a", proof="p"), 0), ended(thought("b", proof="q", item_id="id_1"), 1), END)
    assert told.reasoning == {0: "a", 1: "b"}
    assert told.seals == ["responses.encrypted.p", "responses.encrypted.q"]


def test_calls_come_in_pieces_side_by_side() -> None:
    told = events_of(
        added(call(1), 0),
        added(call(2), 1),
        arguments('{"x"', 0),
        arguments("", 0),
        arguments("{", 1),
        arguments(":1}", 0),
        arguments("}", 1),
        event("function_call_arguments.done", 0, arguments='{"x":1}'),
        ended(call(1, '{"x":1}'), 0),
        ended(call(2, "{}"), 1),
        terminal(call(1, '{"x":1}'), call(2, "{}")),
    )
    assert hear(told).calls == {0: ["call_1", "f", '{"x":1}'], 1: ["call_2", "f", "{}"]}
    assert told[-1] == Finished("tool_calls")
    assert ToolCallDelta("", 0) not in told
    assert [item.arguments for item in folded(told).items if isinstance(item, FunctionCall)] == ['{"x":1}', "{}"]


@pytest.mark.parametrize(
    "events",
    [
        [added(call(1, '{"x":1}'))],
        [added(call(1)), event("function_call_arguments.done", arguments='{"x":1}')],
        [added(call(1)), ended(call(1, '{"x":1}'))],
        [added(call(1, name=None)), arguments('{"x":1}'), ended(call(1, '{"x":1}'))],
        [ended(call(1, '{"x":1}'))],
        [arguments('{"x'), ended(call(1, '{"x":1}'))],
        [added(call(1), None), arguments('{"x":', None, "fc_1"), arguments("1}", None, "unknown")],
        [added(call(1)), arguments('{"x"'), terminal(call(1, '{"x":1}'))],
        [terminal(call(1, '{"x":1}'))],
    ],
)
def test_however_a_call_is_told_it_is_heard_once(events: list[Json]) -> None:
    told = heard(*events, terminal(call(1, '{"x":1}')))
    assert list(told.calls.values()) == [["call_1", "f", '{"x":1}']]
    assert told.finish == "tool_calls"


def test_calls_under_one_index_are_apart() -> None:
    told = heard(added(call(1)), arguments("{}"), added(call(2)), arguments("[]"), END)
    assert list(told.calls.values()) == [["call_1", "f", "{}"], ["call_2", "f", "[]"]]


@pytest.mark.parametrize(
    "events",
    [
        [added(call(1)), END],
        [ended(call(1)), END],
        [ended(call(1)), words("so", 1), END],
        [terminal(call(1))],
    ],
)
def test_a_call_without_arguments_has_an_empty_object(events: list[Json]) -> None:
    assert heard(*events).tools == [("f", "{}")]


def test_a_call_without_an_id_is_given_one() -> None:
    assert [made[0] for made in whole(call(1, call_id=None), call(2, call_id="", id="")).calls.values()] == [
        "fc_1",
        "call_1",
    ]


def test_a_call_that_is_over_gets_no_more_arguments() -> None:
    """`Answer` ends a call where something else begins."""
    told = events_of(added(call(1), 0), words("so", 1), terminal(call(1, '{"x":1}')))
    assert told == [ToolCallStarted("call_1", "f", 0), TextDelta("so", 1), Finished("tool_calls")]
    sealed = events_of(added(call(1), 0), ended(thought(proof="p"), 1), terminal(call(1, '{"x":1}')))
    assert not any(isinstance(each, ToolCallDelta) for each in sealed)
    folded(told)
    folded(sealed)


@pytest.mark.parametrize(
    "events",
    [[added(call(1, name="")), END], [terminal(call(1, name=None))], [arguments("{"), END]],
)
def test_a_call_without_a_name_is_an_error(events: list[Json]) -> None:
    with pytest.raises(UpstreamError):
        heard(*events)


def test_the_providers_own_tools_and_unknown_events_are_passed_over() -> None:
    search = {"type": "web_search_call", "id": "ws", "action": {"type": "search"}, "content": 1, "arguments": {}}
    told = heard(
        added(search),
        event("web_search_call.searching"),
        event("shell_call_output_content.delta", delta={"stdout": "x"}),
        event("image_generation_call.partial_image", partial_image_b64="aGk=", text=1),
        ended(search),
        event("output_item.added"),
        event("mcp_call.failed", error={"code": "server_error"}),
        words("a", 1),
        ended({"type": "mcp_call", "name": ["x"]}, 2),
        words("b", 3),
        terminal(search, message(text_part("a"), item_id="id_1"), message(text_part("b"), item_id="id_3")),
    )
    assert list(told.texts.values()) == ["a", "b"]


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
