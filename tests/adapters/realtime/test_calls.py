"""Offers of calls, what a provider is sent of them, and ids that count for their owner alone."""

from typing import Any

import pytest

from chatbackend.adapters.realtime.calls import MAX_BYTES, Offer, call_id, configured, form, opened, read, sealed
from chatbackend.adapters.wire.multipart import Field, MultipartLimits, MultipartReader
from chatbackend.domain.errors import ChatError, Forbidden, InvalidRequest, NotFound, TooLarge
from chatbackend.domain.identity import Principal
from chatbackend.domain.realtime import RealtimeCall, Terms

SDP = "v=0\r\no=- 9 9 IN IP4 127.0.0.1\r\n"
ANNA = Principal("t", "app", "app/anna", "key_1")
CALL = RealtimeCall("rtc_u1", "azure/voice", "voice é")


def test_an_offer_comes_alone_or_with_its_session() -> None:
    assert read("application/sdp", SDP.encode()) == Offer(SDP, {})
    kind, body = form(SDP, {"type": "realtime", "model": "m"})
    assert read(kind, body) == Offer(SDP, {"type": "realtime", "model": "m"})
    reader = MultipartReader(kind, MultipartLimits())
    assert [part.name for part in reader.feed(body) if isinstance(part, Field)] == ["sdp", "session"]


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("application/sdp", b"\xff", InvalidRequest),
        ("application/sdp", b"x", InvalidRequest),
        ("application/json", b"{}", InvalidRequest),
        ("multipart/form-data; boundary=x", b"", InvalidRequest),
        ("multipart/form-data; boundary=x", b"v" * (MAX_BYTES + 1), TooLarge),
    ],
)
def test_what_is_no_offer_is_refused(kind: str, body: bytes, error: type[ChatError]) -> None:
    with pytest.raises(error):
        read(kind, body)


@pytest.mark.parametrize("session", ["[]", "x"])
def test_a_session_is_an_object(session: str) -> None:
    kind, body = form(SDP, {})
    with pytest.raises(InvalidRequest) as refused:
        read(kind, body.replace(b"{}", session.encode()))
    assert refused.value.param == "session"


def test_a_session_that_is_nested_too_deeply_is_refused() -> None:
    kind, body = form(SDP, {})
    with pytest.raises(InvalidRequest):
        read(kind, body.replace(b"{}", b'{"x":' + b"[" * 300 + b"]" * 300 + b"}"))


@pytest.mark.parametrize(
    ("given", "terms", "asked", "expected"),
    [
        ({"model": "a"}, Terms("b"), "c", ("a", {"type": "realtime"})),
        ({}, Terms("b"), "c", ("c", {"type": "realtime"})),
        (
            {"audio": {"output": {"speed": 2}}, "x": 1},
            Terms("b", {"audio": {"output": {"voice": "cedar"}}, "x": {}}, kind="realtime"),
            None,
            ("b", {"type": "realtime", "audio": {"output": {"voice": "cedar", "speed": 2}}, "x": 1}),
        ),
    ],
)
def test_a_call_begins_as_its_secret_says_and_as_its_client_asks(
    given: dict[str, Any], terms: Terms, asked: str | None, expected: tuple[str, dict[str, Any]]
) -> None:
    assert configured(Offer(SDP, given), terms, asked) == expected


@pytest.mark.parametrize(
    ("given", "terms", "error"),
    [
        ({}, Terms(), InvalidRequest),
        ({"model": 7}, Terms(), InvalidRequest),
        ({"type": "transcription", "model": "m"}, Terms(), InvalidRequest),
        ({"model": "m"}, Terms(kind="transcription"), Forbidden),
        ({"model": "m"}, Terms(instructions="x"), Forbidden),
        ({"model": "m"}, Terms(vector_stores=("vs",)), Forbidden),
        ({"model": "m"}, Terms(client_tools=()), Forbidden),
        ({"model": "m"}, Terms(conversation="conv_1"), Forbidden),
    ],
)
def test_what_a_call_cannot_be_is_refused(given: dict[str, Any], terms: Terms, error: type[ChatError]) -> None:
    with pytest.raises(error):
        configured(Offer(SDP, given), terms, None)


def test_an_id_is_its_owners_under_one_key() -> None:
    value = sealed(CALL, ANNA, b"key")
    assert value.isascii()
    assert opened(value, ANNA, b"key") == CALL
    others = [
        Principal("t", "app", "app/bob", "key_1"),
        Principal("u", "app", "app/anna", "key_1"),
        Principal("t", "app", "app", "key_1"),
    ]
    for caller, key, text in [
        *((other, b"key", value) for other in others),
        (ANNA, b"other", value),
        (ANNA, b"key", value.removeprefix("rtc_")),
        (ANNA, b"key", value[:-4]),
        (ANNA, b"key", "rtc_" + value[5:]),
        *((ANNA, b"key", text) for text in ("rtc_é", "rtc_", "rtc_u1", "")),
    ]:
        with pytest.raises(NotFound) as refused:
            opened(text, caller, key)
        assert refused.value.code == "call_not_found"


def test_a_call_is_joined_by_its_id_alone() -> None:
    assert call_id({"model": ["m"]}) is None
    assert call_id({"call_id": ["c"], "chatbackend": ["1"]}) == "c"
    for query in ({"call_id": ["c"], "model": ["m"]}, {"call_id": ["c"], "intent": ["x"]}, {"call_id": ["c", "d"]}):
        with pytest.raises(InvalidRequest):
            call_id(query)
