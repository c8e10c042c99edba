"""What the log of an answer under an Idempotency-Key holds: heads, whole answers, and errors in its caller's words.

A whole answer is its head and its body with a line break between them: the head is JSON and has none.
"""

from collections.abc import Iterable

import msgspec

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.wire import chat_relay, messages_relay
from chatbackend.domain.errors import ChatError

Headers = list[tuple[bytes, bytes]]
FINAL = {"x-should-retry": "false"}  # tells the SDKs that the same request would only be given the same again
_MESSAGES = "/v1/messages"
_OF_ITS_REQUEST = frozenset((b"x-request-id", b"request-id"))


class Caller(msgspec.Struct, array_like=True, frozen=True):
    """Who asked: the path, whether it speaks Anthropic's dialect, and the request's id, which that shows in errors."""

    path: str
    anthropic: bool
    request_id: str


class _Head(msgspec.Struct, array_like=True):
    status: int
    headers: list[tuple[str, str]]


_encode = msgspec.json.Encoder().encode
_decode_caller = msgspec.json.Decoder(Caller).decode
_decode_head = msgspec.json.Decoder(_Head).decode


def caller(who: Caller) -> bytes:
    """Return what is written down of a caller."""
    return _encode(who)


def head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a head as it is kept: without the id of the request that it answered."""
    kept = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers if name not in _OF_ITS_REQUEST]
    return _encode(_Head(status, kept))


def read_head(data: bytes) -> tuple[int, Headers]:
    """Return status and headers of a head."""
    found = _decode_head(data)
    return found.status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers]


def whole(head: bytes, body: bytes) -> bytes:
    """Return a whole answer as it is kept."""
    return head + b"\n" + body


def read_whole(data: bytes) -> tuple[int, Headers, bytes]:
    """Return status, headers and body of a whole answer."""
    first, _, body = data.partition(b"\n")
    return *read_head(first), body


class TellCallers:
    """`Tell` in the dialects of the routes whose answers are kept."""

    def whole(self, caller: bytes, error: ChatError, *, final: bool) -> bytes:
        """See `Tell.whole`."""
        who = _caller(caller)
        status = wire_errors.anthropic(error)[0] if who.anthropic else wire_errors.mapped(error).status
        body = _envelope(error, who)
        more = wire_errors.headers(error) | (FINAL if final else {})
        headers = {"content-type": "application/json", "content-length": str(len(body)), **more}
        return whole(_encode(_Head(status, list(headers.items()))), body)

    def last(self, caller: bytes, error: ChatError) -> bytes:
        """See `Tell.last`."""
        who = _caller(caller)
        told = messages_relay.error_event if who.path == _MESSAGES else chat_relay.error_event
        return told(_envelope(error, who))


def _caller(data: bytes) -> Caller:
    """Return who asked; where the log lost its beginning, a caller of the commonest kind."""
    return _decode_caller(data) if data else Caller("", anthropic=False, request_id="")


def _envelope(error: ChatError, who: Caller) -> bytes:
    if who.anthropic:
        return _encode(wire_errors.anthropic_envelope(error, who.request_id))
    return _encode(wire_errors.envelope(error))
