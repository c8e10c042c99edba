"""What a model says in a session in text: the events that its client sees, and their one end."""

from typing import Any

import pytest

from chatbackend.domain.errors import ChatError, InvalidRequest, Unavailable, UpstreamCut, UpstreamError
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
from chatbackend.domain.items import FileCitation, FunctionCall, FunctionCallOutput, Message, Reasoning, UrlCitation
from chatbackend.domain.usage import Usage
from tests.support.realtime_talk import HELLO, Talk, kinds

TEXT = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def ended(talk: Talk, *said: ModelEvent, error: ChatError | None = None, **response: object) -> dict[str, Any]:
    """Return the end of a response in which the model says that."""
    response_id = talk.create(**response)
    talk.hear(response_id, *said)
    return talk.end(response_id, error=error)[-2]["response"]


def test_a_text_comes_in_the_order_that_clients_know() -> None:
    talk = Talk()
    hi = talk.say("Hi")
    events = talk.answer(talk.create(), *HELLO)
    assert kinds(events) == TEXT
    assert events[0]["item"]["content"] == []
    assert events[8]["item"]["content"] == [{"type": "output_text", "text": "Hello"}]
    assert talk.watcher.conversation == [hi["id"], events[0]["item"]["id"]]


def test_a_call_comes_with_its_arguments_and_its_id() -> None:
    talk = Talk()
    said = (ToolCallStarted("call_1", "look"), ToolCallDelta('{"a":'), ToolCallDelta("1}"), Finished("tool_calls"))
    events = talk.answer(talk.create(), *said)
    assert kinds(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert {event["call_id"] for event in events[2:5]} == {"call_1"}
    assert (events[4]["name"], events[4]["arguments"]) == ("look", '{"a":1}')
    [item] = events[-2]["response"]["output"]
    assert (item["call_id"], item["status"]) == ("call_1", "completed")


def test_parallel_calls_keep_their_places() -> None:
    talk = Talk()
    said = [ToolCallStarted("call_1", "a", 0), ToolCallStarted("call_2", "b", 1)]
    said += [ToolCallDelta("{}", 1), ToolCallDelta("[]", 0), Finished("tool_calls")]
    end = talk.answer(talk.create(), *said)[-2]["response"]
    assert [(item["call_id"], item["arguments"]) for item in end["output"]] == [("call_1", "[]"), ("call_2", "{}")]


def test_words_of_refusal_are_text() -> None:
    talk = Talk()
    end = ended(talk, TextDelta("I "), RefusalDelta("will not", 1), Finished("refusal"))
    assert [part["text"] for part in end["output"][0]["content"]] == ["I ", "will not"]
    assert (end["status"], end["status_details"]) == ("completed", None)


def test_sources_stand_beside_the_text_that_is_whole() -> None:
    source = UrlCitation("https://a.example", "A", 0, 2)
    end = ended(Talk(), TextDelta("so"), Cited(source), Finished("stop"))
    assert end["output"][0]["content"][0]["annotations"][0]["url"] == "https://a.example"


def test_files_that_a_credential_has_searched_are_not_shown() -> None:
    cited = FileCitation("file-1", "secret.pdf", 0, 1, start=0, end=2, quote="so")
    talk = Talk()
    assert talk.hear(talk.create(), Cited(cited)) == []
    assert (
        "annotations" not in ended(Talk(), TextDelta("so"), Cited(cited), Finished("stop"))["output"][0]["content"][0]
    )


def test_reasoning_is_not_shown_and_goes_back_before_what_came_of_it() -> None:
    talk = Talk()
    talk.say("Look")
    first = talk.create()
    thought = (ReasoningDelta("hm", 0), ReasoningSeal("sealed", 0), ReasoningDelta("unsealed", 1))
    events = talk.answer(first, *thought, ToolCallStarted("call_1", "look", 2), Finished("tool_calls"))
    assert [item["type"] for item in events[-2]["response"]["output"]] == ["function_call"]
    assert {event["output_index"] for event in events if "output_index" in event} == {0}
    assert "hm" not in str(events)
    talk.output("call_1")
    _, reasoning, call, output = talk.asked[talk.create()].items
    assert (type(call), type(output)) == (FunctionCall, FunctionCallOutput)
    assert isinstance(reasoning, Reasoning)
    assert reasoning.encrypted_content == "sealed"


def test_reasoning_alone_is_an_answer_without_items() -> None:
    end = ended(Talk(), ReasoningDelta("hm"), ReasoningSeal("sealed"), Finished("stop"))
    assert (end["status"], end["output"]) == ("completed", [])


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("length", "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"type": "incomplete", "reason": "content_filter"}),
    ],
)
def test_the_reason_of_the_end_is_told(reason: FinishReason, status: str, details: object) -> None:
    end = ended(Talk(), TextDelta("so"), Finished(reason))
    assert (end["status"], end["status_details"]) == (status, details)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (UpstreamCut("The provider's answer ended before its end."), "server_error", "upstream_cut"),
        (InvalidRequest("No images.", code="unsupported_by_model"), "invalid_request_error", "unsupported_by_model"),
        (Unavailable("The server stopped.", code="interrupted"), "server_error", "interrupted"),
    ],
)
def test_an_error_ends_a_response_as_failed_with_what_there_is_incomplete(
    error: ChatError, kind: str, code: str
) -> None:
    talk = Talk()
    end = ended(talk, TextDelta("so"), error=error)
    assert end["status"] == "failed"
    shown = {"type": kind, "code": code, "message": error.message}
    assert end["status_details"] == {"type": "failed", "error": shown}
    assert [item["status"] for item in end["output"]] == ["incomplete"]
    assert talk.create() not in talk.watcher.ended


def test_what_a_provider_says_without_sense_fails_its_response_alone() -> None:
    talk = Talk()
    response_id = talk.create()
    with pytest.raises(UpstreamError):
        talk.hear(response_id, ToolCallDelta("{}", 7))
    talk.end(response_id, error=UpstreamError("Nonsense."))
    assert ended(talk, *HELLO)["status"] == "completed"


def test_usage_is_shown_once_the_response_is_over() -> None:
    talk = Talk()
    response_id = talk.create()
    usage = Usage(10, 4, cached_tokens=3)
    events = talk.answer(response_id, TextDelta("so"), UsageReported(usage), Finished("stop"), usage=usage)
    assert events[-2]["response"]["usage"] == {
        "total_tokens": 14,
        "input_tokens": 10,
        "output_tokens": 4,
        "input_token_details": {
            "text_tokens": 10,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 3,
            "cached_tokens_details": {"text_tokens": 3, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 4, "audio_tokens": 0},
    }


def test_an_estimate_says_so_and_nobody_asked_has_no_usage() -> None:
    talk = Talk()
    guessed = talk.end(talk.create(), Usage(1, 2, estimated=True))[-2]["response"]["usage"]
    assert guessed["chatbackend_estimated"] is True
    assert talk.end(talk.create())[-2]["response"]["usage"] is None


def test_a_cancel_hangs_up_and_ends_the_response_cancelled_with_what_there_was() -> None:
    talk = Talk()
    response_id = talk.create()
    talk.hear(response_id, TextDelta("so"))
    assert talk.send("response.cancel") == []
    assert talk.stopped == [response_id]
    assert talk.hear(response_id, TextDelta(" far"), Finished("stop")) == []
    end = talk.end(response_id)[-2]["response"]
    assert (end["status"], end["status_details"]) == (
        "cancelled",
        {"type": "cancelled", "reason": "client_cancelled"},
    )
    assert end["output"][0]["content"] == [{"type": "output_text", "text": "so"}]
    [message] = talk.asked[talk.create()].items
    assert isinstance(message, Message)
    assert message.status == "incomplete"


def test_a_cancel_that_overtakes_the_model_leaves_a_created_and_a_cancelled_response() -> None:
    talk = Talk()
    response_id = talk.create()
    talk.send("response.cancel", response_id=response_id)
    assert kinds(talk.end(response_id, error=UpstreamCut("Hung up."))) == ["response.done", "rate_limits.updated"]
    assert talk.watcher.ended[response_id]["status"] == "cancelled"


def test_a_cancel_of_nothing_is_an_error_that_names_the_event() -> None:
    talk = Talk()
    [event] = talk.send("response.cancel", event_id="mine")
    assert (event["error"]["code"], event["error"]["event_id"]) == ("response_cancel_not_active", "mine")
    response_id = talk.create()
    assert talk.refusal("response.cancel", response_id="resp_other") == ("response_cancel_not_active", None)
    talk.send("response.cancel")
    assert talk.refusal("response.cancel") == ("response_cancel_not_active", None)
    talk.end(response_id)
    assert talk.refusal("response.cancel", response_id=response_id) == ("response_cancel_not_active", None)


def test_a_call_that_was_cut_is_no_call_that_anybody_waits_for() -> None:
    talk = Talk()
    talk.say("Look")
    response_id = talk.create()
    events = talk.hear(response_id, ToolCallStarted("call_1", "look"), ToolCallDelta('{"a'))
    talk.send("response.cancel")
    events = talk.end(response_id)
    assert "response.function_call_arguments.done" not in kinds(events)
    assert events[-2]["response"]["output"][0]["status"] == "incomplete"
    assert [type(item) for item in talk.asked[talk.create()].items] == [Message]
