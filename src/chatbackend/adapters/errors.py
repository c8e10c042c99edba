"""The one table from errors to what the wire shows: status, type, code, WebSocket close code, headers.

Source: https://platform.openai.com/docs/guides/error-codes and the Anthropic API's error page.
"""

import math
from dataclasses import dataclass
from typing import Any

from chatbackend.domain import errors
from chatbackend.domain.errors import ChatError


@dataclass(frozen=True, slots=True)
class Mapped:
    """How one class of error looks: HTTP status, OpenAI's type, a default code, Anthropic's type, a socket's close."""

    status: int
    type: str
    code: str | None
    anthropic_type: str
    close_code: int = 1008


_INVALID = "invalid_request_error"
TABLE: dict[type[ChatError], Mapped] = {
    errors.InvalidRequest: Mapped(400, _INVALID, None, _INVALID),
    errors.Unprocessable: Mapped(422, _INVALID, "unprocessable", _INVALID),
    errors.TooLarge: Mapped(413, _INVALID, "request_too_large", "request_too_large", 1009),
    errors.TooSlow: Mapped(408, _INVALID, "request_timeout", _INVALID),
    errors.Unauthenticated: Mapped(401, "authentication_error", "invalid_api_key", "authentication_error", 4401),
    errors.Forbidden: Mapped(403, "permission_error", "forbidden", "permission_error"),
    errors.NotFound: Mapped(404, _INVALID, "not_found", "not_found_error"),
    errors.NotAllowed: Mapped(405, _INVALID, "method_not_allowed", _INVALID),
    errors.Conflict: Mapped(409, _INVALID, "conflict", _INVALID),
    errors.Gone: Mapped(410, _INVALID, "gone", _INVALID),
    errors.RateLimited: Mapped(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", 1013),
    errors.Unavailable: Mapped(503, "server_error", "unavailable", "overloaded_error", 1013),
    errors.Internal: Mapped(500, "server_error", "server_error", "api_error", 1011),
    errors.UpstreamError: Mapped(502, "server_error", "upstream_error", "api_error", 1011),
    errors.UpstreamTimeout: Mapped(504, "server_error", "upstream_timeout", "timeout_error", 1011),
    errors.UpstreamCut: Mapped(502, "server_error", "upstream_cut", "api_error", 1011),
    errors.UpstreamOverloaded: Mapped(429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", 1013),
    errors.UpstreamBusy: Mapped(503, "server_error", "upstream_overloaded", "overloaded_error", 1013),
    errors.UpstreamRefused: Mapped(400, _INVALID, "invalid_prompt", _INVALID),
    errors.UpstreamLacks: Mapped(404, _INVALID, "not_found", "not_found_error"),
    errors.UpstreamTooLarge: Mapped(413, _INVALID, "request_too_large", "request_too_large", 1009),
    errors.UpstreamUnprocessable: Mapped(422, _INVALID, "unprocessable", _INVALID),
    errors.UpstreamDenied: Mapped(502, "server_error", "upstream_denied", "api_error", 1011),
}

_FAILURES = {"rate_limit_exceeded": (429, "rate_limit_error"), "invalid_prompt": (400, _INVALID)}
_BY_DETAIL: dict[str | None, type[ChatError]] = {
    "model_not_found": errors.UpstreamLacks,
    "request_too_large": errors.UpstreamTooLarge,
    "upstream_overloaded": errors.UpstreamBusy,
}


def mapped(error: ChatError) -> Mapped:
    """Return the row of an error's class (every class has its own; a test proves it)."""
    return TABLE[type(error)]


def code_of(error: ChatError) -> str | None:
    """Return the machine-readable code: the error's own, else its class's."""
    return error.code or mapped(error).code


def body(error: ChatError) -> dict[str, Any]:
    """Return the OpenAI-shaped error object, without its envelope."""
    return {"message": error.message, "type": mapped(error).type, "param": error.param, "code": code_of(error)}


def envelope(error: ChatError) -> dict[str, Any]:
    """Return the OpenAI-shaped answer body."""
    return {"error": body(error)}


def anthropic(error: ChatError) -> tuple[int, str]:
    """Return the status and type that Anthropic's API has for an error.

    It tells what a caller used up (429) from what nobody gets at the moment (529); its SDKs try both again.
    """
    row = mapped(error)
    return 529 if isinstance(error, errors.UpstreamBusy) else row.status, row.anthropic_type


def anthropic_envelope(error: ChatError, request_id: str) -> dict[str, Any]:
    """Return the Anthropic-shaped answer body, which is also the error event of its streams."""
    shown = {"type": anthropic(error)[1], "message": error.message}
    return {"type": "error", "error": shown, "request_id": request_id}


def failure(code: str, detail: str | None) -> tuple[int, str]:
    """Return the status and type of a response that has failed, by its code and the error's own behind it."""
    if detail in _BY_DETAIL:
        row = TABLE[_BY_DETAIL[detail]]
        return row.status, row.type
    return _FAILURES.get(code, (502, "server_error"))


def headers(error: ChatError) -> dict[str, str]:
    """Return the headers that go with an error: `retry-after` in whole seconds, at least 1, or `allow`."""
    if isinstance(error, errors.NotAllowed):
        return {"allow": ", ".join(error.allowed)}
    return waiting(getattr(error, "retry_after_s", None))


def waiting(wait_s: float | None) -> dict[str, str]:
    """Return the header that asks to wait, none where nothing is known."""
    return {} if wait_s is None else {"retry-after": str(max(1, math.ceil(wait_s)))}
