"""What providers' failures become, by status and inside a stream."""

import json
from typing import Any

import pytest

from chatbackend.adapters.providers.provider_errors import (
    MAX_MESSAGE,
    fault_of,
    http_error,
    retry_after_s,
    stream_error,
)
from chatbackend.domain.errors import (
    ChatError,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamLacks,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTooLarge,
    UpstreamUnprocessable,
)

DATE = "Sun, 22 Nov 2026 10:00:00 GMT"


def refused(status: int, error: dict[str, Any]) -> ChatError:
    return http_error(status, {}, fault_of(json.dumps({"error": error}).encode()))


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ((401, 402, 403), UpstreamDenied),
        ((429,), UpstreamOverloaded),
        ((503, 529), UpstreamBusy),
        ((400,), UpstreamRefused),
        ((404,), UpstreamLacks),
        ((413,), UpstreamTooLarge),
        ((422,), UpstreamUnprocessable),
        ((301, 405, 409, 418, 500, 502, 504, 520), UpstreamError),
    ],
)
def test_a_status_says_who_can_mend_it(statuses: tuple[int, ...], kind: type[ChatError]) -> None:
    assert {type(refused(status, {"message": "m"})) for status in statuses} == {kind}


@pytest.mark.parametrize("status", [401, 429, 500])
def test_only_a_refusal_shows_the_providers_words(status: int) -> None:
    assert "sk-secret" not in str(refused(status, {"message": "Incorrect key sk-secret"}))


def test_a_refusal_shows_the_providers_words_on_one_line_and_not_too_many() -> None:
    assert str(refused(400, {"message": "No\n\tsuch  thing"})) == "No such thing"
    assert len(str(refused(400, {"message": "x" * 9000}))) == MAX_MESSAGE


@pytest.mark.parametrize(
    "body", [b"", b"<html>secret</html>", b"[1]", b"7", b'"text"', b"\xff", b"[" * 9999, b'{"error": [1]}']
)
def test_an_unreadable_refusal_is_put_in_our_words(body: bytes) -> None:
    error = http_error(400, {}, fault_of(body))
    assert str(error) == "The provider refused this request."
    assert error.code is None


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, {"code": "context_length_exceeded", "message": "m"}, "context_length_exceeded"),
        (404, {"code": "model_not_found", "message": "m"}, "model_not_found"),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens"}, "context_length_exceeded"),
        (400, {"code": 400, "message": "This model's maximum context length is 8 tokens"}, "context_length_exceeded"),
        (400, {"message": "the request exceeds the available context size"}, "context_length_exceeded"),
        (
            400,
            {"message": "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease"},
            "context_length_exceeded",
        ),
        (
            400,
            {"message": "The decoder prompt (length 9) is longer than the maximum model length of 8."},
            "context_length_exceeded",
        ),
        (404, {"type": "not_found_error", "message": "model: claude-0"}, "model_not_found"),
        (404, {"type": "not_found_error", "message": "no such page"}, None),
        (404, {"code": "DeploymentNotFound", "message": "m"}, "model_not_found"),
        (400, {"code": "content_filter", "message": "m", "innererror": {"code": "x"}}, "content_filter"),
        (400, {"code": "3051", "message": "m"}, None),
        (400, {"code": "no code at all", "message": "m"}, None),
    ],
)
def test_a_refusal_keeps_its_code(status: int, error: dict[str, Any], code: str | None) -> None:
    assert refused(status, error).code == code


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "words"}}',
        b'{"object": "error", "message": "words", "code": 400}',
        b'{"error": "words"}',
    ],
)
def test_an_error_object_is_found_in_every_envelope(body: bytes) -> None:
    assert str(http_error(400, {}, fault_of(body))) == "words"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "2", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2", "retry-after-ms": "soon"}, 2.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": DATE}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 09:00:00 GMT", "date": DATE}, 0.0),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 10:00:30 -0000", "date": DATE}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
    ],
)
def test_a_wait_is_read_from_numbers_and_dates(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


def test_an_overload_carries_the_wait() -> None:
    error = http_error(429, {"retry-after": "7"}, fault_of(b""))
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == 7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error"}, UpstreamBusy),
        ({"type": "rate_limit_error"}, UpstreamOverloaded),
        ({"type": "tokens", "code": "rate_limit_exceeded"}, UpstreamOverloaded),
        ({"code": 429}, UpstreamOverloaded),
        ({"type": "invalid_request_error", "message": "m"}, UpstreamRefused),
        ({"type": "authentication_error"}, UpstreamDenied),
        ({"status_code": 400, "type": "server_error"}, UpstreamRefused),
        ({"type": "api_error"}, UpstreamError),
        ({"type": "server_error", "code": 500}, UpstreamError),
        ({"code": 408}, UpstreamError),
        ({}, UpstreamError),
    ],
)
def test_an_error_inside_a_stream_is_judged_by_what_it_calls_itself(
    error: dict[str, Any], kind: type[ChatError]
) -> None:
    assert type(stream_error(fault_of(json.dumps({"error": error}).encode()))) is kind
