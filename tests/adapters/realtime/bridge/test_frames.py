"""Frames of a session in text: whatever a client sends is answered, and whatever happens, every response ends once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chatbackend.adapters.realtime.bridge.core import TextBridge
from chatbackend.domain.errors import ChatError, InvalidRequest, UpstreamCut, UpstreamError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.usage import Usage
from tests.support.model_events import SPOKEN
from tests.support.realtime_talk import HELLO, Talk

KINDS = (
    "session.update",
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
    "input_audio_buffer.append",
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("text", ["", "{", "nope", "[]", "1", '"x"', "null", "[" * 100_000, '{"a":' * 99_999, "\ud800"])
def test_what_is_no_json_object_is_an_error_and_the_session_stays(text: str) -> None:
    talk = Talk()
    [event] = talk.receive(text)
    assert (event["error"]["type"], event["error"]["code"]) == ("invalid_request_error", "invalid_json")
    assert talk.say("Hi")["status"] == "completed"


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    assert Talk().refusal("session.update", session=deep) == ("invalid_json", None)


@pytest.mark.parametrize(
    "kind",
    [
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "output_audio_buffer.clear",
        "conversation.item.truncate",
        "transcription_session.update",
        "no.such.event",
    ],
)
def test_events_of_sound_and_unknown_ones_are_errors_and_a_response_goes_on(kind: str) -> None:
    talk = Talk()
    response_id = talk.create()
    [event] = talk.send(kind, event_id="mine", audio="AAAA")
    assert (event["error"]["code"], event["error"]["param"]) == ("unsupported_event", "type")
    assert event["error"]["event_id"] == "mine"
    assert talk.answer(response_id, *HELLO)[-2]["response"]["status"] == "completed"


@pytest.mark.parametrize("kind", [None, 7, [], {}, ""])
def test_an_event_without_a_name_is_an_error(kind: object) -> None:
    [event] = Talk().receive(json.dumps({"type": kind}))
    assert event["error"]["code"] == "unsupported_event"


@pytest.mark.parametrize("event_id", [7, [], "x" * 513])
def test_an_event_id_that_is_none_is_refused(event_id: object) -> None:
    assert Talk().refusal("response.create", event_id=event_id) == (None, "event_id")


def test_an_error_names_the_event_that_caused_it_and_no_other() -> None:
    talk = Talk()
    assert talk.send("conversation.item.delete", item_id="none", event_id="mine")[0]["error"]["event_id"] == "mine"
    assert talk.send("conversation.item.delete", item_id="none")[0]["error"]["event_id"] is None


def test_a_frame_that_could_not_be_taken_is_an_error_too() -> None:
    talk = Talk()
    event = talk.watcher.see(talk.bridge.refused(InvalidRequest("Send text.", code="binary_frame")))
    assert event["error"]["code"] == "binary_frame"


def test_a_server_that_stops_begins_no_response_and_lets_the_others_end() -> None:
    talk = Talk()
    response_id = talk.create()
    told = json.loads(talk.bridge.drain(7.5))
    assert (told["type"], told["seconds"]) == ("chatbackend.draining", 7.5)
    assert talk.refusal("response.create", response={"conversation": "none"}) == ("stopping", None)
    talk.say("Still here")
    assert talk.answer(response_id, *HELLO)[-2]["response"]["status"] == "completed"
    assert not talk.bridge.busy


@given(st.text())
def test_no_text_raises(text: str) -> None:
    Talk().receive(text)


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(["session", "item", "item_id", "response"]), JSON))
def test_no_value_of_any_field_raises(kind: str, fields: dict[str, Any]) -> None:
    Talk().send(kind, **fields)


@given(JSON, JSON)
def test_no_value_of_any_field_within_raises(value: object, other: object) -> None:
    talk = Talk()
    for name in ("tools", "tool_choice", "instructions", "input", "metadata", "reasoning", "conversation"):
        talk.send("session.update", session={"type": "realtime", name: value})
        talk.send("response.create", response={name: value, "max_output_tokens": other})
    for kind in ("message", "function_call", "function_call_output", value):
        talk.send("conversation.item.create", item={"type": kind, "role": "user", "content": value, "call_id": other})


class Interleaved(RuleBasedStateMachine):
    """A client, a model and the end of the server, each when it likes; the watcher asserts that all of it fits."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()
        self.begun: set[str] = set()

    @property
    def bridge(self) -> TextBridge:
        return self.talk.bridge

    @rule(conversation=st.sampled_from(["auto", "none"]), text=st.none() | st.just("Hi"))
    def ask(self, conversation: str, text: str | None) -> None:
        item = {"type": "message", "role": "user", "content": [{"text": text}]}
        extra = {} if text is None else {"input": [item]}
        [event] = self.talk.send("response.create", response={"conversation": conversation, **extra})
        if event["type"] == "response.created":
            self.begun.add(event["response"]["id"])

    @rule()
    def say(self) -> None:
        self.talk.say("Hi")

    @rule(data=st.data())
    def answer_a_call(self, data: st.DataObject) -> None:
        calls = [item["call_id"] for item in self.talk.watcher.items.values() if item["type"] == "function_call"]
        call_id = data.draw(st.sampled_from(["call_none", *calls]))
        item = {"type": "function_call_output", "call_id": call_id, "output": "so"}
        self.talk.send("conversation.item.create", item=item)

    @rule(data=st.data(), kind=st.sampled_from(["delete", "retrieve"]))
    def touch(self, data: st.DataObject, kind: str) -> None:
        item_id = data.draw(st.sampled_from(["none", *self.talk.watcher.conversation]))
        self.talk.send(f"conversation.item.{kind}", item_id=item_id)

    @rule(data=st.data())
    def put_between(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(["none", "root", *self.talk.watcher.conversation]))
        item = {"type": "message", "role": "system", "content": [{"text": "Hm"}]}
        self.talk.send("conversation.item.create", item=item, previous_item_id=place)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        response_id = data.draw(st.sampled_from([None, "resp_none", *self.begun]))
        self.talk.send("response.cancel", response_id=response_id)

    @rule(data=st.data(), event=SPOKEN)
    def speak(self, data: st.DataObject, event: ModelEvent) -> None:
        if not self.talk.watcher.running:
            return
        response_id = data.draw(st.sampled_from(sorted(self.talk.watcher.running)))
        try:
            self.talk.hear(response_id, event)
        except UpstreamError as error:
            self.talk.end(response_id, error=error)

    @rule(data=st.data(), error=st.none() | st.just(UpstreamCut("Cut.")), usage=st.none() | st.just(Usage(1, 2)))
    def end(self, data: st.DataObject, error: ChatError | None, usage: Usage | None) -> None:
        if self.talk.watcher.running:
            response_id = data.draw(st.sampled_from(sorted(self.talk.watcher.running)))
            self.talk.end(response_id, usage, error)

    @rule(text=st.sampled_from(["{", '{"type":"input_audio_buffer.append"}']))
    def stammer(self, text: str) -> None:
        [event] = self.talk.receive(text)
        assert event["type"] == "error"

    @invariant()
    def every_response_runs_or_has_ended(self) -> None:
        watcher = self.talk.watcher
        assert self.begun == watcher.running.keys() | watcher.ended.keys()
        assert self.begun == self.talk.asked.keys()
        assert self.bridge.busy == bool(watcher.running)

    def teardown(self) -> None:
        for response_id in sorted(self.talk.watcher.running):
            self.talk.end(response_id)
        assert self.begun == self.talk.watcher.ended.keys()


TestInterleaved = Interleaved.TestCase
