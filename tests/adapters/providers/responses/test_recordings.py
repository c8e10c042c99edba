"""Recorded Responses answers of real providers, heard the same as a plain walk of their JSON hears them."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.answer import Answer
from chatbackend.domain.errors import UpstreamCut, UpstreamRefused
from chatbackend.domain.items import FunctionCall, Message, OutputText, Reasoning, UrlCitation
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.responses import COMPLETED
from tests.adapters.providers.heard import Heard, hear, replay
from tests.adapters.providers.recordings import Recorded, recordings

CODEC = ResponsesCodec(ModelProfile())
ASKED = ModelRequest("m", [])
Json = dict[str, Any]

ALL = recordings(("responses", "conversations+responses", "files+responses+vector_stores"))
RESPONSES = [recorded for recorded in ALL if recorded.json.get("object") == "response"]
WHOLE = [recorded for recorded in RESPONSES if recorded.json["status"] == "completed"]
UNFINISHED = [recorded for recorded in RESPONSES if recorded.json["status"] != "completed"]
STREAMED = [recorded for recorded in ALL if recorded.sse is not None]
REFUSED = [recorded for recorded in ALL if recorded.status != 200]


def named(recorded: Recorded) -> str:
    return recorded.id


def events_of(recorded: Recorded) -> list[Json]:
    lines = (recorded.sse or "").split("\n")
    return [json.loads(line[len("data:") :]) for line in lines if line.startswith("data:")]


def response_of(events: list[Json]) -> Json:
    """Return the response at a stream's end; its proofs of reasoning are those of the items as they ended.

    The end tells the same proofs encrypted anew; the API says to keep the first.
    """
    response = events[-1]["response"]
    ended = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    output = [
        ended.get(index, item) if item["type"] == "reasoning" else item for index, item in enumerate(response["output"])
    ]
    return {**response, "output": output}


def stream(events: list[Json]) -> bytes:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


@pytest.mark.parametrize("recorded", WHOLE, ids=named)
def test_a_whole_answer_is_heard_whole(recorded: Recorded) -> None:
    expect_response(hear(CODEC.whole(json.dumps(recorded.json).encode(), ASKED)), recorded.json)


@pytest.mark.parametrize("recorded", UNFINISHED, ids=named)
def test_an_answer_that_is_still_to_come_is_a_cut(recorded: Recorded) -> None:
    with pytest.raises(UpstreamCut):
        CODEC.whole(json.dumps(recorded.json).encode(), ASKED)


@pytest.mark.parametrize("recorded", STREAMED, ids=named)
def test_a_streamed_answer_is_heard_whole(recorded: Recorded) -> None:
    expect_response(hear(replay(CODEC, (recorded.sse or "").encode())), response_of(events_of(recorded)))


@pytest.mark.parametrize("recorded", STREAMED, ids=named)
def test_deltas_and_whole_items_each_tell_everything(recorded: Recorded) -> None:
    """The end repeats all output, so the one could hide that the other is misread."""
    events = events_of(recorded)
    response = events[-1]["response"]
    ended: Json = {**events[-1], "response": {**response, "output": []}}
    expect_response(hear(replay(CODEC, stream([*events[:-1], ended]))), response_of(events))
    expect_response(hear(replay(CODEC, stream(events[-1:]))), response)


@pytest.mark.parametrize("recorded", STREAMED, ids=named)
@settings(max_examples=15, suppress_health_check=[HealthCheck.differing_executors])
@given(drawn=st.data())
def test_a_torn_stream_is_heard_alike(recorded: Recorded, drawn: st.DataObject) -> None:
    bytes_ = (recorded.sse or "").encode()
    cuts = drawn.draw(st.lists(st.integers(0, len(bytes_)), max_size=60))
    assert replay(CODEC, bytes_, cuts) == replay(CODEC, bytes_)


@pytest.mark.parametrize("recorded", REFUSED, ids=named)
def test_a_refused_request_is_the_callers_to_mend(recorded: Recorded) -> None:
    error = CODEC.error(recorded.status, {}, json.dumps(recorded.json).encode())
    assert isinstance(error, UpstreamRefused)
    assert error.message == " ".join(recorded.json["error"]["message"].split())[:500]
    assert error.code == recorded.json["error"]["code"]


@pytest.mark.parametrize("recorded", [*WHOLE, *STREAMED], ids=named)
def test_an_answer_folds_into_items_as_the_provider_made_them(recorded: Recorded) -> None:
    if recorded.sse is None:
        events, response = CODEC.whole(json.dumps(recorded.json).encode(), ASKED), recorded.json
    else:
        events, response = replay(CODEC, recorded.sse.encode()), response_of(events_of(recorded))
    count = Counter[str]()
    answer = Answer(lambda prefix: f"{prefix}_{count.update([prefix]) or count[prefix]}")
    for event in events:
        answer.feed(event)
    answer.close(COMPLETED)
    assert [item for item in map(outline, response["output"]) if item] == [folded(item) for item in answer.items]


def outline(item: Json) -> tuple[str, ...]:
    """Return what counts of a provider's item, nothing for one that we cannot show."""
    match item["type"]:
        case "message":
            return ("message", *(part["text"] for part in item["content"] if part["text"]))
        case "function_call":
            return "function_call", item["call_id"], item["name"], item["arguments"]
        case "reasoning" if texts(item) or item.get("encrypted_content"):
            return "reasoning", texts(item), item.get("encrypted_content") or ""
        case _:
            return ()


def folded(item: object) -> tuple[str, ...]:
    match item:
        case Message(content=parts):
            return ("message", *(part.text for part in parts if isinstance(part, OutputText)))
        case FunctionCall():
            return "function_call", item.call_id, item.name, item.arguments
        case Reasoning():
            thoughts = "".join(part.text for part in [*item.summary, *item.content])
            return "reasoning", thoughts, (item.encrypted_content or "").removeprefix("responses.encrypted.")
        case _:
            return ()


def texts(reasoning: Json) -> str:
    """Return the paragraphs of a reasoning item as one text."""
    paragraphs: list[list[Json]] = [reasoning.get("summary") or [], reasoning.get("content") or []]
    return "".join("\n\n".join(part["text"] for part in parts) for parts in paragraphs)


def expect_response(heard: Heard, response: Json) -> None:
    """Compare with a response object, item by item."""
    output, usage = response["output"], response["usage"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    reasoning = [item for item in output if item["type"] == "reasoning"]
    assert list(heard.texts.values()) == [part["text"] for part in parts if part["text"]]
    assert heard.thoughts == "".join(map(texts, reasoning))
    proofs = [item["encrypted_content"] for item in reasoning if item.get("encrypted_content")]
    assert [seal.removeprefix("responses.encrypted.") for seal in heard.seals] == proofs
    calls = [[item["call_id"], item["name"], item["arguments"]] for item in output if item["type"] == "function_call"]
    assert list(heard.calls.values()) == calls
    cited = [note for part in parts for note in part.get("annotations") or () if note["type"] == "url_citation"]
    assert [citation for _, citation in heard.citations] == [
        UrlCitation(note["url"], note["title"], note["start_index"], note["end_index"]) for note in cited
    ]
    tokens = [token for part in parts for token in part.get("logprobs") or ()]
    assert heard.logprobs == tokens
    assert heard.finish == ("tool_calls" if calls else "stop")
    assert heard.usage is not None
    assert (heard.usage.input_tokens, heard.usage.output_tokens) == (usage["input_tokens"], usage["output_tokens"])
    assert heard.usage.cached_tokens == usage["input_tokens_details"]["cached_tokens"]
    assert heard.usage.reasoning_tokens == usage["output_tokens_details"]["reasoning_tokens"]
