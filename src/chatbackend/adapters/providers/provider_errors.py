"""What providers' failures mean for the caller: HTTP statuses and in-band errors, in one table.

Source: the error pages of the OpenAI and Anthropic APIs; `ErrorObject` in both packages.
"""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from chatbackend.adapters.providers.codec import GARBAGE
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

MAX_MESSAGE = 500  # characters of a provider's message that a caller may see

_DENIED = frozenset((401, 402, 403))  # 402: our account has no credit, which the operator must mend too
_LIMITED = 429
_BUSY = frozenset((503, 529))
_REFUSED: dict[int, type[UpstreamRefused]] = {
    400: UpstreamRefused,
    404: UpstreamLacks,
    413: UpstreamTooLarge,
    422: UpstreamUnprocessable,
}
# An error inside a stream has no status line: its type, or its code, stands for one.
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "not_found_error": 404,
    "request_too_large": 413,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "over_capacity": 503,
    "overloaded_error": 529,
}
_CODE_OF_PHRASE = (
    ("prompt is too long", "context_length_exceeded"),  # Anthropic
    ("exceed context limit", "context_length_exceeded"),  # Anthropic, of the prompt and `max_tokens` together
    ("context length", "context_length_exceeded"),  # vLLM
    ("maximum model length", "context_length_exceeded"),  # vLLM, of a prompt alone
    ("context size", "context_length_exceeded"),  # llama.cpp
)
_CODE_OF_CODE = {"DeploymentNotFound": "model_not_found"}  # Azure OpenAI
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.IGNORECASE)


class Fault(msgspec.Struct):
    """What a provider said about a failure; any part of it may be missing."""

    message: str = ""
    type: str = ""
    code: str | None = None
    status: int | None = None


class _Words(msgspec.Struct):
    """An error object, of which nothing is sure: a code may be a word, a number or a number in quotes."""

    message: Any = None
    type: Any = None
    code: Any = None
    status_code: Any = None


class _Body(_Words):
    """An error body: the object in an envelope, bare (older vLLM), or one string (Ollama)."""

    error: _Words | str | None = None


def fault_of(body: bytes) -> Fault:
    """Return what an error body (or an in-band error event) says, an empty fault for anything unreadable."""
    try:
        read = msgspec.json.decode(body, type=_Body)
    except GARBAGE:
        return Fault()
    error = read.error or read
    if isinstance(error, str):
        return Fault(message=error, type=error)
    return Fault(
        error.message if isinstance(error.message, str) else "",
        error.type if isinstance(error.type, str) else "",
        error.code if isinstance(error.code, str) and _CODE.fullmatch(error.code) else None,
        next((number for number in (error.status_code, error.code) if isinstance(number, int)), None),
    )


def http_error(status: int, headers: Mapping[str, str], fault: Fault) -> ChatError:
    """Return the error that a caller sees for a provider's status."""
    if status in _DENIED:
        return UpstreamDenied("The provider refused this server's credential.")
    if status == _LIMITED:
        return UpstreamOverloaded("The provider asks to wait.", retry_after_s=retry_after_s(headers))
    if status in _BUSY:
        wait_s = retry_after_s(headers)
        return UpstreamBusy("The provider is overloaded.", retry_after_s=wait_s, code="upstream_overloaded")
    if status in _REFUSED:
        message = " ".join(fault.message.split())[:MAX_MESSAGE]
        return _REFUSED[status](message or "The provider refused this request.", code=_code(status, fault))
    return UpstreamError(f"The provider failed with status {status}.")


def stream_error(fault: Fault) -> ChatError:
    """Return the error for a failure that a provider reported inside a 200 answer."""
    named = _STATUS_OF_TYPE.get(fault.type) or _STATUS_OF_TYPE.get(fault.code or "")
    status = fault.status or named
    if status is None or status in range(500, 503):
        return UpstreamError("The provider failed in the middle of its answer.")
    return http_error(status, {}, fault)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a provider asks to wait: milliseconds, seconds, or a date against its own `date` header."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        wait = parsedate_to_datetime(value or "") - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):  # no date, or only one of the two has a zone
        return None
    return max(0.0, wait.total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _code(status: int, fault: Fault) -> str | None:
    if fault.code:
        return _CODE_OF_CODE.get(fault.code, fault.code)
    said = fault.message.lower()
    if status == 404 and "model" in said:
        return "model_not_found"
    found = next((code for phrase, code in _CODE_OF_PHRASE if phrase in said), None)
    return "request_too_large" if found is None and status == 413 else found
