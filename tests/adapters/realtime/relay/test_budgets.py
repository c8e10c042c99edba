"""A session that has used its tokens: told so, closed, and what it was answered is whole."""

import json

import pytest

from chatbackend.adapters.realtime.relay.actions import Billed, Close, ToClient
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.domain.realtime import Dialect, Ended, Terms
from tests.adapters.realtime.relay.test_core import CREATE, call, created, done, message, of, relay, said, shown, told

OVER = {"input_tokens": 9, "output_tokens": 2}
CLOSED = Close(Ended(1008, "The session has used 11 tokens; its client secret allows 10."), Ended(1000))
LIMITED = Terms(max_tokens=10)


def test_the_answer_that_goes_over_is_whole_and_billed_before_the_session_ends() -> None:
    session = relay(terms=LIMITED)
    session.provider_said(created("r"))
    frame = done("r", usage=OVER)
    actions = list(session.provider_said(frame))
    assert [type(action) for action in actions] == [Billed, ToClient, ToClient, Close]
    assert (actions[1], actions[3]) == (ToClient(frame), CLOSED)
    assert shown(actions)[1]["error"]["code"] == "budget_exceeded"
    assert list(session.client_said(CREATE)) == []


@pytest.mark.parametrize("terms", [Terms(max_tokens=11), Terms(), None])
def test_a_session_goes_on_within_its_budget_and_without_one(terms: Terms | None) -> None:
    session = relay(terms=terms)
    session.provider_said(created("r"))
    assert of(Close, session.provider_said(done("r", usage=OVER))) == []


@pytest.mark.parametrize("client", ["ga", "beta"])
def test_what_runs_beside_it_is_let_end_and_nothing_begins(client: Dialect) -> None:
    session = relay(client, client, terms=LIMITED)
    said(session, created("r1"), created("r2"))
    assert of(Close, session.provider_said(done("r1", usage=OVER))) == []
    refused = session.client_said(CREATE)
    assert (told(refused), shown(refused)[0]["error"]["code"]) == ([], "budget_exceeded")
    assert of(Close, session.provider_said(done("r2"))) == [CLOSED]


def test_a_response_that_goes_on_with_our_tools_is_let_end() -> None:
    session = relay(terms=Terms(vector_stores=("vs",), max_tokens=10))
    session.provider_said('{"type":"session.updated","session":{}}')
    item = {"id": "i1", "type": "function_call", "name": "chatbackend_file_search", "call_id": "c1"}
    actions = said(session, created("r1"), *call("i1", "c1", "r1"), done("r1", item, usage=OVER))
    actions += session.tool_answered("c1", "found")
    assert of(Close, actions) == []
    metadata = told(actions)[-1]["response"]["metadata"]
    ended = done("r2", {"id": "m", "type": "message"}, usage={"input_tokens": 0, "output_tokens": 0})
    last = said(session, created("r2", metadata), *message("m", "r2"), ended)
    assert of(Close, last) == [CLOSED]
    assert shown(last)[-2]["type"] == "response.done"


def test_a_response_that_is_cancelled_while_its_tools_run_ends_the_session() -> None:
    session = relay(terms=Terms(vector_stores=("vs",), max_tokens=10))
    session.provider_said('{"type":"session.updated","session":{}}')
    item = {"id": "i1", "type": "function_call", "name": "chatbackend_file_search", "call_id": "c1"}
    said(session, created("r1"), *call("i1", "c1", "r1"), done("r1", item, usage=OVER))
    cancelled = session.client_said('{"type":"response.cancel"}')
    assert [event["type"] for event in shown(cancelled)] == ["response.done", "error"]
    assert of(Close, cancelled) == [CLOSED]


def test_what_is_written_down_counts_too() -> None:
    session = Relay("m", "ga", new_id=lambda prefix: prefix, max_waiting_bytes=9, terms=LIMITED, kind="transcription")
    session.opened(Provider("ga", ()), 0.0)
    heard = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "i", "content_index": 0}
    actions = session.provider_said(json.dumps({**heard, "usage": {"type": "tokens", **OVER}}))
    assert of(Close, actions) == [CLOSED]


def test_a_session_that_somebody_else_bills_enters_nothing() -> None:
    session = Relay("m", "ga", new_id=lambda prefix: prefix, max_waiting_bytes=9, billed=False)
    session.opened(Provider("ga", ()), 0.0)
    heard = '{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","usage":{}}'
    actions = said(session, created("r"), done("r", usage=OVER), heard)
    assert {type(action) for action in [*actions, *session.client_left(Ended(1000))]} == {ToClient, Close}
