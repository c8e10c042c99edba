"""The Responses API's WebSocket mode without the socket: text frames in, typed commands out; events to bytes.

Source: OpenAI's guide "WebSocket mode" and the `openai` package, types/responses/responses_client_event.py and
responses_server_event.py. `chatbackend.*` commands and events are ours (docs/websocket.md).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api import conversations as conversation_shapes
from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.wire import steering
from chatbackend.adapters.wire.frames import decoded, with_lane
from chatbackend.adapters.wire.socket_lanes import Create, Lane, Lanes
from chatbackend.adapters.wire.steering import Steering
from chatbackend.domain.conversations import State
from chatbackend.domain.errors import ChatError, InvalidRequest
from chatbackend.domain.responses import Response

FROM_THE_START = -1
MAX_NUMBER = 2**53
MAX_RESUMED = 64  # responses that one handshake may name
_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_OURS = "chatbackend."
_KNOWN = (
    "response.create, response.steer, chatbackend.cancel, chatbackend.resume, chatbackend.subscribe, "
    "chatbackend.unsubscribe"
)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Resume:
    """Follow a response from the event after `after` (-1: from the start)."""

    response_id: str
    after: int = FROM_THE_START


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a response."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Follow a conversation's log from the event after `after` (-1: from the start)."""

    conversation_id: str
    after: int = FROM_THE_START


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Follow a conversation no more."""

    conversation_id: str


@dataclass(frozen=True, slots=True)
class Say:
    """Nothing to do but to send this event, which answers a command."""

    event: bytes


Command = Create | Steering | Resume | Cancel | Subscribe | Unsubscribe | Say


class _Frame(Struct):
    """What a command's type decides on; a `response.create` is read whole only when its turn comes."""

    type: Any = None
    stream_id: Any = None
    response_id: Any = None
    starting_after: Any = None
    conversation: Any = None
    after: Any = None


_FRAMES = msgspec.json.Decoder(_Frame)
_BODIES = msgspec.json.Decoder(dict[str, Any])


class ResponsesSocket:
    """One connection's state: its lanes, and whether its client knows our own events."""

    def __init__(self, *, opted_in: bool = False) -> None:
        self.lanes = Lanes()
        self.opted_in = opted_in

    def receive(self, text: str) -> Command:
        """Read one text frame. Never raises: what is wrong with it becomes an error event."""
        lane: Lane = None
        try:
            frame = decoded(_FRAMES, text)
            lane = _lane(frame.stream_id)
            return self._command(frame, lane, text)
        except ChatError as error:
            return Say(error_event(error, lane))

    def _command(self, frame: _Frame, lane: Lane, text: str) -> Command:
        if isinstance(frame.type, str) and frame.type.startswith(_OURS):
            self.opted_in = True
        match frame.type:
            case "response.create":
                self.lanes.admit(lane)
                return Create(lane, text)
            case "response.steer":
                found = steering.read(text)
                return Say(found) if isinstance(found, bytes) else found
            case "chatbackend.cancel":
                return Cancel(_response_id(frame))
            case "chatbackend.resume":
                return Resume(_response_id(frame), _number(frame.starting_after))
            case "chatbackend.subscribe":
                return Subscribe(_id("conversation", frame.conversation), _number(frame.after, param="after"))
            case "chatbackend.unsubscribe":
                return Unsubscribe(_id("conversation", frame.conversation))
            case _:
                _refuse_type(frame.type)


def body_of(create: Create) -> dict[str, Any]:
    """Return the whole of a `response.create`. Raises: InvalidRequest."""
    return decoded(_BODIES, create.text)


def read(create: Create, body: dict[str, Any]) -> shapes.CreateRequest:
    """Check a `response.create`'s body as `POST /v1/responses` would. Raises: InvalidRequest."""
    request = shapes.read(body)
    if request.background:
        message = "background is not supported over WebSocket: a response outlives its socket without it."
        raise InvalidRequest(message, param="background", code="unsupported_parameter")
    request.stream_id = create.lane
    return request


def idempotency_key(body: dict[str, Any]) -> str | None:
    """Return `chatbackend.idempotency_key` of a `response.create`. Raises: InvalidRequest."""
    match body.get("chatbackend"):
        case None:
            return None
        case {"idempotency_key": str(key)}:
            return key
        case _:
            message = "'chatbackend' must be an object with a text 'idempotency_key'."
            raise InvalidRequest(message, param="chatbackend.idempotency_key")


def resumed(ids: Sequence[str], cursors: Sequence[str]) -> list[Resume]:
    """Pair the `resume` and `starting_after` values of a handshake's query, in order.

    Raises: InvalidRequest unless there is a `starting_after` for each `resume`, or none at all (an empty one
    means from the start).
    """
    if len(ids) > MAX_RESUMED:
        raise InvalidRequest(f"At most {MAX_RESUMED} responses can be resumed at once.", param="resume")
    if cursors and len(cursors) != len(ids):
        message = "Give one 'starting_after' for each 'resume', in the same order, or none."
        raise InvalidRequest(message, param="starting_after")
    return [
        Resume(response_id, _number_of(cursor))
        for response_id, cursor in zip(ids, cursors or [""] * len(ids), strict=True)
    ]


def error_event(
    error: ChatError, lane: Lane, response_id: str | None = None, *, conversation_id: str | None = None
) -> bytes:
    """Return an error as this API shows it on a socket; the ids name what an own command was about."""
    shown = wire_errors.body(error)
    headers = wire_errors.headers(error)
    event: dict[str, Any] = {
        "type": "error",
        "status": wire_errors.mapped(error).status,
        "error": {**shown, "headers": headers} if headers else shown,
    }
    if response_id is not None:
        event["response_id"] = response_id
    if conversation_id is not None:
        event["conversation_id"] = conversation_id
    return with_lane(_encode(event), lane)


def cancelled_event(response: Response) -> bytes:
    """Return the answer to `chatbackend.cancel`: how the response has ended."""
    event = {"type": "chatbackend.cancelled", "response_id": response.id, "status": response.status}
    return with_lane(_encode(event), response.stream_id)


def reset_event(response: Response) -> bytes:
    """Return what an opted-in client gets in place of a cursor error: throw away what you have, this is it now."""
    event = {"type": "chatbackend.reset", "response_id": response.id, "response": shapes.response_object(response)}
    return with_lane(_encode(event), response.stream_id)


def draining_event(seconds: float) -> bytes:
    """Return that the server stops: nothing new is taken, and what runs may take so long."""
    return _encode({"type": "chatbackend.draining", "seconds": seconds})


def subscribed_event(conversation_id: str, after: int) -> bytes:
    """Return the answer to `chatbackend.subscribe`: the events behind `after` follow."""
    return _encode({"type": "chatbackend.subscribed", "conversation_id": conversation_id, "after": after})


def unsubscribed_event(conversation_id: str) -> bytes:
    """Return the answer to `chatbackend.unsubscribe`: no event of that conversation follows."""
    return _encode({"type": "chatbackend.unsubscribed", "conversation_id": conversation_id})


def conversation_reset_event(state: State) -> bytes:
    """Return what a subscriber gets in place of a cursor error: this is the conversation now, and events follow."""
    shown = conversation_shapes.state_object(state)
    return _encode({"type": "chatbackend.reset", "conversation_id": state.conversation.id, "conversation": shown})


def _lane(given: object) -> Lane:
    if given is None or (isinstance(given, str) and _STREAM_ID.fullmatch(given)):
        return given
    message = "'stream_id' has 1 to 256 letters, digits, '_', '-' or '.'; leave it out for the unnamed lane."
    raise InvalidRequest(message, param="stream_id", code="invalid_stream_id")


def _response_id(frame: _Frame) -> str:
    return _id("response_id", frame.response_id)


def _id(param: str, given: object) -> str:
    if isinstance(given, str) and given:
        return given
    message = f"Missing required parameter: '{param}'."
    raise InvalidRequest(message, param=param, code="missing_required_parameter")


def _number(given: object, *, param: str = "starting_after") -> int:
    match given:
        case None:
            return FROM_THE_START
        case bool():
            pass
        case int() if FROM_THE_START <= given <= MAX_NUMBER:
            return given
        case _:
            pass
    raise InvalidRequest(f"'{param}' must be an event's number.", param=param)


def _number_of(text: str) -> int:
    if not text:
        return FROM_THE_START
    digits = text.removeprefix("-")
    return _number(int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else text)


def _refuse_type(given: object) -> NoReturn:
    shown = f"'{given[:64]}'" if isinstance(given, str) else "none"
    message = f"Unknown event type {shown}; known are {_KNOWN}."
    raise InvalidRequest(message, param="type", code="unknown_event_type")
