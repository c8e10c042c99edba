"""Two sessions that share their terms share nothing else: whatever order their events come in, each is as if alone."""

from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.realtime.relay.actions import Action
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.domain.realtime import Terms
from tests.adapters.realtime.relay.test_core import relay
from tests.adapters.realtime.relay.test_orders import STEPS

BOTH = st.lists(st.booleans(), min_size=80, max_size=80)  # whose step is next


def step(session: Relay, side: str, frame: str) -> list[Action]:
    match side:
        case "client":
            return list(session.client_said(frame))
        case "provider":
            return list(session.provider_said(frame))
        case _:
            return list(session.tool_answered("c1", frame))


@given(STEPS, STEPS, BOTH)
def test_sessions_with_the_same_calls_never_mix(
    one: list[tuple[str, str]], other: list[tuple[str, str]], turns: list[bool]
) -> None:
    terms = Terms(vector_stores=("vs",))
    alone = [
        [step(session, *each) for each in steps]
        for session, steps in ((relay(terms=terms), one), (relay(terms=terms), other))
    ]
    sessions, left = (relay(terms=terms), relay(terms=terms)), (iter(one), iter(other))
    together: tuple[list[list[Action]], list[list[Action]]] = ([], [])
    for turn in turns:
        for each in left[turn]:
            together[turn].append(step(sessions[turn], *each))
            break
    for number in (0, 1):
        together[number].extend(step(sessions[number], *each) for each in left[number])
    assert list(together) == alone
