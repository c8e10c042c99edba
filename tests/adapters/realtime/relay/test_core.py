"""The core of a relayed session: what comes of what either side says, and of the time."""

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest
from openai.types.realtime import RealtimeErrorEvent

from chatbackend.adapters.realtime.relay.actions import Action, Began, Billed, Close, RunTool, ToClient, ToProvider
from chatbackend.adapters.realtime.relay.core import MAX_LATER, Relay
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.domain.errors import ChatError, UpstreamDenied, UpstreamOverloaded
from chatbackend.domain.passages import Passage
from chatbackend.domain.realtime import Dialect, Ended, Terms
from chatbackend.domain.usage import Settlement, Usage

Event = dict[str, Any]
APPEND = '{"type":"input_audio_buffer.append","audio":"AAAA"}'
CREATE = '{"type":"response.create"}'
SESSION: Event = {"type": "session.created", "event_id": "e", "session": {"type": "realtime", "model": "vendor"}}
SEARCH = "chatbackend_file_search"


def relay(
    client: Dialect = "ga", provider: Dialect | None = "ga", *, terms: Terms | None = None, opted_in: bool = False
) -> Relay:
    """Return a session; `provider` None: it is not there yet."""
    numbers = count()
    made = Relay(
        "azure/voice",
        client,
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
        max_waiting_bytes=1000,
        terms=terms,
        opted_in=opted_in,
    )
    if provider is not None:
        made.opened(Provider(provider, {"azure/voice", "voice"}, ["vendor-secret"]), 0.0)
    return made


def shown(actions: Sequence[Action]) -> list[Event]:
    return [json.loads(action.frame) for action in actions if isinstance(action, ToClient)]


def told(actions: Sequence[Action]) -> list[Event]:
    return [json.loads(action.frame) for action in actions if isinstance(action, ToProvider)]


def of(kind: type[Action], actions: Sequence[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, kind)]


def done(response_id: str, *output: Event, status: str = "completed", usage: Event | None = None) -> str:
    response = {"id": response_id, "status": status, "output": list(output), "usage": usage, "metadata": None}
    return json.dumps({"type": "response.done", "event_id": "e", "response": response})


def created(response_id: str, metadata: Event | None = None) -> str:
    response = {"id": response_id, "conversation_id": "conv", "status": "in_progress", "metadata": metadata}
    return json.dumps({"type": "response.created", "event_id": "e", "response": response})


@pytest.mark.parametrize("frame", [APPEND, '{"type":"a.new.one"}', b"\x00sound", b'{"type":"x"}', CREATE])
def test_what_nobody_acts_upon_passes_as_it_came(frame: str | bytes) -> None:
    session = relay()
    assert session.client_said(frame) in ((ToProvider(frame),), [ToProvider(frame)])
    assert list(session.provider_said(frame)) == [ToClient(frame)]


def test_what_comes_before_the_provider_waits_for_it_in_order() -> None:
    session = relay(provider=None)
    frames = [APPEND, b"sound", CREATE]
    assert [list(session.client_said(frame)) for frame in frames] == [[], [], []]
    assert session.opened(Provider("ga", ()), 0.0) == [ToProvider(frame) for frame in frames]


def test_too_much_before_the_provider_ends_the_session() -> None:
    session = relay(provider=None)
    actions = [action for _ in range(20) for action in session.client_said(APPEND)]
    assert shown(actions)[0]["error"]["code"] == "too_early"
    assert of(Close, actions) == [Close(Ended(1013, "Too much was sent before the provider was there."), Ended(1000))]


@pytest.mark.parametrize(
    ("error", "code"), [(UpstreamDenied("No."), 1011), (UpstreamOverloaded("Wait.", retry_after_s=1.0), 1013)]
)
def test_a_provider_that_cannot_be_reached_is_an_error_and_a_close(error: ChatError, code: int) -> None:
    actions = relay(provider=None).refused(error)
    RealtimeErrorEvent.model_validate(shown(actions)[0], strict=True)
    assert actions[-1] == Close(Ended(code, error.message), Ended(1000))


@pytest.mark.parametrize(
    "frame", ["x", "[]", "{}", '{"type":1}', b'{"type":"a","type":"b"}', '{"type":"a","type":"b"}']
)
def test_a_bad_frame_is_an_error_event(frame: str | bytes) -> None:
    (event,) = shown(relay().client_said(frame))
    assert event["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["azure/voice", "voice"])
def test_the_sessions_own_model_is_left_out_of_an_update(model: str) -> None:
    update = {"type": "session.update", "session": {"model": model, "x": 1}}
    assert told(relay().client_said(json.dumps(update))) == [{"type": "session.update", "session": {"x": 1}}]


def test_another_model_is_refused_and_an_update_without_one_passes() -> None:
    session = relay()
    refused = session.client_said('{"type":"session.update","event_id":"mine","session":{"model":"gpt-5"}}')
    assert (shown(refused)[0]["error"]["code"], shown(refused)[0]["error"]["event_id"]) == ("model_not_allowed", "mine")
    for frame in ('{"type":"session.update","session":{"x":1}}', '{"type":"session.update","session":7}'):
        assert list(session.client_said(frame)) == [ToProvider(frame)]


def test_a_session_is_shown_with_the_name_that_was_asked_for() -> None:
    session = relay()
    assert shown(session.provider_said(json.dumps(SESSION)))[0]["session"]["model"] == "azure/voice"
    same = '{"type":"session.updated", "session":{"model":"azure/voice"}}'
    assert list(session.provider_said(same)) == [ToClient(same)]
    odd = '{"type":"session.updated","session":1}'
    assert list(session.provider_said(odd)) == [ToClient(odd)]


def test_an_error_is_shown_without_keys_and_ends_nothing() -> None:
    session = relay()
    error = {"type": "error", "error": {"message": "vendor-secret is bad", "code": "x"}}
    assert shown(session.provider_said(json.dumps(error)))[0]["error"]["message"] == "[redacted] is bad"
    for clean in ('{"type":"error","error":{"message":"no"}}', '{"type":"error","error":1}'):
        assert list(session.provider_said(clean)) == [ToClient(clean)]


def test_what_a_provider_says_that_is_no_event_passes() -> None:
    session = relay()
    for frame in ("x", b"\xff", '{"x":1}', '{"type":"response.done"', '{"type":7}'):
        assert list(session.provider_said(frame)) == [ToClient(frame)]


def test_a_response_costs_once_and_what_it_used() -> None:
    session = relay()
    usage = {"input_tokens": 9, "output_tokens": 4, "input_token_details": {"cached_tokens": 2}}
    assert of(Began, session.provider_said(created("r"))) == [Began("r")]
    assert of(Began, session.provider_said(created("r"))) == []
    paid = Billed("r", Settlement(Usage(9, 4, 2), "incomplete"))
    assert of(Billed, session.provider_said(done("r", status="incomplete", usage=usage))) == [paid]
    assert of(Billed, session.provider_said(done("r", usage=usage))) == []


@pytest.mark.parametrize(
    ("status", "deltas", "expected"),
    [
        ("failed", 0, Settlement(Usage(), "failed")),
        ("failed", 2, Settlement(Usage(output_tokens=2, estimated=True), "failed")),
        ("unheard_of", 1, Settlement(Usage(output_tokens=1, estimated=True), "completed")),
    ],
)
def test_a_response_that_nobody_counted_is_estimated(status: str, deltas: int, expected: Settlement) -> None:
    session = relay()
    session.provider_said(created("r"))
    session.provider_said('{"type":"conversation.item.input_audio_transcription.delta","delta":"x"}')
    for _ in range(deltas):
        session.provider_said('{"type":"response.output_text.delta","delta":"x"}')
    assert of(Billed, session.provider_said(done("r", status=status))) == [Billed("r", expected)]


def test_a_session_that_ends_settles_what_is_open() -> None:
    session = relay()
    session.provider_said(created("r"))
    actions = session.client_left(Ended(1005))
    assert of(Billed, actions) == [Billed("r", Settlement(Usage(estimated=True), "cancelled"))]
    assert actions[-1] == Close(Ended(1005), Ended(1000))
    assert session.provider_left(Ended(1000)) == session.tick(1e12) == session.ended(Ended(1012)) == []


@pytest.mark.parametrize("configured", [{"audio": {"input": {"transcription": {"model": "whisper"}}}}, {}])
def test_a_transcription_costs_under_its_own_model(configured: Event) -> None:
    session = relay()
    session.provider_said(json.dumps({"type": "session.updated", "session": configured}))
    heard = {"type": "conversation.item.input_audio_transcription.completed", "item_id": "i", "content_index": 0}
    actions = session.provider_said(json.dumps({**heard, "usage": {"type": "duration", "seconds": 3}}))
    assert of(Began, actions) == [Began("i/0", "whisper" if configured else None)]
    assert of(Billed, actions) == [Billed("i/0", Settlement(Usage(estimated=True), "completed"))]
    assert of(Billed, session.provider_said(json.dumps(heard))) == []


def test_a_session_warns_who_wants_to_know_and_ends_what_its_provider_forgot() -> None:
    for opted_in in (True, False):
        session = relay(opted_in=opted_in)
        session.provider_said('{"type":"session.created","session":{"model":"azure/voice","expires_at":1000}}')
        assert session.tick(879.0) == []
        assert [event["expires_at"] for event in shown(session.tick(880.0))] == [1000] * opted_in
        assert session.tick(1004.0) == []
        actions = session.tick(1005.0)
        assert shown(actions)[0]["error"]["code"] == "session_expired"
        assert actions[-1] == Close(Ended(1001, "session_expired"), Ended(1000))


def test_an_end_that_the_provider_does_not_tell_is_after_an_hour() -> None:
    session = relay()
    assert relay(provider=None).tick(1e9) == []
    session.provider_said('{"type":"session.created","session":{"model":"azure/voice","expires_at":null}}')
    assert (session.tick(3604.0), len(session.tick(3605.0))) == ([], 2)


def test_the_end_of_the_server_is_told_to_who_wants_to_know() -> None:
    assert shown(relay(opted_in=True).draining(3.0))[0]["seconds"] == 3.0
    assert relay().draining(3.0) == []
    assert relay().ended(Ended(1012, "the server stops")) == [Close(Ended(1012, "the server stops"), Ended(1001))]


def test_nothing_comes_of_what_is_said_behind_the_end() -> None:
    session = relay()
    session.client_left(Ended(1000))
    assert list(session.provider_said(created("r"))) == list(session.client_said(CREATE)) == []


def test_both_ends_are_told_of_each_other() -> None:
    assert relay().provider_left(Ended(1006)) == [Close(Ended(1011, "the provider hung up"), Ended(1000))]
    assert relay(provider=None).provider_left(Ended(4001, "x")) == [Close(Ended(4001, "x"), Ended(1000))]


def test_a_beta_client_is_understood_by_a_ga_provider_and_answered_in_beta() -> None:
    session = relay("beta", "ga")
    asked = session.client_said('{"type":"response.create","response":{"modalities":["text"]}}')
    assert told(asked) == [{"type": "response.create", "response": {"output_modalities": ["text"]}}]
    assert list(session.client_said(APPEND)) == [ToProvider(APPEND)]
    delta = '{"type":"response.output_audio.delta", "delta":"é"}'
    assert list(session.provider_said(delta)) == [ToClient('{"type":"response.audio.delta", "delta":"é"}')]
    late = '{"delta":"x","type":"response.output_text.delta"}'
    assert shown(session.provider_said(late)) == [{"delta": "x", "type": "response.text.delta"}]
    for same in ('{"type":"rate_limits.updated"}', b'{"type":"response.output_text.delta"}'):
        assert list(session.provider_said(same)) == [ToClient(same)]
    assert list(session.provider_said('{"type":"conversation.item.done","item":{}}')) == []
    assert of(Billed, [*session.provider_said(created("r")), *session.provider_said(done("r"))])
    refused = session.client_said('{"type":"transcription_session.update"}')
    assert shown(refused)[0]["error"]["code"] == "unsupported_event"


def test_who_speaks_the_providers_own_beta_is_not_translated() -> None:
    session = relay("beta", "beta")
    update = '{"type":"session.update","session":{"temperature":0.7}}'
    assert list(session.client_said(update)) == [ToProvider(update)]


# Sessions that are held to terms.


def held(terms: Terms, provider: Dialect = "ga", *, opted_in: bool = False) -> tuple[Relay, list[Event]]:
    """Return a session that is set up, and what its provider was told first."""
    session = relay(provider=None, terms=terms, opted_in=opted_in)
    first = told(session.opened(Provider(provider, {"azure/voice"}), 0.0))
    assert list(session.provider_said(json.dumps(SESSION))) == []
    begun = shown(session.provider_said('{"type":"session.updated","event_id":"e","session":{"model":"m"}}'))
    assert [event["type"] for event in begun] == ["session.created"]
    return session, first


def test_a_session_is_set_up_before_anything_else_and_begins_then() -> None:
    _, first = held(Terms(session={"voice": "x", "instructions": "Hi."}, instructions="Ours.", vector_stores=("vs",)))
    assert first[0]["session"]["instructions"] == "Ours.\n\nHi."
    assert [tool["name"] for tool in first[0]["session"]["tools"]] == [SEARCH]
    assert held(Terms(session={"voice": "x"}))[1][0]["session"] == {"type": "realtime", "voice": "x"}
    assert held(Terms(instructions="Ours."), "beta")[1][0]["session"] == {"instructions": "Ours."}


def test_a_session_that_cannot_be_set_up_never_begins() -> None:
    session, first = held(Terms(instructions="Ours."))
    error = {"type": "error", "error": {"message": "Ours. is bad", "event_id": first[0]["event_id"]}}
    actions = session.provider_said(json.dumps(error))
    assert "Ours" not in json.dumps(shown(actions))
    assert isinstance(actions[-1], Close)


def test_what_the_session_is_held_to_is_put_into_all_that_would_replace_it() -> None:
    session, _ = held(Terms(instructions="Ours.", vector_stores=("vs",)))
    given: Event = {"instructions": "Sing.", "tools": [{"type": "function", "name": "f"}]}
    update = {"type": "session.update", "session": given}
    (changed,) = told(session.client_said(json.dumps(update)))
    assert changed["session"]["instructions"] == "Ours.\n\nSing."
    assert [tool["name"] for tool in changed["session"]["tools"]] == [SEARCH, "f"]
    seen = json.dumps({"type": "session.updated", "session": changed["session"]})
    assert shown(session.provider_said(seen))[0]["session"] == {**given, "model": "azure/voice"}
    for untouched in ('{"type":"session.update","session":{"voice":"x"}}', CREATE):
        assert list(session.client_said(untouched)) == [ToProvider(untouched)]
    odd = '{"type":"response.create","response":{"instructions":7}}'
    assert told(session.client_said(odd))[0]["response"] == {"instructions": 7}


def test_tools_on_the_list_pass_as_they_came() -> None:
    session, _ = held(Terms(client_tools=("lamp",)))
    update = '{"type":"session.update","session":{"tools":[{"type":"function","name":"lamp"}]}}'
    assert list(session.client_said(update)) == [ToProvider(update)]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"prompt": {"id": "p"}}, "unsupported_parameter"),
        ({"tools": "x"}, None),
        ({"tools": [{"type": "function", "name": SEARCH}]}, "tool_name_taken"),
        ({"tools": [{"type": "function", "name": "door"}]}, "tool_not_allowed"),
        ({"tools": [{"type": "mcp", "name": "lamp"}]}, "tool_not_allowed"),
        ({"tools": [1]}, "tool_not_allowed"),
        ({"tool_choice": {"type": "function", "name": SEARCH}}, "tool_not_found"),
        ({"tool_choice": SEARCH}, "tool_not_found"),
    ],
)
def test_what_the_terms_forbid_is_refused(given: Event, code: str | None) -> None:
    session, _ = held(Terms(instructions="Ours.", vector_stores=("vs",), client_tools=("lamp",)))
    for event in ({"type": "session.update", "session": given}, {"type": "response.create", "response": given}):
        actions = session.client_said(json.dumps(event))
        assert (told(actions), shown(actions)[0]["error"]["code"]) == ([], code)


def call(item_id: str, call_id: str, response_id: str, *, name: str = SEARCH, index: int = 0) -> list[str]:
    """Return what a provider says of a call, from its beginning to its end."""
    item = {"id": item_id, "type": "function_call", "name": name, "call_id": call_id, "arguments": "{}"}
    where = {"response_id": response_id, "output_index": index}
    events: list[Event] = [
        {"type": "response.output_item.added", "item": item, **where},
        {"type": "conversation.item.added", "item": item, "previous_item_id": "before"},
        {"type": "response.function_call_arguments.delta", "item_id": item_id, "delta": "{}", **where},
        {"type": "response.function_call_arguments.done", "item_id": item_id, "arguments": "{}", **where},
        {"type": "conversation.item.done", "item": item},
        {"type": "response.output_item.done", "item": item, **where},
    ]
    return [json.dumps(event) for event in events]


def message(item_id: str, response_id: str, *, index: int = 0, previous: str = "before") -> list[str]:
    item = {"id": item_id, "type": "message", "role": "assistant"}
    where = {"response_id": response_id, "output_index": index}
    events: list[Event] = [
        {"type": "response.output_item.added", "item": item, **where},
        {"type": "conversation.item.added", "item": item, "previous_item_id": previous},
        {"type": "response.output_text.delta", "item_id": item_id, "delta": "x", **where},
        {"type": "response.output_item.done", "item": item, **where},
    ]
    return [json.dumps(event) for event in events]


def said(session: Relay, *frames: str) -> list[Action]:
    return [action for frame in frames for action in session.provider_said(frame)]


def searching(*, late: bool = False) -> tuple[Relay, list[Action]]:
    """Return a session whose response has called our tool and ended; `late`: the output came before its end."""
    session, _ = held(Terms(vector_stores=("vs",)))
    actions = list(session.client_said('{"type":"response.create","response":{"metadata":{"k":"v"}}}'))
    actions += said(session, created("r1", {"k": "v"}), *call("i1", "c1", "r1"))
    if late:
        actions += session.tool_answered("c1", "found")
    item = {"id": "i1", "type": "function_call", "name": SEARCH, "call_id": "c1"}
    return session, actions + said(session, done("r1", item, usage={"input_tokens": 1, "output_tokens": 2}))


@pytest.mark.parametrize("late", [False, True])
def test_a_call_of_ours_runs_unseen_and_the_response_goes_on_under_its_id(late: bool) -> None:  # noqa: FBT001 - a case
    session, actions = searching(late=late)
    assert of(RunTool, actions) == [RunTool("c1", "{}")]
    assert [event["type"] for event in shown(actions)] == ["response.created"]
    if not late:
        actions += session.tool_answered("c1", "found")
    output, goes_on = told(actions)[1:]
    assert output["item"] == {"type": "function_call_output", "call_id": "c1", "output": "found"}
    assert goes_on["response"]["metadata"]["k"] == "v"
    outputs = [{"id": "o1", "type": "function_call_output", "call_id": "c1"}]
    rest = said(
        session,
        json.dumps({"type": "conversation.item.added", "item": outputs[0], "previous_item_id": "i1"}),
        created("r2", goes_on["response"]["metadata"]),
        *message("m", "r2", index=1, previous="o1"),
        done("r2", {"id": "m", "type": "message"}, usage={"input_tokens": 10, "output_tokens": 20, "d": {"x": 1}}),
    )
    events = shown(rest)
    assert {event.get("response_id", "r1") for event in events} == {"r1"}
    assert {event.get("output_index", 0) for event in events} == {0}
    assert [event["previous_item_id"] for event in events if "previous_item_id" in event] == ["before"]
    response = events[-1]["response"]
    assert (response["id"], response["metadata"]) == ("r1", {"k": "v"})
    assert response["output"] == [{"id": "m", "type": "message"}]
    assert response["usage"] == {"input_tokens": 11, "output_tokens": 22, "d": {"x": 1}}


def test_while_tools_run_a_response_is_active_for_the_client() -> None:
    session, _ = searching()
    refused = session.client_said(CREATE)
    assert shown(refused)[0]["error"]["code"] == "conversation_already_has_active_response"
    cancelled = session.client_said('{"type":"response.cancel"}')
    assert (told(cancelled), shown(cancelled)[0]["response"]["status"]) == ([], "cancelled")
    assert [event["type"] for event in told(session.tool_answered("c1", "x"))] == ["conversation.item.create"]
    assert session.tool_answered("c1", "x") == []


@pytest.mark.parametrize(("opted_in", "may"), [(False, True), (True, False), (True, True)])
def test_who_knows_our_events_and_may_is_told_once_what_the_model_was_given(*, opted_in: bool, may: bool) -> None:
    session, _ = held(Terms(vector_stores=("vs",), show_sources=may), opted_in=opted_in)
    said(session, created("r1"), *call("i1", "c1", "r1"))
    found = [Passage("file_1", "a.pdf", 3, 7, "text", 0.5, page=2)]
    events = shown(session.tool_answered("c1", "x", found) + session.tool_answered("c1", "x", found))
    source = {"file_id": "file_1", "filename": "a.pdf", "page": 2, "start": 3, "end": 7, "quote": "text"}
    assert [(event["type"], event["sources"]) for event in events] == [("chatbackend.sources", [source])] * (
        opted_in and may
    )


def test_a_cancel_names_the_part_that_runs() -> None:
    session, _ = searching()
    goes_on = told(session.tool_answered("c1", "x"))[1]["response"]["metadata"]
    said(session, created("r2", goes_on))
    cancel = '{"type":"response.cancel","response_id":"r1"}'
    assert told(session.client_said(cancel)) == [{"type": "response.cancel", "response_id": "r2"}]
    for other in ('{"type":"response.cancel","response_id":"r9"}', '{"type":"response.cancel"}'):
        assert list(session.client_said(other)) == [ToProvider(other)]
    assert shown(said(session, done("r2", status="cancelled")))[0]["response"]["id"] == "r1"


def test_a_response_that_begins_by_itself_ends_the_one_that_waited() -> None:
    session, _ = searching()
    events = shown(said(session, created("spoken"), *message("m", "spoken"), done("spoken", {"id": "m"})))
    assert [event["type"] for event in events[:2]] == ["response.done", "response.created"]
    assert events[0]["response"]["status_details"]["reason"] == "turn_detected"
    assert events[-1]["response"]["id"] == "spoken"
    assert len(told(session.tool_answered("c1", "x"))) == 1


def test_a_client_that_has_calls_of_its_own_to_answer_is_let_go_on_when_ours_are_answered() -> None:
    session, _ = held(Terms(vector_stores=("vs",)))
    theirs = {"id": "i2", "type": "function_call", "name": "lamp", "call_id": "c2"}
    ours = {"id": "i1", "type": "function_call", "name": SEARCH, "call_id": "c1"}
    calls = [*call("i1", "c1", "r"), *call("i2", "c2", "r", name="lamp", index=1)]
    events = shown(said(session, created("r"), *calls, done("r", ours, theirs)))
    assert events[-1]["response"]["output"] == [theirs]
    assert {event["output_index"] for event in events if "output_index" in event} == {0}
    assert [list(session.client_said(CREATE)) for _ in range(MAX_LATER)] == [[]] * MAX_LATER
    assert shown(session.client_said(CREATE))[0]["error"]["code"] == "too_many_responses"
    answered = session.tool_answered("c1", "x")
    assert [event["type"] for event in told(answered)] == ["conversation.item.create", *["response.create"] * MAX_LATER]


def test_two_calls_of_ours_go_on_when_both_are_answered() -> None:
    session, _ = held(Terms(vector_stores=("vs",)))
    said(session, created("r"), *call("i1", "c1", "r"), *call("i2", "c2", "r", index=1), done("r"))
    assert [len(told(session.tool_answered(each, "x"))) for each in ("c1", "c2")] == [1, 2]


def test_a_client_cannot_reach_what_it_cannot_see() -> None:
    session, _ = searching()
    for event in (
        {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c1", "output": "x"}},
        {"type": "conversation.item.retrieve", "item_id": "i1"},
        {"type": "conversation.item.delete", "item_id": "i1"},
    ):
        actions = session.client_said(json.dumps(event))
        assert (told(actions), shown(actions)[0]["error"]["code"]) == ([], "item_not_found")


def test_what_calls_nothing_passes_verbatim_beside_tools() -> None:
    session, _ = held(Terms(vector_stores=("vs",)))
    beside = json.dumps({"type": "response.created", "response": {"id": "other", "conversation_id": None}})
    frames = [
        created("r"),
        *message("m", "r"),
        done("r", {"id": "m"}),
        beside,
        done("other"),
        '{"type":"x"}',
        '{"type":"error"}',
    ]
    assert [action.frame for action in said(session, *frames) if isinstance(action, ToClient)] == frames


def test_what_ends_a_session_ends_its_tools() -> None:
    session, _ = searching()
    session.client_left(Ended(1000))
    assert session.tool_answered("c1", "x") == []
    assert relay(provider=None).tool_answered("c", "x") == []
