"""The AsyncAPI document: its references lead somewhere, and its events are those that the renderer makes."""

import json
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from chatbackend.adapters.api import asyncapi, conversation_events
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire import steering
from chatbackend.domain.answer import Answer, AnswerEvent
from chatbackend.domain.conversations import (
    Conversation,
    ItemAdded,
    ItemDeleted,
    ResponseCreated,
    ResponseEnded,
    State,
    Updated,
)
from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.events import (
    Cited,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import FileCitation, FunctionCall
from chatbackend.domain.responses import COMPLETED, Response
from chatbackend.domain.steering import Steer

LIFECYCLE = {f"response.{state}" for state in ("created", "queued", "in_progress", "completed", "failed", "incomplete")}


def answered() -> list[AnswerEvent]:
    """Return the steps of an answer in which everything happens."""
    answer = Answer(lambda prefix: f"{prefix}_1")
    steps = answer.search_started("question") + answer.search_ended(None)
    for event in (
        ReasoningDelta("why", summary=True),
        ReasoningDelta("because"),
        TextDelta("text"),
        Cited(FileCitation("file_1", "a.pdf", 0, 1, 0, 4, "text")),
        RefusalDelta("no"),
        ToolCallStarted("call_1", "look"),
        ToolCallDelta("{}"),
        Finished("stop"),
    ):
        steps += answer.feed(event)
    return steps + answer.close(COMPLETED)


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        found = cast(dict[str, object], value)
        if "$ref" in found:
            yield str(found["$ref"])
        for each in found.values():
            yield from references(each)
    if isinstance(value, list):
        for each in cast(list[object], value):
            yield from references(each)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document(version="1.2.3")
    assert json.loads(json.dumps(document)) == document
    for reference in set(references(document)):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_the_events_are_those_that_are_rendered_with_their_fields() -> None:
    known, seen = asyncapi.events(), set[str]()
    for step in answered():
        event = ResponseEvents().step(step, 0)
        fields = set(msgspec.json.decode(event.data, type=dict[str, Any]))
        assert fields == set(known[event.type]["required"]), event.type
        seen.add(event.type)
    assert seen | LIFECYCLE == set(known)


STEER = Steer("steer_1", "resp_1", [], b'"x"', failure="response_not_active")


def test_our_own_events_have_the_fields_that_are_said() -> None:
    response = Response("resp_1", Principal("t", "a", "a", "k"), "m", 1, status="cancelled", stream_id="lane")
    said = core.ResponsesSocket().receive('{"type":"response.steer","previous_response_id":"resp_1","input":[]}')
    assert isinstance(said, core.Say)
    for rendered in (
        core.cancelled_event(response),
        core.conversation_reset_event(State(Conversation("conv_1", 1), -1, [], [])),
        core.subscribed_event("conv_1", -1),
        core.unsubscribed_event("conv_1"),
        core.error_event(NotFound("No."), None, conversation_id="conv_1"),
        core.reset_event(response),
        core.error_event(NotFound("No."), "lane", "resp_1"),
        core.error_event(Unavailable("Not now."), None),
        core.draining_event(10.0),
        steering.accepted_event(STEER, 1),
        steering.pending_event(STEER, [FunctionCall("fc_1", "call_1", "look", "{}")], 1),
        steering.given_back(STEER, 1),
        said.event,
    ):
        event = msgspec.json.decode(rendered, type=dict[str, Any])
        shape = asyncapi.own_events()[event["type"]]
        assert set(shape["required"]) <= set(event) <= set(shape["properties"])


def test_the_events_of_a_conversation_have_the_fields_that_are_said() -> None:
    changes = [
        ItemAdded("msg_1", 1, None),
        ItemDeleted("msg_1"),
        ResponseCreated("resp_1", 1),
        ResponseEnded("resp_1", "completed"),
        Updated(Conversation("conv_1", 1)),
    ]
    rendered = [conversation_events.render("conv_1", change, 0, at=1).data for change in changes]
    known = asyncapi.conversation_events()
    found = [msgspec.json.decode(each, type=dict[str, Any]) for each in rendered]
    found.append(msgspec.json.decode(conversation_events.deleted("conv_1")))
    assert {event["type"] for event in found} == set(known)
    for event in found:
        assert set(event) == set(known[event["type"]]["required"])


def test_every_command_that_a_socket_knows_is_in_it() -> None:
    for name in asyncapi.commands():
        said = core.ResponsesSocket().receive(json.dumps({"type": name, "response_id": "resp_1"}))
        assert not isinstance(said, core.Say) or b"unknown_event_type" not in said.event
    unknown = core.ResponsesSocket().receive('{"type":"response.dance"}')
    assert isinstance(unknown, core.Say)
    assert all(name.encode() in unknown.event for name in asyncapi.commands())
