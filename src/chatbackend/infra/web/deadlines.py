"""Deadlines for clients that take their time with a request, and a bound on connections.

Nothing is timed for each request: every two seconds all connections are looked at, and one that was found in the same
headers for `HEADERS_S`, or whose body came more slowly than `BODY_BYTES` in `BODY_S`, is refused and closed. What
waits for us, because we do not read on, is not the client's fault.
Source: RFC 9110 sections 15.5.9 and 15.6.4.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus

import anyio
import anyio.lowlevel
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatbackend.adapters import errors as wire_errors
from chatbackend.domain.errors import ChatError, TooSlow, Unavailable
from chatbackend.infra.web.http import encode
from chatbackend.infra.web.stalls import Stalls
from chatbackend.infra.web.wire import WireProtocol

LOOK_S = 2.0
AT_ONCE = 256
HEADERS_S = 10.0  # from a connection's beginning, or from the first byte of its next request, to the end of headers
BODY_S = 10.0
LINGER_S = 2.0
BODY_BYTES = 10 * 1024  # a client that sends less in `BODY_S` holds its connection for nothing


class GuardedProtocol(WireProtocol):
    """HTTP/1.1 for a client that may be too slow, or one too many."""

    max_connections = 2**31
    received = 0  # bytes of bodies

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self.refuse(Unavailable("Too many connections.", code="too_many_connections"))

    def on_body(self, body: bytes) -> None:
        """Count."""
        self.received += len(body)
        super().on_body(body)

    @property
    def sending(self) -> bool:
        """Whether we wait for the client: for a request, or for the rest of one."""
        if self.flow.read_paused or self.transport.is_closing():
            return False
        return self.cycle.more_body if self.in_body else self.timeout_keep_alive_task is None

    @property
    def in_body(self) -> bool:
        """Whether a request's headers are complete, and its answer is not."""
        return self.cycle is not None and not self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]  # None at first

    def refuse(self, error: ChatError) -> None:
        """Answer, unless an answer has begun, and hang up once the client has had time to read that."""
        if not (self.in_body and self.cycle.response_started):
            self.transport.write(_answer(error))
        if self.transport.can_write_eof():  # TLS has no half-closed connections
            self.transport.write_eof()
        self.connection_lost(ConnectionAbortedError())  # for us it is over
        self.transport.set_protocol(_Leaving(self.transport, self.loop))


def bounded(connections: int) -> type[GuardedProtocol]:
    """Return a protocol that takes so many connections."""

    class Bounded(GuardedProtocol):
        max_connections = connections

    return Bounded


class _Leaving(asyncio.Protocol):
    """Drops what a refused client still sends: closed before it is read, it would cost the client our answer."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(LINGER_S, transport.abort)
        transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._timer.cancel()


@dataclass(slots=True)
class _Seen:
    """A connection that is sending: which of its requests, since when, and how much of bodies there was then."""

    request: object
    in_body: bool
    since: float
    received: int


class Deadlines:
    """Looks after `connections`, those of uvicorn's server."""

    def __init__(self, connections: Collection[object]) -> None:
        self._connections = connections
        self._stalls = Stalls()
        self._seen: dict[GuardedProtocol, _Seen] = {}

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        while True:
            await anyio.sleep(LOOK_S)
            self.look(anyio.current_time())
            await self._look_for_stalls()

    async def _look_for_stalls(self) -> None:
        """Look at some, let others run, look on: there may be ten thousand."""
        open_now = [transport for each in list(self._connections) if (transport := _transport(each)) is not None]
        for start in range(0, len(open_now), AT_ONCE):
            self._stalls.look(open_now[start : start + AT_ONCE], anyio.current_time())
            await anyio.lowlevel.checkpoint()
        self._stalls.forget(open_now)

    def look(self, now: float) -> None:
        """Close who has taken too long; `now` is in seconds of any clock that only goes on."""
        seen: dict[GuardedProtocol, _Seen] = {}
        for connection in list(self._connections):
            if not isinstance(connection, GuardedProtocol) or not connection.sending:
                continue
            found = self._look(connection, now)
            if found is None:
                connection.refuse(TooSlow("The request did not come in time."))
            else:
                seen[connection] = found
        self._seen = seen

    def _look(self, connection: GuardedProtocol, now: float) -> _Seen | None:
        """Return what is known of a connection that is sending; None: it is too slow."""
        fresh = _Seen(connection.cycle, connection.in_body, now, connection.received)
        known = self._seen.get(connection)
        if known is None or known.request is not fresh.request or known.in_body != fresh.in_body:
            return fresh
        if now - known.since < (BODY_S if known.in_body else HEADERS_S):
            return known
        return fresh if fresh.received - known.received >= BODY_BYTES else None


def _transport(connection: object) -> asyncio.Transport | None:
    """Return the transport of any of uvicorn's connections."""
    if isinstance(connection, GuardedProtocol | WebSocketsSansIOProtocol):
        return connection.transport
    return None


def _answer(error: ChatError) -> bytes:
    """Return a whole answer to a request that nobody reads."""
    status, body = wire_errors.mapped(error).status, encode(wire_errors.envelope(error))
    fields = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**fields, **wire_errors.headers(error)}.items()]
    head = "\r\n".join([f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *lines, "", ""])
    return head.encode() + body
