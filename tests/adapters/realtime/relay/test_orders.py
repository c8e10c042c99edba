"""Whatever comes in whatever order: no session breaks, and everything begun is billed once."""

import json
from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from chatbackend.adapters.realtime.frames import said as parsed
from chatbackend.adapters.realtime.relay.actions import Action, Began, Billed, Close, Move, ToClient
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.kept import Kept
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.adapters.realtime.relay.renewal import Renewal
from chatbackend.domain.realtime import Dialect, Ended, SessionKind, Terms
from tests.adapters.realtime.relay.test_core import (
    APPEND,
    CREATE,
    SESSION,
    call,
    created,
    done,
    message,
    of,
    relay,
)

SETUP_FAILED = '{"type":"error","error":{"event_id":"event_chatbackend_setup"}}'
TOLD = '{"type":"conversation.item.input_audio_transcription.completed","item_id":"i","content_index":0}'
USED = done("r1", usage={"input_tokens": 1, "output_tokens": 1})
FRAMES = st.sampled_from(
    [
        *(created("r1"), created("r2", {"chatbackend_goes_on": "1"}), done("r1"), done("r2"), CREATE, APPEND, "x"),
        *call("i1", "c1", "r1"),
        *message("m", "r2"),
        json.dumps(SESSION),
        '{"type":"response.cancel"}',
        '{"type":"response.cancel","response_id":"r1"}',
        SETUP_FAILED,
        *(TOLD, USED, '{"type":"session.closed"}', '{"type":"session.output_transcript.delta"}'),
    ]
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["client", "provider", "tool", "time", "left", "successor", "none"]), FRAMES), max_size=40
)
MODES = st.sampled_from(["plain", "tools", "bound", "renewed", "renewed tools"])


@given(
    STEPS,
    st.sampled_from(["ga", "beta"]),
    st.sampled_from(["realtime", "transcription", "translation"]),
    st.sampled_from([None, 1]),
)
def test_so_it_is_in_sessions_of_every_kind_within_a_budget_or_without(
    steps: list[tuple[str, str]], client: Dialect, kind: SessionKind, max_tokens: int | None
) -> None:
    session = Relay(
        "m",
        client,
        new_id=lambda prefix: prefix,
        max_waiting_bytes=1000,
        terms=Terms(session={"x": 1}, max_tokens=max_tokens),
        kind=kind,
    )
    actions: list[Action] = [*session.opened(Provider("ga", ()), 0.0)]
    for side, frame in steps:
        actions += session.client_said(frame) if side == "client" else session.provider_said(frame)
    actions += session.client_left(Ended(1000))
    assert len(of(Close, actions)) == 1
    begun = [action.key for action in actions if isinstance(action, Began)]
    assert sorted(begun) == sorted(action.key for action in actions if isinstance(action, Billed))


@example(steps=[("provider", SETUP_FAILED), ("provider", created("r1"))], client="ga", provider="ga", mode="plain")
@example(
    steps=[("provider", frame) for frame in (created("r1"), *call("i1", "c1", "r1"), *message("m", "r2"))],
    client="ga",
    provider="ga",
    mode="tools",
)
@example(
    steps=[("left", ""), ("provider", created("r1")), ("successor", "")], client="ga", provider="ga", mode="renewed"
)
@given(STEPS, st.sampled_from(["ga", "beta"]), st.sampled_from(["ga", "beta"]), MODES)
def test_no_order_of_events_breaks_a_session_and_everything_begun_is_billed_once(
    steps: list[tuple[str, str]], client: Dialect, provider: Dialect, mode: str
) -> None:
    session = relay(client, None, terms=Terms(vector_stores=("vs",) if "tools" in mode else ()))
    if mode not in ("plain", "tools"):
        session.remember(Kept(lambda prefix: f"{prefix}_x", [], renewal=Renewal() if "renewed" in mode else None))
    actions: list[Action] = [*session.opened(Provider(provider, ()), 0.0)]
    for number, (side, frame) in enumerate(steps):
        if side in ("client", "provider", "tool"):
            actions += said(session, side, frame)
        elif side == "time" or "renewed" in mode:
            actions += happened(session, side, Provider(provider, ()), number * 400.0)
    actions += session.client_left(Ended(1000))
    assert len(of(Close, actions)) == 1
    begun = [action.key for action in actions if isinstance(action, Began)]
    paid = [action.key for action in actions if isinstance(action, Billed)]
    assert sorted(begun) == sorted(paid)
    assert_no_response_is_left_behind(actions)


def said(session: Relay, side: str, frame: str) -> Sequence[Action]:
    match side:
        case "client":
            return session.client_said(frame)
        case "provider":
            return session.provider_said(frame)
        case _:
            return session.tool_answered("c1", frame)


def happened(session: Relay, what: str, provider: Provider, now: float) -> Sequence[Action]:
    match what:
        case "time":
            return session.tick(now)
        case "left":
            return session.provider_left(Ended(1001))
        case "successor":
            return session.successor(provider, now)
        case _:
            return session.not_renewed()


def assert_no_response_is_left_behind(actions: Sequence[Action]) -> None:
    """Check that a client is told the end of each response before its session moves on."""
    running: set[str] = set()
    for action in actions:
        if isinstance(action, Move):
            assert not running
        event = parsed(action.frame) if isinstance(action, ToClient) else None
        if event is not None and event.get("type") == "response.created":
            running.add(event["response"]["id"])
        elif event is not None and event.get("type") == "response.done":
            running.discard(event["response"]["id"])
