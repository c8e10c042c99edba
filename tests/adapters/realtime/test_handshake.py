"""What a handshake asks for."""

import pytest

from chatbackend.adapters.realtime.handshake import Handshake, read
from chatbackend.domain.errors import InvalidRequest
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
