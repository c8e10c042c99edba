"""A relayed session with a memory: what its provider is given first, and what is kept of it."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from chatbackend.adapters.realtime.record import TRANSCRIPT_S
from chatbackend.adapters.realtime.relay.actions import Action, Keep
from chatbackend.adapters.realtime.relay.core import NOT_TAKEN, Relay
from chatbackend.adapters.realtime.relay.kept import Kept
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputText, Item, Message, OutputText, text_of
from chatbackend.domain.realtime import Dialect, Ended, Terms
from chatbackend.domain.records import Append
from tests.adapters.realtime.relay.test_core import APPEND, CREATE, SESSION, call, done, relay, shown, told

Event = dict[str, Any]
LONG = "msg_" + "0" * 32
ITEMS: list[Item] = [
    Message(LONG, "user", [InputText("Tea?")]),
    Message("item_1", "assistant", [OutputText("Yes.")]),
    FunctionCall("item_2", "call_" + "0" * 32, "lamp", "{}"),
    FunctionCallOutput("item_3", "call_" + "0" * 32, "on"),
]


def bound(provider: Dialect = "ga", client: Dialect = "ga", terms: Terms | None = None) -> tuple[Relay, list[Action]]:
    session = relay(client, None, terms=terms)
    session.remember(Kept(lambda prefix: f"{prefix}_spare", ITEMS))
    session.client_said(CREATE)
    return session, session.opened(Provider(provider, ()), 0.0)


def kept(actions: Sequence[Action]) -> list[tuple[str, str]]:
    entries = [entry for action in actions if isinstance(action, Keep) for entry in action.entries]
    return [(entry.item.id, text_of(entry.item)) for entry in entries if isinstance(entry, Append)]


@pytest.mark.parametrize(("provider", "answer"), [("ga", "output_text"), ("beta", "text")])
def test_a_provider_is_given_the_conversation_after_our_setup_and_before_the_clients_words(
    provider: Dialect, answer: str
) -> None:
    _, actions = bound(provider, terms=Terms(instructions="Canary"))
    events = told(actions)
    assert [event["type"] for event in events] == [
        "session.update",
        *["conversation.item.create"] * 4,
        "response.create",
    ]
    given = [event["item"] for event in events[1:5]]
    assert [item["id"] for item in given] == ["chatbackend_0", "item_1", "item_2", "item_3"]
    assert given[0]["content"] == [{"type": "input_text", "text": "Tea?"}]
    assert given[1]["content"] == [{"type": answer, "text": "Yes."}]
    assert given[2]["call_id"] == given[3]["call_id"] == "chatbackend_1"
    assert (given[2]["arguments"], given[3]["output"]) == ("{}", "on")


def test_what_was_given_is_shown_by_the_ids_of_the_conversation_and_not_kept_again() -> None:
    session, actions = bound()
    previous: str | None = None
    for event in told(actions)[:4]:
        for step in ("added", "done"):
            item = {"object": "realtime.item", "status": "completed", **event["item"]}
            frame = {"type": f"conversation.item.{step}", "previous_item_id": previous, "item": item}
            heard = session.provider_said(json.dumps(frame))
            assert kept(list(heard)) == []
            (seen,) = shown(list(heard))
            assert seen["item"]["id"] in {LONG, "item_1", "item_2", "item_3"}
            assert "chatbackend" not in json.dumps(seen)
        previous = event["item"]["id"]


@pytest.mark.parametrize("kind", ["delete", "retrieve", "truncate"])
def test_a_client_names_items_as_the_conversation_does(kind: str) -> None:
    session, _ = bound()
    event = {"type": f"conversation.item.{kind}", "item_id": LONG}
    assert told(list(session.client_said(json.dumps(event)))) == [{**event, "item_id": "chatbackend_0"}]
    verbatim = f'{{"type": "conversation.item.{kind}",  "item_id": "item_9"}}'
    assert [getattr(action, "frame", "") for action in session.client_said(verbatim)] == [verbatim]


def test_an_item_that_the_provider_does_not_take_is_an_error_of_ours_and_the_session_goes_on() -> None:
    session, _ = bound()
    error = {"type": "error", "error": {"event_id": "event_chatbackend_history_0", "message": "No."}}
    actions = session.provider_said(json.dumps(error))
    assert shown(list(actions))[0]["error"]["code"] == NOT_TAKEN
    assert told(list(session.client_said(APPEND)))
    other = {"type": "error", "error": {"event_id": "mine", "message": "No."}}
    assert shown(list(session.provider_said(json.dumps(other)))) == [other]


@pytest.mark.parametrize("client", ["ga", "beta"])
def test_what_is_said_is_kept_in_whatever_dialect(client: Dialect) -> None:
    session, _ = bound("beta", client)
    heard: list[Action] = list(
        session.provider_said(json.dumps({"type": "session.created", "session": {"voice": "x"}}))
    )
    item: Event = {"id": "item_9", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    whole = {**item, "status": "completed", "content": [{"type": "audio", "transcript": "Right away."}]}
    frames: list[Event] = [
        {"type": "response.output_item.added", "response_id": "r", "item": item},
        {"type": "conversation.item.created", "previous_item_id": "item_3", "item": item},
        {"type": "response.audio.delta", "item_id": "item_9", "delta": "AAAA"},
        {"type": "response.audio_transcript.delta", "item_id": "item_9", "content_index": 0, "delta": "Right"},
        {"type": "response.output_item.done", "response_id": "r", "item": whole},
    ]
    for frame in frames:
        heard += session.provider_said(json.dumps(frame))
    assert kept(heard) == [("item_9", "Right away.")]


def test_sound_passes_verbatim_and_what_is_binary_too() -> None:
    session, _ = bound()
    for frame in ('{"type":"response.output_audio.delta","item_id":"item_9","delta":"AAAA"}', b'{"type":"a.delta"}'):
        assert [getattr(action, "frame", "") for action in session.provider_said(frame)] == [frame]


def test_calls_of_ours_are_not_kept() -> None:
    session, _ = bound(terms=Terms(vector_stores=("vs",)))
    heard: list[Action] = []
    for frame in (json.dumps(SESSION), *call("i1", "c1", "r1"), done("r1")):
        heard += session.provider_said(frame)
    assert kept(heard) == []
    assert list(session.rest()) == []


def test_words_that_nobody_writes_down_are_waited_for_by_the_clock() -> None:
    session, _ = bound()
    configured = {"type": "session.updated", "session": {"audio": {"input": {"transcription": {"model": "w"}}}}}
    item: Event = {
        "id": "item_9",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_audio"}],
    }
    for frame in (configured, {"type": "conversation.item.added", "item": item}):
        assert kept(list(session.provider_said(json.dumps(frame)))) == []
    assert kept(session.tick(1.0)) == []
    assert [item_id for item_id, _ in kept(session.tick(1.0 + TRANSCRIPT_S))] == ["item_9"]


def test_what_is_not_written_at_the_end_is_the_rest_of_the_session() -> None:
    session, _ = bound()
    item: Event = {"id": "item_9", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    session.provider_said(json.dumps({"type": "conversation.item.added", "item": item}))
    grown = {"type": "response.output_text.delta", "item_id": "item_9", "content_index": 0, "delta": "Half"}
    session.provider_said(json.dumps(grown))
    session.client_left(Ended(1000))
    (entry,) = session.rest()
    assert isinstance(entry, Append)
    assert text_of(entry.item) == "Half"
    assert list(relay().rest()) == []


def test_what_others_add_is_told_to_the_provider_shown_to_the_client_and_not_kept_again() -> None:
    session, _ = bound()
    (event,) = told(session.learned(Message("msg_" + "1" * 32, "user", [InputText("More?")])))
    assert (event["type"], event["item"]["id"]) == ("conversation.item.create", "chatbackend_2")
    heard = session.provider_said(json.dumps({"type": "conversation.item.added", "item": event["item"]}))
    assert (shown(heard)[0]["item"]["id"], kept(heard)) == ("msg_" + "1" * 32, [])
    assert session.learned(FunctionCall("f", "c", "lamp")) == []


def test_what_others_delete_is_deleted_at_the_provider_where_it_is_known() -> None:
    session, _ = bound()
    item = {"id": "item_9", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    session.provider_said(json.dumps({"type": "conversation.item.added", "item": item}))
    events = [told(session.forgotten(item_id)) for item_id in (LONG, "item_9", "none")]
    assert [[event["item_id"] for event in each] for each in events] == [["chatbackend_0"], ["item_9"], []]


def test_what_others_do_before_the_provider_is_there_is_part_of_what_it_is_given() -> None:
    assert relay().learned(ITEMS[0]) == relay().forgotten("x") == []
    session = relay("ga", None)
    session.remember(Kept(lambda prefix: f"{prefix}_spare", ITEMS))
    assert session.learned(Message("new", "user", [InputText("More?")])) == session.forgotten("item_1") == []
    given = [event["item"]["id"] for event in told(session.opened(Provider("ga", ()), 0.0))]
    assert given == ["chatbackend_0", "item_2", "item_3", "new"]


def test_it_is_known_which_items_are_the_sessions() -> None:
    memory = Kept(lambda prefix: f"{prefix}_spare", ITEMS)
    item = {"id": "item_9", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    memory.shown([{"type": "conversation.item.added", "item": item}], "ga")
    memory.due()
    assert [memory.knows(item_id) for item_id in (LONG, "item_9", "msg_spare", "none")] == [True, True, True, False]
    for item_id in (LONG, "item_9"):
        memory.shown([{"type": "conversation.item.deleted", "item_id": item_id}], "ga")
        assert not memory.knows(item_id)
