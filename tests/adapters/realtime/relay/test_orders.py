"""Whatever comes in whatever order: no session breaks, and everything begun is billed once."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from chatbackend.adapters.realtime.relay.actions import Action, Began, Billed, Close
from chatbackend.domain.realtime import Dialect, Ended, Terms
from tests.adapters.realtime.relay.test_core import APPEND, CREATE, SESSION, call, created, done, message, of, relay

SETUP_FAILED = '{"type":"error","error":{"event_id":"event_chatbackend_setup"}}'
FRAMES = st.sampled_from(
    [
        *(created("r1"), created("r2", {"chatbackend_goes_on": "1"}), done("r1"), done("r2"), CREATE, APPEND, "x"),
        *call("i1", "c1", "r1"),
        *message("m", "r2"),
        json.dumps(SESSION),
        '{"type":"response.cancel"}',
        '{"type":"response.cancel","response_id":"r1"}',
        SETUP_FAILED,
    ]
)
STEPS = st.lists(st.tuples(st.sampled_from(["client", "provider", "tool"]), FRAMES), max_size=40)


@example(steps=[("provider", SETUP_FAILED), ("provider", created("r1"))], client="ga", provider="ga", tools=False)
@given(STEPS, st.sampled_from(["ga", "beta"]), st.sampled_from(["ga", "beta"]), st.booleans())
def test_no_order_of_events_breaks_a_session_and_everything_begun_is_billed_once(
    steps: list[tuple[str, str]],
    client: Dialect,
    provider: Dialect,
    tools: bool,  # noqa: FBT001 - a case
) -> None:
    session = relay(client, provider, terms=Terms(vector_stores=("vs",) if tools else ()))
    actions: list[Action] = []
    for side, frame in steps:
        match side:
            case "client":
                actions += session.client_said(frame)
            case "provider":
                actions += session.provider_said(frame)
            case _:
                actions += session.tool_answered("c1", frame)
    actions += session.client_left(Ended(1000))
    assert len(of(Close, actions)) == 1
    begun = [action.key for action in actions if isinstance(action, Began)]
    paid = [action.key for action in actions if isinstance(action, Billed)]
    assert sorted(begun) == sorted(paid)
