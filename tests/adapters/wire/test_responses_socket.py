"""A Responses socket without the socket: what each frame becomes, and the bytes of our own events."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire.frames import with_lane
from chatbackend.adapters.wire.responses_socket import Cancel, ResponsesSocket, Resume, Say, Subscribe, Unsubscribe
from chatbackend.adapters.wire.socket_lanes import MAX_NAMED, Create
from chatbackend.domain.errors import Conflict, InvalidRequest, RateLimited
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import Response

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)
HELLO = {"type": "response.create", "model": "m", "input": "hi"}


def frame(**fields: object) -> str:
    return json.dumps(fields)


def received(text: str, socket: ResponsesSocket | None = None) -> core.Command:
    return (socket or ResponsesSocket()).receive(text)


def said(text: str, socket: ResponsesSocket | None = None) -> dict[str, Any]:
    """Return the event that answers a frame; it is one that the SDK knows."""
    command = received(text, socket)
    assert isinstance(command, Say)
    event = json.loads(command.event)
    SERVER_EVENT.validate_python(event)
    return event


def refusal(text: str, socket: ResponsesSocket | None = None) -> tuple[Any, ...]:
    event = said(text, socket)
    assert event["type"] == "error"
    return event["status"], event["error"]["code"], event["error"]["param"], event.get("stream_id")


def test_conversations_are_subscribed_to_by_name_and_cursor() -> None:
    assert received(frame(type="chatbackend.subscribe", conversation="conv_1")) == Subscribe("conv_1", -1)
    assert received(frame(type="chatbackend.subscribe", conversation="conv_1", after=3)) == Subscribe("conv_1", 3)
    assert received(frame(type="chatbackend.unsubscribe", conversation="conv_1")) == Unsubscribe("conv_1")
    refused = refusal(frame(type="chatbackend.subscribe"))
    assert refused == (400, "missing_required_parameter", "conversation", None)
    assert refusal(frame(type="chatbackend.subscribe", conversation="conv_1", after="x"))[2] == "after"


@pytest.mark.parametrize("lane", [None, "a", "planner-1_x.y", "z" * 256])
def test_a_create_is_taken_with_its_lane_and_left_unread(lane: str | None) -> None:
    text = frame(**HELLO, stream_id=lane)
    command = received(text)
    assert isinstance(command, Create)
    assert (command.lane, command.text) == (lane, text)
    assert core.body_of(command)["input"] == "hi"


@pytest.mark.parametrize("lane", ["", "a b", "ä", "z" * 257, 'a"', "a\n", 7, True, ["a"], {}])
def test_a_stream_id_that_is_no_name_is_refused_without_naming_a_lane(lane: object) -> None:
    assert refusal(frame(**HELLO, stream_id=lane)) == (400, "invalid_stream_id", "stream_id", None)


@pytest.mark.parametrize("text", ["", "{", "nope", '{"type": }', "[]", "1", '"x"', "null", "[" * 100_000, "\ud800"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    assert refusal(text) == (400, "invalid_json", None, None)


@pytest.mark.parametrize("kind", [None, 7, "", "response.delete", "x" * 1000, "session.update"])
def test_an_unknown_type_is_refused_in_its_lane_with_the_known_ones_named(kind: object) -> None:
    event = said(frame(type=kind, stream_id="a"))
    assert (event["status"], event["error"]["code"], event["stream_id"]) == (400, "unknown_event_type", "a")
    assert "response.create" in event["error"]["message"]
    assert len(event["error"]["message"]) < 250


@given(st.text())
def test_no_text_raises(text: str) -> None:
    received(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_no_value_of_any_field_raises(value: object) -> None:
    for kind in ("response.create", "response.steer", "chatbackend.cancel", "chatbackend.resume", value):
        for name in ("stream_id", "response_id", "starting_after", "previous_response_id", "input"):
            received(json.dumps({"type": kind, "response_id": "resp_1", name: value}))


def test_a_thirty_third_name_is_refused_and_known_ones_still_work() -> None:
    socket = ResponsesSocket()
    for number in range(MAX_NAMED):
        assert isinstance(received(frame(**HELLO, stream_id=f"lane{number}"), socket), Create)
    refused = refusal(frame(**HELLO, stream_id="one-more"), socket)
    assert refused == (400, "websocket_stream_limit_reached", "stream_id", "one-more")
    assert isinstance(received(frame(**HELLO, stream_id="lane3"), socket), Create)
    assert isinstance(received(frame(**HELLO), socket), Create)


def test_cancel_and_resume_name_a_response() -> None:
    assert received(frame(type="chatbackend.cancel", response_id="resp_1")) == Cancel("resp_1")
    assert received(frame(type="chatbackend.resume", response_id="resp_1")) == Resume("resp_1", -1)
    found = received(frame(type="chatbackend.resume", response_id="resp_1", starting_after=41))
    assert found == Resume("resp_1", 41)


@pytest.mark.parametrize("kind", ["chatbackend.cancel", "chatbackend.resume"])
@pytest.mark.parametrize("given_id", [None, "", 7])
def test_a_command_without_a_response_is_refused(kind: str, given_id: object) -> None:
    refused = refusal(frame(type=kind, response_id=given_id))
    assert refused == (400, "missing_required_parameter", "response_id", None)


@pytest.mark.parametrize("after", [-2, 2**53 + 1, 10**30, 1.5, "3", True, [], {}])
def test_a_cursor_that_is_no_event_number_is_refused(after: object) -> None:
    text = frame(type="chatbackend.resume", response_id="resp_1", starting_after=after)
    assert refusal(text) == (400, None, "starting_after", None)


def test_only_our_own_commands_or_the_query_opt_in() -> None:
    socket = ResponsesSocket()
    for kind in ("response.create", "response.steer", "nonsense"):
        socket.receive(frame(**{**HELLO, "type": kind}))
    assert not socket.opted_in
    socket.receive(frame(type="chatbackend.unknown"))
    assert socket.opted_in
    assert ResponsesSocket(opted_in=True).opted_in


def test_a_create_is_read_like_a_post_and_carries_its_lane() -> None:
    body: dict[str, Any] = {**HELLO, "stream_id": "a", "background": False, "generate": False}
    request = core.read(Create("a", json.dumps(body)), body)
    assert (request.model, request.stream_id, request.generate, request.extra) == ("m", "a", False, None)


def test_a_background_create_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        core.read(Create(None, ""), {**HELLO, "background": True})
    assert (caught.value.param, caught.value.code) == ("background", "unsupported_parameter")


def test_an_idempotency_key_is_found_where_it_belongs() -> None:
    assert core.idempotency_key({}) is None
    assert core.idempotency_key({"chatbackend": {"idempotency_key": "k"}}) == "k"
    wrongs: list[object] = [{}, {"idempotency_key": 1}, "k", []]
    for wrong in wrongs:
        with pytest.raises(InvalidRequest):
            core.idempotency_key({"chatbackend": wrong})


@pytest.mark.parametrize(
    ("ids", "cursors", "pairs"),
    [
        ([], [], []),
        (["a"], [], [("a", -1)]),
        (["a", "b"], ["4", ""], [("a", 4), ("b", -1)]),
        (["a", "b"], ["-1", "007"], [("a", -1), ("b", 7)]),
    ],
)
def test_a_handshake_pairs_responses_and_cursors_in_order(
    ids: list[str], cursors: list[str], pairs: list[tuple[str, int]]
) -> None:
    assert core.resumed(ids, cursors) == [Resume(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("ids", "cursors", "param"),
    [
        (["a", "b"], ["4"], "starting_after"),
        ([], ["4"], "starting_after"),
        (["a"], ["x"], "starting_after"),
        (["a"], ["-2"], "starting_after"),
        (["a"], ["--1"], "starting_after"),
        (["a"], ["٣"], "starting_after"),
        (["a"], ["9" * 5000], "starting_after"),
        (["a"] * 65, [], "resume"),
    ],
)
def test_a_handshake_whose_pairs_do_not_match_is_refused(ids: list[str], cursors: list[str], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        core.resumed(ids, cursors)
    assert caught.value.param == param


names = st.text("abcXYZ019._-", min_size=1, max_size=256)
values = st.dictionaries(st.text(), st.text() | st.integers() | st.none(), min_size=1)


@given(values, st.none() | names)
def test_a_lane_is_put_into_an_event_without_changing_anything_else(event: dict[str, Any], lane: str | None) -> None:
    expected = event if lane is None else {**event, "stream_id": lane}
    assert json.loads(with_lane(json.dumps(event).encode(), lane)) == expected


def test_an_error_says_status_lane_and_what_it_is_about() -> None:
    event = json.loads(core.error_event(Conflict("no", param="starting_after", code="cursor_ahead"), "a", "resp_1"))
    SERVER_EVENT.validate_python(event)
    assert event == {
        "type": "error",
        "status": 409,
        "error": {
            "message": "no",
            "type": "invalid_request_error",
            "param": "starting_after",
            "code": "cursor_ahead",
        },
        "response_id": "resp_1",
        "stream_id": "a",
    }


def test_an_error_that_asks_for_patience_carries_its_header() -> None:
    event = json.loads(core.error_event(RateLimited("later", retry_after_s=0.2), None))
    SERVER_EVENT.validate_python(event)
    assert event["error"]["headers"] == {"retry-after": "1"}
    assert "stream_id" not in event


def test_our_own_events_show_the_response_as_it_is() -> None:
    response = Response("resp_1", Principal("t", "a", "a", "k"), "m", 7, status="cancelled", stream_id="a")
    assert json.loads(core.cancelled_event(response)) == {
        "type": "chatbackend.cancelled",
        "response_id": "resp_1",
        "status": "cancelled",
        "stream_id": "a",
    }
    reset = json.loads(core.reset_event(response))
    assert (reset["type"], reset["response_id"], reset["stream_id"]) == ("chatbackend.reset", "resp_1", "a")
    assert (reset["response"]["id"], reset["response"]["status"]) == ("resp_1", "cancelled")
