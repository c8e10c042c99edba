"""Responses answers, event by event and whole."""

import pytest

from chatbackend.domain.errors import (
    UpstreamError,
)
from chatbackend.domain.events import (
    Cited,
    Finished,
    ReasoningDelta,
    ReasoningSeal,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from chatbackend.domain.items import FunctionCall, Message, Reasoning, UrlCitation
from chatbackend.domain.usage import Usage
from tests.adapters.providers.heard import hear
from tests.adapters.providers.responses.events import (
    CITED,
    END,
    FINISHED,
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
    terminal,
    text_part,
    thought,
    whole,
    words,
)


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
