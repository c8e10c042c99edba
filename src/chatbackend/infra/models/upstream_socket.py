"""One WebSocket to a provider: the handshake, whole messages in and out, nothing compressed, no redirect followed.

Source: RFC 6455, by the `websockets` package; this is only its loop.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import WebSocketURI, parse_uri

from chatbackend.adapters.providers.answer_body import MAX_EVENT_BYTES
from chatbackend.adapters.providers.responses.turn import Memory, closed
from chatbackend.domain.errors import UpstreamError
from chatbackend.infra.models.credentials import Headers
from chatbackend.infra.models.http_relay import FOREIGN
from chatbackend.infra.models.lean_client import Unreachable
from chatbackend.infra.models.lean_connection import CutOff, Garbled

MAX_UNREAD_BYTES = 128 << 10  # the peer is stopped beyond
GOING_AWAY = 1001
_LOGGER = logging.getLogger("chatbackend.upstream_socket")
_LOGGER.setLevel(logging.WARNING)  # the library's debug lines show headers, the key among them


@dataclass(frozen=True, slots=True, eq=False)
class Address:
    """Whose sockets are alike: one deployment under one credential. Compared by identity; `headers` hold the key."""

    uri: WebSocketURI
    headers: Headers = field(repr=False)

    @property
    def place(self) -> str:
        """Where it is, whoever asks."""
        return f"{self.uri.host}:{self.uri.port}{self.uri.path}"


def address(url: str, headers: Headers) -> Address:
    """Return where the WebSocket of an http(s) address is. Raises: ValueError for what is none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("not an http(s) address")
    try:
        return Address(parse_uri(parts._replace(scheme=parts.scheme.replace("http", "ws")).geturl()), headers)
    except InvalidURI as error:
        raise ValueError("not an http(s) address") from error


class RefusedUpgrade(Exception):
    """The server answered the handshake with something else than a WebSocket."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"status {response.status_code}")
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.raw_items()}
        self.body = bytes(response.body)


class UpstreamSocket(asyncio.Protocol):
    """`open`, then any number of times: `send`, and `read` to the end of an answer. `memory` belongs to who uses it."""

    def __init__(self, to: Address) -> None:
        self.to = to
        self.memory: Memory | None = None
        self.opened_at = self.heard = 0.0  # by the loop's clock; a pong is heard, too
        self._loop = asyncio.get_running_loop()
        self._protocol = ClientProtocol(to.uri, max_size=MAX_EVENT_BYTES, logger=_LOGGER)
        self._transport: asyncio.Transport | None = None
        self._response: Response | None = None
        self._messages: list[bytes] = []
        self._pieces: list[bytes] = []  # of a message that has not ended
        self._unread = 0
        self.ponged = True  # or the newest ping was not answered yet
        self._paused = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def open(self, tls: Callable[[], ssl.SSLContext]) -> None:
        """Connect, and shake hands. Raises: OSError (Unreachable before anything was sent), Garbled, RefusedUpgrade."""
        uri = self.to.uri
        try:
            await self._loop.create_connection(lambda: self, uri.host, uri.port, ssl=tls() if uri.secure else None)
        except OSError as error:
            raise Unreachable(str(error)) from error
        request = self._protocol.connect()
        request.headers.update(self.to.headers)
        self._protocol.send_request(request)
        self._flush()
        while self._response is None:
            await self._more()
        if self._response.status_code != 101:
            raise RefusedUpgrade(self._response)
        if self._error is not None:
            raise self._error
        self.opened_at = self._loop.time()

    def send(self, message: bytes) -> None:
        """Send a text message; `read` tells where nobody can take it."""
        if self.is_open:
            self._protocol.send_text(message)
            self._flush()

    async def read(self) -> list[bytes]:
        """Return the messages that have come, one at least. Raises: OSError, Garbled, UpstreamError."""
        while not self._messages:
            await self._more()
        messages, self._messages, self._unread = self._messages, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return messages

    def ping(self) -> None:
        """Ask whether the peer is there; `ponged` says when it is."""
        self.ponged = False
        if self.is_open:
            self._protocol.send_ping(b"")
            self._flush()

    async def answers(self, wait_s: float) -> bool:
        """Return whether the peer answers a ping within this time, and says nothing else."""
        self.ping()
        try:
            async with asyncio.timeout(wait_s):
                while not self.ponged:
                    await self._more()
        except (*FOREIGN, UpstreamError):
            return False
        return self.is_quiet

    @property
    def is_open(self) -> bool:
        """Whether anything can be sent."""
        return self._error is None and self._transport is not None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Whether another turn may be asked: the peer has neither hung up nor said what nobody has read."""
        return self.is_open and not self._messages and not self._pieces

    def leave(self) -> None:
        """Close in good order, without waiting for the peer."""
        if self.is_open:
            self._protocol.send_close(GOING_AWAY)
            self._flush()
            self._fail(CutOff("The socket was left."))

    def close(self) -> None:
        """Hang up at once."""
        self._fail(CutOff("The socket was closed."))
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # a stream connection has no other

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._error is None:
            self.heard = self._loop.time()
            self._protocol.receive_data(data)
            self._flush()
            self._look()

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self._protocol.receive_eof()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._fail(CutOff("The peer hung up."))

    def _look(self) -> None:
        """Take what the protocol has read."""
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._response = event
            elif isinstance(event, Frame):
                self._take(event)
        if (fault := self._protocol.handshake_exc or self._protocol.parser_exc) is not None:
            cut = isinstance(fault, EOFError) or isinstance(fault.__cause__, EOFError)
            self._fail(CutOff("The peer hung up.") if cut else Garbled(str(fault)))
        elif self._unread > MAX_UNREAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                self._pieces.append(bytes(frame.data))
                self._unread += len(frame.data)
                if frame.fin:
                    self._messages.append(b"".join(self._pieces))
                    self._pieces = []
            case Opcode.PONG:
                self.ponged = True
            case Opcode.CLOSE:
                said = self._protocol.close_rcvd
                self._fail(closed(said and said.code))
            case _:  # a ping, which the protocol has answered
                pass

    def _flush(self) -> None:
        said = [piece for piece in self._protocol.data_to_send() if piece]  # an empty one is the end, which we see to
        if said and self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(said)

    def _fail(self, error: Exception) -> None:
        """End the connection; what has come whole can still be read."""
        if self._error is None:
            self._error = error
            if self._transport is not None:
                self._transport.close()
        self._wake()

    async def _more(self) -> None:
        """Wait until something has come. Raises: what ended the connection."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
