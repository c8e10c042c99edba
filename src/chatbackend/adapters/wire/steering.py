"""`response.steer` and the events that answer it: frames in, bytes out; the lane's name is put in as they leave.

The events belong to no response's log, so none of them takes a number: each shows the number of the response's newest
event that its connection was sent, and a client that keeps "the last number" as its cursor stays right.
Source: the `openai` package, types/responses/response_steer_event.py and the events beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from msgspec import Struct

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.wire.frames import decoded
from chatbackend.domain.errors import ChatError, InvalidRequest
from chatbackend.domain.items import FunctionCall
from chatbackend.domain.steering import Steer

MAX_RETURNED = 16 * 1024  # characters; a larger command that cannot be read is refused without being sent back
_FIELDS = frozenset(("type", "previous_response_id", "input"))
_MESSAGE_FIELDS = frozenset(("type", "role", "content"))
_BODIES = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode
Given = str | list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Steering:
    """Input for a response that runs on this connection: a text, or user messages as they came."""

    response_id: str
    given: Given


class _Breakpoint(Struct):
    mode: Literal["explicit"]
    ttl: Literal["30m", "12h"] | None = None


class _Part(Struct, tag_field="type"):
    prompt_cache_breakpoint: _Breakpoint | None = None


class _Text(_Part, tag="input_text", kw_only=True):
    text: str


class _Image(_Part, tag="input_image"):
    detail: Literal["low", "high", "auto", "original"] | None = None
    file_id: str | None = None
    image_url: str | None = None


class _File(_Part, tag="input_file"):
    detail: Literal["low", "high", "auto"] | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class _Message(Struct, tag_field="type", tag="message", kw_only=True):
    role: Literal["user"]
    id: str | None = None
    status: str | None = None
    content: str | list[_Text | _Image | _File]


def read(text: str) -> Steering | bytes:
    """Read a `response.steer`; return the event that refuses a wrong one and gives its input back.

    Raises: InvalidRequest for input that the event cannot hold.
    """
    body = decoded(_BODIES, text)
    response_id, given = body.get("previous_response_id"), _given(body.get("input"))
    if not isinstance(response_id, str) or not response_id:
        message = "Missing required parameter: 'previous_response_id'."
        raise InvalidRequest(message, param="previous_response_id", code="missing_required_parameter")
    wrong = _wrong(body, given)
    if wrong is None:
        return Steering(response_id, given)
    if len(text) > MAX_RETURNED:
        raise wrong
    return failed_event(wrong, response_id, _encode(given))


def _given(value: object) -> Given:
    """Return the input, with the type that messages may leave out. Raises: InvalidRequest unless it is some."""
    try:
        match value:
            case str():
                return value
            case list():
                tagged = msgspec.convert(value, list[dict[str, Any]])
                messages = [{"type": "message", **message} for message in tagged]
                msgspec.convert(messages, list[_Message])
                return messages
            case _:
                pass
    except msgspec.ValidationError as error:
        message = f"'input' must be a text or messages of the user: {error}."
        raise InvalidRequest(message, param="input", code="invalid_input") from error
    raise InvalidRequest("'input' must be a text or messages of the user.", param="input", code="invalid_input")


def _wrong(body: dict[str, Any], given: Given) -> InvalidRequest | None:
    """Return what is wrong with a command whose input can be given back."""
    unknown = sorted(body.keys() - _FIELDS)
    if unknown:
        return InvalidRequest(f"response.steer has no field '{unknown[0]}'.", param=unknown[0], code="invalid_input")
    if not given:
        return InvalidRequest("'input' is empty.", param="input", code="invalid_input")
    for message in given:
        if isinstance(message, dict) and (extra := sorted(message.keys() - _MESSAGE_FIELDS)):
            wrong = f"A message for steering has no field '{extra[0]}'."
            return InvalidRequest(wrong, param="input", code="invalid_input")
    return None


def encoded(steering: Steering) -> bytes:
    """Return the input as it is kept, to be given back."""
    return _encode(steering.given)


def accepted_event(steer: Steer, number: int) -> bytes:
    """Return that the server owns the input; `number` is that of the response's newest event here."""
    shown = {"id": steer.id, "previous_response_id": steer.response_id}
    event = {"type": "response.steer.accepted", "sequence_number": max(number, 0), "steer": shown}
    return _encode(event)


def pending_event(steer: Steer, calls: Sequence[FunctionCall], number: int) -> bytes:
    """Return that the input waits for the outputs of these calls."""
    event = {
        "type": "response.steer.pending",
        "sequence_number": max(number, 0),
        "reason": "waiting_for_required_input",
        "required_input": [
            {"type": "function_call_output", "call_id": call.call_id, "name": call.name} for call in calls
        ],
        "steer": {"id": steer.id, "previous_response_id": steer.response_id},
    }
    return _encode(event)


def given_back(steer: Steer, number: int) -> bytes:
    """Return the input that was accepted and could not be used."""
    if steer.failure == "successor_creation_failed":
        error = InvalidRequest("The response that was to take this input could not be made.", code=steer.failure)
    else:
        error = InvalidRequest("The response ended without taking this input.", code=steer.failure)
    return failed_event(error, steer.response_id, steer.given, number, steer_id=steer.id)


def failed_event(
    error: ChatError, response_id: str, given: bytes, number: int = 0, *, steer_id: str | None = None
) -> bytes:
    """Return the input with the reason why it was not taken."""
    shown: dict[str, Any] = {"previous_response_id": response_id, "input": msgspec.Raw(given)}
    code = wire_errors.code_of(error) or "invalid_input"
    event = {
        "type": "response.steer.failed",
        "sequence_number": max(number, 0),
        "error": {"type": "invalid_request_error", "code": code, "message": error.message},
        "steer": shown if steer_id is None else {"id": steer_id, **shown},
    }
    return _encode(event)
