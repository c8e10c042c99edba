"""What a handshake asks for."""

import pytest

from chatbackend.adapters.realtime.handshake import Handshake, beside, read
from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.realtime import Dialect, RealtimeCall, SessionKind, Terms

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
    found = read(path, query, offered=offered, beta=beta, terms=Terms("of the secret"))
    assert found == Handshake(*expected, subprotocol)


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        (OPENAI, {}, "model"),
        (OPENAI, {"model": [""]}, "model"),
        (OPENAI, {"model": ["a", "b"]}, "model"),
        (PREVIEW, {"api-version": ["1"]}, "deployment"),
        (OPENAI, {"intent": ["conversation"], "model": ["m"]}, "intent"),
        (OPENAI, {"intent": ["transcription"]}, "model"),
    ],
)
def test_what_a_handshake_lacks_or_cannot_have_is_named(path: str, query: Query, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(path, query, offered=())
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("query", "terms", "expected"),
    [
        ({"intent": ["transcription"], "model": ["m"]}, Terms("s"), ("m", "transcription")),
        ({"intent": ["transcription"]}, Terms("s"), ("s", "transcription")),
        ({"intent": ["transcription"]}, Terms(), ("of the server", "transcription")),
        ({}, Terms("s", kind="transcription"), ("s", "transcription")),
        ({"model": ["m"]}, Terms(kind="realtime"), ("m", "realtime")),
    ],
)
def test_a_session_for_transcription_is_asked_for_by_its_intent_or_its_secret(
    query: Query, terms: Terms, expected: tuple[str, SessionKind]
) -> None:
    found = read(OPENAI, query, offered=(), terms=terms, transcriber="of the server")
    assert (found.model, found.kind) == expected


def test_a_secret_for_sessions_of_one_kind_opens_no_other() -> None:
    with pytest.raises(Forbidden) as refused:
        read(OPENAI, {"intent": ["transcription"], "model": ["m"]}, offered=(), terms=Terms(kind="realtime"))
    assert refused.value.code == "session_type_not_allowed"


@pytest.mark.parametrize("path", ["/v1/realtime/translations", "/openai/v1/realtime/translations"])
def test_a_translation_is_asked_for_by_its_path_and_knows_no_beta(path: str) -> None:
    found = read(path, {"model": ["m"]}, offered=(), beta="realtime=v1", terms=Terms(kind="translation"))
    assert found == Handshake("m", "ga", None, "translation")
    with pytest.raises(InvalidRequest) as refused:
        read(path, {"model": ["m"], "intent": ["transcription"]}, offered=())
    assert refused.value.param == "intent"


@pytest.mark.parametrize(
    ("asked", "held", "bound"), [([], None, None), (["c"], None, "c"), ([], "c", "c"), (["c", "c"], "c", "c")]
)
def test_a_session_is_bound_to_what_is_asked_for_or_to_what_its_secret_is_for(
    asked: list[str], held: str | None, bound: str | None
) -> None:
    query = {"model": ["m"], "conversation": asked}
    assert read(OPENAI, query, offered=(), terms=Terms(conversation=held)).conversation == bound


def test_a_secret_is_for_no_other_conversation() -> None:
    with pytest.raises(Forbidden):
        read(OPENAI, {"model": ["m"], "conversation": ["d"]}, offered=(), terms=Terms(conversation="c"))
    with pytest.raises(InvalidRequest):
        read(OPENAI, {"model": ["m"], "conversation": ["c", "d"]}, offered=())


@pytest.mark.parametrize(
    ("query", "terms", "renews"),
    [({}, Terms(), False), ({"renew": ["1"]}, Terms(), True), ({}, Terms(renew=True), True)],
)
def test_a_session_is_renewed_where_it_or_its_secret_asks_for_that(query: Query, terms: Terms, *, renews: bool) -> None:
    assert read(OPENAI, {"model": ["m"], **query}, offered=(), terms=terms).renew == renews


@pytest.mark.parametrize(
    ("query", "terms", "param"),
    [
        ({"conversation": ["c"]}, Terms(), "conversation"),
        ({}, Terms(conversation="c"), "conversation"),
        ({"renew": ["1"]}, Terms(), "renew"),
        ({}, Terms(renew=True), "renew"),
    ],
)
@pytest.mark.parametrize("path", [f"{OPENAI}?intent=transcription", f"{OPENAI}/translations"])
def test_a_session_in_which_nobody_answers_is_neither_kept_nor_renewed(
    path: str, query: Query, terms: Terms, param: str
) -> None:
    path, _, intent = path.partition("?intent=")
    asked = {"model": ["m"], **query, **({"intent": [intent]} if intent else {})}
    with pytest.raises(InvalidRequest) as refused:
        read(path, asked, offered=(), terms=terms)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("path", "terms"),
    [
        ("/v1/realtime/translations", Terms(kind="transcription")),
        ("/v1/realtime/translations", Terms(max_tokens=9)),
        (OPENAI, Terms(kind="translation")),
    ],
)
def test_a_secret_opens_no_session_that_it_is_not_for(path: str, terms: Terms) -> None:
    with pytest.raises(Forbidden) as refused:
        read(path, {"model": ["m"]}, offered=(), terms=terms)
    assert refused.value.code == "session_type_not_allowed"


@pytest.mark.parametrize(("beta", "dialect"), [(None, "ga"), ("realtime=v1", "beta")])
def test_who_joins_a_call_has_its_model(beta: str | None, dialect: Dialect) -> None:
    call = RealtimeCall("rtc_1", "azure/voice", "voice")
    assert beside(call, offered=["realtime"], beta=beta) == Handshake("voice", dialect, "realtime", call=call)
