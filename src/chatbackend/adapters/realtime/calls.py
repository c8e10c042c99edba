"""Calls over WebRTC: what an offer says, what a provider is sent of it, and the id that only its owner can use.

Source: the `openai` package, resources/realtime/calls.py; OpenAI's guides to WebRTC and to server-side controls.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from chatbackend.adapters.api.checking import refuse_deep
from chatbackend.adapters.realtime.frames import Event, as_object, encode
from chatbackend.adapters.wire.multipart import (
    Field,
    MultipartError,
    MultipartLimits,
    MultipartReader,
    MultipartTooLarge,
    Part,
)
from chatbackend.domain.errors import Forbidden, InvalidRequest, NotFound, TooLarge
from chatbackend.domain.identity import Principal
from chatbackend.domain.realtime import RealtimeCall, Terms

SDP = "application/sdp"
MAX_BYTES = 1 << 20
MARK = "rtc_"
_TAG_BYTES = 16
_TEXT = msgspec.json.Decoder(tuple[str, str, str])


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client wants to be connected with: its session description, and how the session begins."""

    sdp: str
    session: Event


def read(content_type: str, body: bytes) -> Offer:
    """Read an offer, alone or in a form with its session. Raises: InvalidRequest, TooLarge."""
    if content_type.partition(";")[0].strip().lower() == SDP:
        return _offer(_text(body), {})
    fields = {part.name: part.value for part in _parts(content_type, body) if isinstance(part, Field)}
    return _offer(fields.get("sdp", ""), _session(fields.get("session")))


def configured(offer: Offer, terms: Terms, model: str | None) -> tuple[str, Event]:
    """Return which model a call is with, by the name that was asked for, and its session without one.

    What a secret hides or forbids could not be held there, and what is said not be kept: the events of a call never
    pass us. Raises: InvalidRequest, Forbidden.
    """
    held = terms.instructions or terms.vector_stores or terms.conversation or terms.renew
    if held or terms.client_tools is not None:
        message = "What this client secret holds sessions to cannot be held in a call: its events do not pass here."
        raise Forbidden(message, code="unsupported_in_calls")
    if terms.kind not in (None, "realtime"):
        raise Forbidden("This client secret is not for calls.", code="session_type_not_allowed")
    if offer.session.get("type", "realtime") != "realtime":
        raise InvalidRequest("A call's session is of the type 'realtime'.", param="session.type")
    name = offer.session.get("model") or model or terms.model
    if not isinstance(name, str):
        raise InvalidRequest("Name the model: session.model.", param="session.model", code="missing_required_parameter")
    begun = _merged(terms.session, offer.session)
    return name, {"type": "realtime", **{field: value for field, value in begun.items() if field != "model"}}


def form(offer: str, session: Event) -> tuple[str, bytes]:
    """Return what a provider is sent: the content type, and the form."""
    parts = (("sdp", SDP, offer.encode()), ("session", "application/json", encode(session)))
    boundary = hashlib.sha256(b"".join(data for *_, data in parts)).hexdigest()  # which the parts do not hold
    lines = b"".join(
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\ncontent-type: {kind}\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, kind, data in parts
    )
    return f"multipart/form-data; boundary={boundary}", lines + f"--{boundary}--\r\n".encode()


def sealed(call: RealtimeCall, owner: Principal, key: bytes) -> str:
    """Return the id of a call: what it says is no secret, but it counts for its owner alone."""
    said = encode((call.id, call.deployment, call.model))
    return MARK + base64.urlsafe_b64encode(_tag(said, owner, key) + said).rstrip(b"=").decode()


def opened(value: str, caller: Principal, key: bytes) -> RealtimeCall:
    """Return the call of an id. Raises: NotFound for one that is not the caller's, or none."""
    try:
        raw = base64.urlsafe_b64decode(value.removeprefix(MARK).encode("ascii") + b"==")
    except ValueError:
        raw = b""
    tag, said = raw[:_TAG_BYTES], raw[_TAG_BYTES:]
    if not value.startswith(MARK) or not hmac.compare_digest(tag, _tag(said, caller, key)):
        raise NotFound("There is no such call.", param="call_id", code="call_not_found")
    return RealtimeCall(*_TEXT.decode(said))


def call_id(query: Mapping[str, Sequence[str]]) -> str | None:
    """Return the call that a handshake wants to join. Raises: InvalidRequest where it names a model or more, too."""
    found = query.get("call_id")
    if found is None:
        return None
    refuse_memory(query)
    if "model" in query or "intent" in query or len(found) > 1:
        message = "A call is joined by its id alone: it has its model."
        raise InvalidRequest(message, param="call_id", code="unsupported_parameter")
    return found[0]


def refuse_memory(query: Mapping[str, Sequence[str]]) -> None:
    """Refuse what no call can have. Raises: InvalidRequest."""
    for name in ("conversation", "renew"):
        if name in query:
            message = "Calls are kept in no conversation, and not renewed: their events do not pass here."
            raise InvalidRequest(message, param=name, code="unsupported_parameter")


def _tag(said: bytes, owner: Principal, key: bytes) -> bytes:
    whose = encode((owner.tenant, owner.owner))
    return hmac.digest(key, hashlib.sha256(whose).digest() + said, "sha256")[:_TAG_BYTES]


def _parts(content_type: str, body: bytes) -> list[Part]:
    try:
        reader = MultipartReader(content_type, MultipartLimits(parts=8, field_bytes=MAX_BYTES, total_bytes=MAX_BYTES))
        parts = reader.feed(body)
        reader.close()
    except MultipartTooLarge as error:
        raise TooLarge(error.message) from error
    except MultipartError as error:
        message = f"Send application/sdp, or a form with 'sdp' and 'session'. {error.message}"
        raise InvalidRequest(message, code="invalid_multipart") from error
    return parts


def _offer(sdp: str, session: Event) -> Offer:
    if not sdp.startswith("v="):
        raise InvalidRequest("An offer is a session description, which begins with 'v='.", param="sdp")
    return Offer(sdp, session)


def _session(text: str | None) -> Event:
    try:
        session = {} if text is None else as_object(msgspec.json.decode(text))
    except (msgspec.DecodeError, RecursionError):
        session = None
    if session is None:
        raise InvalidRequest("'session' is a JSON object.", param="session", code="invalid_json")
    refuse_deep(session)
    return session


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest("The offer is not UTF-8.", param="sdp") from error


def _merged(begun: Event, given: Event) -> Event:
    """Return a configuration with what a client gives changed, at any depth."""
    merged: dict[str, Any] = {**begun, **given}
    for name in begun.keys() & given.keys():
        before, after = as_object(begun[name]), as_object(given[name])
        if before is not None and after is not None:
            merged[name] = _merged(before, after)
    return merged
