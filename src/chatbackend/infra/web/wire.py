"""uvicorn's HTTP protocol with a shorter way out: one write an answer, and one a chunk of what is relayed.

What ASGI offers for a chunk is a coroutine that takes a dictionary, run by a task that must be woken first: that costs
several times what the write itself does. A relay writes from the callback in which the upstream's bytes arrive. So each
request of this protocol carries a `Wire` as an ASGI extension; its head and its end still go through `send`, which is
the wire's, too: uvicorn's own looks at every header twice.
Source: https://asgi.readthedocs.io/en/latest/extensions.html, RFC 9112 sections 6 and 7.1.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

from uvicorn._types import ASGI3Application, ASGISendCallable
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from chatbackend.infra.web.http import Message, Scope

EXTENSION = "chatbackend.wire"
_BODILESS = (204, 304)


class Wire:
    """The way to one client for one answer: its head and its end by `send`, chunks in between by `write`.

    `on_gone` is called once, if the client goes away before the answer has ended. `close` and `is_closing` are for
    uvicorn, to which this is the transport.
    """

    __slots__ = ("_bodiless", "_cycle", "_head", "_left", "_transport", "on_gone")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""  # of an answer whose body leaves together with it
        self._left: int | None = None  # bytes that the head has promised
        self._bodiless = cycle.scope["method"] == "HEAD"
        self.on_gone: Callable[[], object] | None = None

    async def send(self, message: Message) -> None:
        """Send as ASGI says. Raises: RuntimeError for a broken header, or a body of another length than promised."""
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        if message["type"] == "http.response.start":
            self._start(message["status"], message["headers"])
        else:
            self._go_on(message.get("body", b""), last=not message.get("more_body", False))

    def write(self, chunk: bytes) -> bool:
        """Send a chunk at once; False: no more is wanted before `drained`. A client that is gone takes anything."""
        cycle = self._cycle
        if cycle.disconnected or not chunk:
            return True
        self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if cycle.chunked_encoding else chunk)
        return not cycle.flow.write_paused

    async def drained(self) -> None:
        """Return once there is room for more, or the client is gone."""
        await self._cycle.flow.drain()

    @property
    def is_gone(self) -> bool:
        """Whether the client went away before its answer ended."""
        return self._cycle.disconnected

    def gone(self) -> None:
        """Tell that the client went away."""
        if self._cycle.response_complete:
            return
        self._cycle.disconnected = True  # uvicorn tells the last request alone, which may wait behind this one
        self._cycle.message_event.set()
        if self.on_gone is not None:
            self.on_gone()

    def close(self) -> None:
        """Send what is held, and close."""
        self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._transport.is_closing()

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        cycle = self._cycle
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        lines = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            if name == b"content-length":
                self._left = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        self._bodiless = self._bodiless or status in _BODILESS
        if self._left is None and not self._bodiless and cycle.scope["http_version"] == "1.1":
            cycle.chunked_encoding = True  # HTTP/1.0 has no chunks: its answer ends with the connection
            lines.append(b"transfer-encoding: chunked\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join((*lines, b"\r\n"))
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
            raise RuntimeError("A header's value has a line break in it.")
        if self._left and not self._bodiless:
            self._head = head
        else:
            self._transport.write(head)

    def _go_on(self, body: bytes, *, last: bool) -> None:
        cycle = self._cycle
        if cycle.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self._transport.write(framed + b"0\r\n\r\n" if last else framed)
        elif not self._bodiless:
            if self._left is not None:
                self._left -= len(body)
                if self._left < 0 or (last and self._left):
                    raise RuntimeError("The answer is not as long as its head says.")
            self._transport.write(self._head + body if self._head else body)
            self._head = b""
        if last:
            self._end()

    def _end(self) -> None:
        """Note that the answer is complete."""
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        # Nothing asks for this wire any more: in a circle with it the request would wait for the garbage collector.
        cycle.transport = self._transport
        cycle.scope["extensions"] = {}
        cycle.on_response()


class WireProtocol(HttpToolsProtocol):
    """HTTP/1.1 for a client; every request has its `Wire`."""

    _wire: Wire | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._wire = wire = Wire(cycle)
        cycle.transport = cast("asyncio.Transport", wire)  # all that a cycle asks of it
        cycle.scope["extensions"] = {EXTENSION: cast("dict[object, object]", wire)}
        send = cast(ASGISendCallable, wire.send)
        super()._start_asgi_task(cycle, lambda scope, receive, _: app(scope, receive, send))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever answers that nobody listens any more."""
        super().connection_lost(exc)
        if self._wire is not None:
            self._wire.gone()


def wire_of(scope: Scope) -> Wire:
    """Return the way to the client of a request that this protocol took."""
    wire: Wire = scope["extensions"][EXTENSION]
    return wire
