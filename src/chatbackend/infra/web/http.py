"""The little that our plain ASGI routes need: a request, a way to answer, and errors as the wire shows them.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec

from chatbackend.adapters import errors as wire_errors
from chatbackend.domain.errors import ChatError, InvalidRequest, TooLarge
from chatbackend.domain.identity import Principal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

DEPLOYMENT, ATTEMPTS = "x-chatbackend-deployment", "x-chatbackend-attempts"  # who answered, after how many calls
_MESSAGES = "/v1/messages"
JSON_TYPE = (b"content-type", b"application/json")
encode = msgspec.json.Encoder().encode
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_decode = msgspec.json.Decoder().decode


class Disconnected(Exception):
    """The client went away while its request was being read."""


@dataclass
class Request:
    """One HTTP request or WebSocket handshake. `path_params` come from the route, `principal` from the resolver."""

    scope: Scope
    receive: Receive
    send: Send
    path_params: Mapping[str, str]
    principal: Principal
    request_id: str
    answered: dict[str, str] = field(default_factory=dict[str, str])  # extra headers for any answer

    @cached_property
    def headers(self) -> dict[str, str]:
        """Header values by lower-case name; of a repeated one the last."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """Query parameters, each with all its values."""
        return parse_qs(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)

    @property
    def anthropic(self) -> bool:
        """Whether the caller speaks Anthropic's dialect: by the path, or by its header on paths that APIs share."""
        path: str = self.scope["path"]
        if path == _MESSAGES or path.startswith(_MESSAGES + "/"):
            return True
        return header(self.scope["headers"], b"anthropic-version") is not None

    def one(self, name: str) -> str | None:
        """Return the last value of a query parameter."""
        values = self.query.get(name)
        return values[-1] if values else None

    async def body(self, max_bytes: int) -> bytes:
        """Read the whole body. Raises: TooLarge, Disconnected."""
        for name, value in self.scope["headers"]:
            if name == b"content-length" and int(value) > max_bytes:
                raise _too_large(max_bytes)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            piece = message.get("body", b"")
            size += len(piece)
            if size > max_bytes:
                raise _too_large(max_bytes)
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers; the body follows by `send`."""
        headers = [*headers, (b"x-request-id", self.request_id.encode())]
        if self.anthropic:
            headers.append((b"request-id", self.request_id.encode()))
        if self.answered:
            headers += [(name.encode(), _header(value)) for name, value in self.answered.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def answer(self, status: int, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
        """Send a JSON answer."""
        extra = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        length = (b"content-length", str(len(body)).encode())
        await self.start(status, [JSON_TYPE, length, *extra])
        await self.send({"type": "http.response.body", "body": body})

    async def answer_json(self, value: object, *, status: int = 200) -> None:
        """Encode and send."""
        await self.answer(status, encode(value))

    async def answer_error(self, error: ChatError) -> None:
        """Send an error in the caller's envelope: OpenAI's or Anthropic's."""
        if self.anthropic:
            status, body = wire_errors.anthropic(error)[0], wire_errors.anthropic_envelope(error, self.request_id)
        else:
            status, body = wire_errors.mapped(error).status, wire_errors.envelope(error)
        await self.answer(status, encode(body), headers=wire_errors.headers(error))


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a header; names are lower-case, as ASGI has them."""
    for found, value in headers:
        if found == name:
            return value
    return None


def decode_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises: InvalidRequest naming the place."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        detail = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"The body is not valid JSON: {detail}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.", code="invalid_json")
    return value  # pyright: ignore[reportUnknownVariableType]  # a JSON object's keys are strings


def whole_number(value: str | None, name: str, *, default: int, low: int, high: int) -> int:
    """Read an integer query parameter. Raises: InvalidRequest."""
    if value is None:
        return default
    if not (_WHOLE.fullmatch(value) and low <= int(value) <= high):
        raise InvalidRequest(f"'{name}' must be a whole number from {low} to {high}.", param=name)
    return int(value)


def _header(value: str) -> bytes:
    """Return a header's value: what is not plain ASCII is percent-encoded, since no header can hold every name."""
    return (value if value.isascii() and value.isprintable() else quote(value)).encode()


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The body is larger than {max_bytes} bytes.")
