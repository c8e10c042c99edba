"""When a session moves on to another one of its provider's, and what goes along."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from chatbackend.adapters.realtime import history
from chatbackend.adapters.realtime.relay.actions import Action, Billed, Close, Keep, Move, Renew
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.kept import Kept
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.adapters.realtime.relay.renewal import AGAIN_S, LAST_S, LEAD_S, MAX_UNANSWERED, Renewal
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.realtime import SESSION_S, Dialect, Ended, Terms
from chatbackend.domain.records import Amend, Append, item_id_of
from tests.adapters.realtime.relay.test_core import APPEND, CREATE, SESSION, call, created, done, of, relay, shown, told

Event = dict[str, Any]
GONE = Ended(1001)
COMMIT = '{"type":"input_audio_buffer.commit"}'
USER: Event = {"id": "item_u", "type": "message", "role": "user", "status": "completed"}


def begun(
    provider: Dialect = "ga", client: Dialect = "ga", terms: Terms | None = None, *, opted_in: bool = False
) -> Relay:
    """Return a session that may be renewed, which began at 0 and has an hour."""
    session = relay(client, None, terms=terms, opted_in=opted_in)
    session.remember(
        Kept(lambda prefix: f"{prefix}_x", [Message("m0", "user", [InputText("Tea?")])], renewal=Renewal())
    )
    session.opened(Provider(provider, ("voice",)), 0.0)
    return session


def says(session: Relay, kind: str, /, **fields: object) -> Sequence[Action]:
    return session.provider_said(json.dumps({"type": kind, "event_id": "e", **fields}))


def move(actions: Sequence[Action]) -> list[Event]:
    """Return what the next session is told first."""
    (moved,) = [action for action in actions if isinstance(action, Move)]
    return told(moved.first)


def next_one(session: Relay, provider: Dialect = "ga", at: float = SESSION_S) -> list[Action]:
    return session.successor(Provider(provider, ("voice",)), at)


def test_the_next_session_is_opened_a_minute_before_the_end_and_asked_for_again_after_a_while() -> None:
    session = begun()
    begins = SESSION_S - LEAD_S
    assert of(Renew, session.tick(begins - 1)) == []
    assert of(Renew, session.tick(begins)) == [Renew()]
    assert of(Renew, session.tick(begins + 1)) == []
    assert session.not_renewed() == []
    assert of(Renew, session.tick(begins + AGAIN_S - 1)) == []
    assert of(Renew, session.tick(begins + AGAIN_S)) == [Renew()]


def test_a_session_that_lasts_less_is_renewed_when_half_of_it_is_over() -> None:
    session = begun()
    says(session, "session.created", session={**SESSION["session"], "expires_at": 30})
    assert of(Renew, session.tick(14.0)) == []
    assert of(Renew, session.tick(15.0)) == [Renew()]


def test_one_that_is_not_to_be_renewed_ends_as_ever() -> None:
    plain = relay()
    assert of(Renew, plain.tick(SESSION_S - 1)) == []
    assert plain.not_renewed() == next_one(plain) == []
    assert of(Close, plain.provider_left(GONE)) == [Close(GONE, Ended(1000))]


def test_the_next_session_is_set_up_as_this_one_is_and_given_what_was_said() -> None:
    session = begun(terms=Terms(instructions="Canary"), opted_in=True)
    configured = {**SESSION["session"], "id": "sess_1", "instructions": "Canary\n\nSing.", "prompt": None, "x": 1}
    says(session, "session.created", session={})
    says(session, "session.updated", session=configured)
    says(session, "conversation.item.added", item={**USER, "content": [{"type": "input_text", "text": "More"}]})
    first = move(next_one(session))
    assert [event["type"] for event in first] == [
        "session.update",
        "conversation.item.create",
        "conversation.item.create",
    ]
    assert first[0]["session"] == {"type": "realtime", "instructions": "Canary\n\nSing."}
    assert [event["item"]["id"] for event in first[1:]] == ["m0", "item_u"]
    assert says(session, "session.created", session={"instructions": "The vendor's."}) == ()
    assert shown(says(session, "conversation.item.added", item={**USER})) == []
    updated, renewed = shown(says(session, "session.updated", session={**configured, "expires_at": 7200}))
    assert (updated["type"], updated["session"]["instructions"]) == ("session.updated", "Sing.")
    assert (renewed["type"], renewed["expires_at"]) == ("chatbackend.session.renewed", 7200)
    assert (renewed["items"], renewed["left_out"]) == (2, 0)
    assert of(Renew, session.tick(7200 - LEAD_S)) == [Renew()]


def test_a_configuration_goes_from_one_dialect_to_the_other() -> None:
    session = begun("beta")
    flat = {"voice": "cedar", "turn_detection": None, "max_response_output_tokens": 9, "modalities": ["text"]}
    says(session, "session.updated", session=flat)
    (first, *_) = move(next_one(session, "ga"))
    audio = {"output": {"voice": "cedar"}, "input": {"turn_detection": None}}
    assert first["session"] == {
        "type": "realtime", "audio": audio, "output_modalities": ["text"], "max_output_tokens": 9,
    }  # fmt: skip
    says(session, "session.updated", session=first["session"])
    (again, *_) = move(next_one(session, "beta"))
    assert again["session"] == flat


@pytest.mark.parametrize(
    ("busy", "free"),
    [
        (created("r1"), done("r1")),
        ('{"type":"input_audio_buffer.speech_started"}', '{"type":"input_audio_buffer.committed"}'),
        ('{"type":"input_audio_buffer.speech_started"}', '{"type":"input_audio_buffer.cleared"}'),
    ],
)
@pytest.mark.parametrize("provider", ["ga", "beta"])
def test_it_moves_once_nothing_is_under_way(busy: str, free: str, provider: Dialect) -> None:
    session = begun(provider)
    session.provider_said(busy)
    assert next_one(session, provider, SESSION_S - LEAD_S) == []
    assert of(Move, session.provider_said(APPEND)) == []
    actions = session.provider_said(free)
    assert isinstance(actions[-1], Move)
    assert [event["type"] for event in shown(actions)] == [json.loads(free)["type"]]


@pytest.mark.parametrize(
    ("asks", "answers"),
    [
        (CREATE, created("r1")),
        (COMMIT, '{"type":"input_audio_buffer.committed"}'),
        ('{"type":"session.update","session":{}}', json.dumps({**SESSION, "type": "session.updated"})),
        (
            '{"type":"conversation.item.create","item":{"type":"message","role":"user","id":"item_u"}}',
            json.dumps({"type": "conversation.item.added", "item": USER}),
        ),
        ('{"type":"response.create","event_id":"mine"}', '{"type":"error","error":{"event_id":"mine"}}'),
    ],
)
def test_it_waits_for_what_the_client_was_not_answered_yet(asks: str, answers: str) -> None:
    session = begun()
    session.client_said(asks)
    assert next_one(session) == []
    other = {"type": "conversation.item.added", "item": {**USER, "id": "item_other", "role": "system"}}
    for unconcerned in (other, {"type": "error", "error": {"event_id": "another"}}):
        assert of(Move, session.provider_said(json.dumps(unconcerned))) == []
    session.provider_said(answers)
    session.provider_said(done("r1"))
    assert of(Move, session.tick(0.0)) == []  # it has moved already
    assert told(session.client_said(APPEND))


def test_at_the_last_moment_it_moves_whatever_is_under_way_and_asks_again() -> None:
    session = begun()
    session.provider_said(created("r1"))
    for frame in (COMMIT, CREATE):
        session.client_said(frame)
    begun_speech = {**USER, "content": [{"type": "input_audio"}]}
    configured: Event = {"audio": {"input": {"transcription": {}}}}
    says(session, "session.updated", session=configured)
    says(session, "conversation.item.added", item=begun_speech)
    assert next_one(session, at=SESSION_S - 50) == []
    assert session.tick(SESSION_S - LAST_S - 1) == []
    actions = session.tick(SESSION_S - LAST_S)
    (ended,) = shown(actions)
    assert (ended["response"]["id"], ended["response"]["status"]) == ("r1", "failed")
    assert [action.key for action in actions if isinstance(action, Billed)] == ["r1"]
    assert [
        entry.item.id
        for action in actions
        if isinstance(action, Keep)
        for entry in action.entries
        if isinstance(entry, Append)
    ] == ["item_u"]
    first = move(actions)
    assert [event["type"] for event in first[-2:]] == ["conversation.item.create", "response.create"]
    assert "commit" not in json.dumps(first)


def test_a_beta_client_is_told_of_a_cut_response_in_its_words() -> None:
    session = begun(client="beta")
    session.provider_said(created("r1"))
    next_one(session)
    (ended,) = shown(session.tick(SESSION_S - LAST_S))
    assert ended["response"]["status"] == "failed"


def test_searches_of_ours_that_run_are_waited_for_and_forgotten_when_it_moves_before() -> None:
    session = begun(terms=Terms(vector_stores=("vs",)))
    for frame in (created("r1"), *call("i1", "c1", "r1"), done("r1")):
        session.provider_said(frame)
    assert next_one(session) == []
    session.client_said(CREATE)
    assert of(Move, session.tick(SESSION_S - LAST_S))
    assert session.tool_answered("c1", "late") == []


def test_a_provider_that_leaves_is_followed_and_what_is_said_meanwhile_waits_in_order() -> None:
    session = begun()
    session.tick(100.0)
    assert session.provider_left(GONE) == [Renew()]
    assert [list(session.client_said(frame)) for frame in (APPEND, CREATE)] == [[], []]
    assert session.tick(SESSION_S * 2) == []
    first = move(next_one(session))
    assert [event["type"] for event in first[-2:]] == ["input_audio_buffer.append", "response.create"]


def test_what_waits_while_it_moves_is_bounded() -> None:
    session = begun()
    session.provider_left(GONE)
    actions = [action for _ in range(20) for action in session.client_said(APPEND)]
    assert shown(actions)[0]["error"]["code"] == "too_early"
    assert len(of(Close, actions)) == 1
    assert next_one(session) == []


def test_a_session_that_is_followed_before_it_was_set_up_is_still_the_clients() -> None:
    session = begun()
    says(session, "session.updated", session={"instructions": "Sing."})
    session.tick(100.0)
    session.provider_left(GONE)
    move(next_one(session, at=100.0))
    says(session, "session.created", session={"instructions": "The vendor's."})
    session.tick(100.0 + AGAIN_S)
    assert session.provider_left(GONE) == [Renew()]
    (first, *_) = move(next_one(session, at=200.0))
    assert first["session"]["instructions"] == "Sing."


@pytest.mark.parametrize("code", [1001, 1000, 1006])
def test_a_provider_that_says_that_the_session_has_expired_may_close_as_it_likes(code: int) -> None:
    session = begun()
    assert says(session, "error", error={"code": "session_expired", "message": "Over."}) == ()
    assert session.provider_left(Ended(code)) == [Renew()]


def test_a_provider_that_leaves_while_the_next_session_is_opened_or_there_is_followed_at_once() -> None:
    session = begun()
    session.tick(SESSION_S - LEAD_S)
    assert session.provider_left(GONE) == []
    assert move(next_one(session))
    other = begun()
    other.provider_said(created("r1"))
    next_one(other)
    assert move(other.provider_left(GONE))


def test_it_ends_where_no_other_session_can_be_opened() -> None:
    session = begun()
    session.provider_left(GONE)
    actions = session.not_renewed()
    assert shown(actions)[0]["error"]["code"] == "session_expired"
    assert of(Close, actions) == [Close(Ended(1001, "session_expired"), Ended(1000))]


def test_a_provider_that_leaves_each_time_is_not_followed_for_ever() -> None:
    session = begun()
    session.tick(100.0)
    assert session.provider_left(GONE) == [Renew()]
    next_one(session)
    actions = session.provider_left(GONE)
    assert shown(actions)[0]["error"]["code"] == "session_expired"
    assert session.provider_left(GONE) == []


def test_a_next_session_that_has_gone_while_it_waited_is_opened_again() -> None:
    session = begun()
    says(session, "session.updated", session={**SESSION["session"], "instructions": "Sing."})
    says(session, "input_audio_buffer.speech_started")
    assert of(Renew, session.tick(SESSION_S - LEAD_S)) == [Renew()]
    assert next_one(session) == []
    session.tick(SESSION_S - LEAD_S + AGAIN_S)
    first = move(says(session, "input_audio_buffer.committed"))
    assert session.provider_left(Ended(1006)) == [Renew()]
    again = move(next_one(session))
    assert (again[0], [event["item"] for event in again[1:]]) == (first[0], [event["item"] for event in first[1:]])
    assert of(Close, session.provider_left(Ended(1006))) == [Close(Ended(1011, "the provider hung up"), Ended(1000))]


def test_any_other_end_of_the_provider_is_the_end() -> None:
    assert of(Close, begun().provider_left(Ended(1011))) == [Close(Ended(1011), Ended(1000))]


def test_a_call_that_waits_for_its_output_goes_along() -> None:
    session = begun()
    item = {"id": "item_c", "type": "function_call", "name": "lamp", "call_id": "c1", "arguments": "{}"}
    says(session, "conversation.item.added", item={**item, "status": "in_progress"})
    says(session, "conversation.item.done", item={**item, "status": "completed"})
    given = [event["item"] for event in move(next_one(session))[1:]]
    assert [each["type"] for each in given] == ["message", "function_call"]
    given = [event["item"] for event in move(next_one(session))[1:]]  # a call may be answered much later
    assert [each["id"] for each in given] == ["m0", "item_c"]
    output: Event = {"id": "item_o", "type": "function_call_output", "call_id": "c1", "output": "on"}
    (keep,) = [action for action in says(session, "conversation.item.added", item=output) if isinstance(action, Keep)]
    assert [item_id_of(entry) for entry in keep.entries] == ["item_c", "item_o"]
    given = [event["item"]["id"] for event in move(next_one(session))[1:]]
    assert given == ["m0", "item_c", "item_o"]


def test_what_the_client_has_not_seen_yet_is_shown_by_the_next_session() -> None:
    session = begun()
    added: Event = {"type": "message", "role": "user", "status": "completed", "content": []}
    assert len(shown(says(session, "conversation.item.added", item={**added, "id": "m0"}))) == 1
    session.learned(Message("m1", "user", [InputText("Milk?")]))
    assert [event["item"]["id"] for event in move(next_one(session))[1:]] == ["m0", "m1"]
    assert shown(says(session, "conversation.item.added", item={**added, "id": "m0"})) == []
    assert len(shown(says(session, "conversation.item.added", item={**added, "id": "m1"}))) == 1


def test_what_is_amended_and_deleted_goes_along_so() -> None:
    kept = Kept(lambda prefix: f"{prefix}_x", renewal=Renewal())
    added: Event = {"type": "conversation.item.added", "item": {**USER, "content": [{"type": "input_audio"}]}}
    kept.shown([added], "ga")
    kept.due()
    heard = "conversation.item.input_audio_transcription.completed"
    kept.shown([{"type": heard, "item_id": "item_u", "content_index": 0, "transcript": "Tea"}], "ga")
    assert [type(entry) for entry in kept.due()] == [Amend]
    assert kept.again()[0]["item"]["content"] == [{"type": "input_text", "text": "Tea"}]
    for _ in range(2):
        kept.shown([{"type": "conversation.item.deleted", "item_id": "item_u"}], "ga")
        kept.due()
    assert kept.again() == []


def test_a_long_session_takes_only_so_much_along() -> None:
    kept = Kept(lambda prefix: f"{prefix}_x", renewal=Renewal())
    for number in range(2 * history.MAX_ITEMS + 1):
        content = [{"type": "input_text", "text": "x"}]
        kept.shown(
            [{"type": "conversation.item.added", "item": {**USER, "id": f"i{number}", "content": content}}], "ga"
        )
        kept.due()
    assert len(kept.again()) == history.MAX_ITEMS
    notice = kept.renewed(1, "e")
    assert (notice["items"], notice["left_out"]) == (history.MAX_ITEMS, 0)
    renewal = Renewal()
    for _ in range(MAX_UNANSWERED + 1):
        renewal.asked({"type": "response.create"}, CREATE)
    renewal.asked({"type": "x"}, "x")
    assert len(renewal.unanswered()) == MAX_UNANSWERED


def test_a_response_that_is_cut_by_a_move_counts_for_the_budget_and_ends_a_session_that_exceeds_it() -> None:
    session = begun(terms=Terms(max_tokens=1))
    session.provider_said(created("r1"))
    for _ in range(2):
        says(session, "response.output_text.delta", item_id="i", delta="x")
    assert next_one(session) == []
    actions = session.tick(SESSION_S - LAST_S)
    assert of(Move, actions) == []
    assert [action.settlement.usage.output_tokens for action in actions if isinstance(action, Billed)] == [2]
    [closed] = [action for action in actions if isinstance(action, Close)]
    assert closed.client.code == 1008
