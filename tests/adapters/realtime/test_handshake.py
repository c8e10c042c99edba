"""What a handshake asks for."""

import pytest

from chatbackend.adapters.realtime.handshake import Handshake, conversation_of, read
from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.realtime import Dialect

OPENAI, PREVIEW = "/v1/realtime", "/openai/realtime"
Query = dict[str, list[str]]


@pytest.mark.parametrize(
    ("path", "query", "said", "expected"),
    [
        (OPENAI, {"model": ["m"]}, (None, ()), ("m", "ga")),
        (OPENAI, {"model": ["m", "m"]}, ("realtime=v1", ()), ("m", "beta")),
        (OPENAI, {"model": ["m"]}, ("assistants=v2, realtime=v1", ()), ("m", "beta")),
        (OPENAI, {"model": ["m"]}, (None, ("realtime", "openai-beta.realtime-v1")), ("m", "beta")),
        (OPENAI, {"model": ["m"], "api-version": ["2025-04-01-preview"]}, (None, ()), ("m", "ga")),
        (PREVIEW, {"deployment": ["d"], "model": ["m"]}, (None, ()), ("d", "ga")),
        (PREVIEW, {"model": ["m"], "api-version": ["2025-08-28"]}, (None, ()), ("m", "ga")),
        (PREVIEW, {"deployment": ["d"], "api-version": ["2025-04-01-preview"]}, (None, ()), ("d", "beta")),
        (PREVIEW, {"deployment": ["d"]}, ("realtime=v1", ()), ("d", "beta")),
        (OPENAI, {}, (None, ()), ("of the secret", "ga")),
    ],
)
def test_the_model_and_the_dialect_are_told_by_the_handshake(
    path: str, query: Query, said: tuple[str | None, tuple[str, ...]], expected: tuple[str, Dialect]
) -> None:
    beta, offered = said
    subprotocol = "realtime" if "realtime" in offered else None
    found = read(path, query, offered=offered, beta=beta, default="of the secret")
    assert found == Handshake(*expected, subprotocol)


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        (OPENAI, {}, "model"),
        (OPENAI, {"model": [""]}, "model"),
        (OPENAI, {"model": ["a", "b"]}, "model"),
        (PREVIEW, {"api-version": ["1"]}, "deployment"),
        (OPENAI, {"call_id": ["c"]}, "call_id"),
        (OPENAI, {"intent": ["transcription"], "model": ["m"]}, "intent"),
    ],
)
def test_what_a_handshake_lacks_or_cannot_have_is_named(path: str, query: Query, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(path, query, offered=())
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("asked", "held", "bound"), [([], None, None), (["c"], None, "c"), ([], "c", "c"), (["c", "c"], "c", "c")]
)
def test_a_session_is_bound_to_what_is_asked_for_or_to_what_its_secret_is_for(
    asked: list[str], held: str | None, bound: str | None
) -> None:
    assert conversation_of({"conversation": asked}, held) == bound


def test_a_secret_is_for_no_other_conversation() -> None:
    with pytest.raises(Forbidden):
        conversation_of({"conversation": ["d"]}, "c")
    with pytest.raises(InvalidRequest):
        conversation_of({"conversation": ["c", "d"]}, None)
