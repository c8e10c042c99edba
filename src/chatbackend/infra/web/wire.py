"""uvicorn's HTTP protocol with a shorter way out: one write an answer, and one a chunk of what is relayed.

What ASGI offers for a chunk is a coroutine that takes a dictionary, run by a task that must be woken first: that costs
several times what the write itself does. A relay writes from the callback in which the upstream's bytes arrive. So each
request of this protocol carries a `Wire` as an ASGI extension; its head and its end still go through `send`.
Source: https://asgi.readthedocs.io/en/latest/extensions.html, RFC 9112 section 7.1.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chatbackend.infra.web.http import Scope

EXTENSION = "chatbackend.wire"


class Wire:
    """The way to one client for the chunks of one answer, between its start and its end.

    `on_gone` is called once, if the client goes away before the answer has ended.
    """

    __slots__ = ("_cycle", "_transport", "on_gone")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self.on_gone: Callable[[], object] | None = None

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

    def gone(self) -> None:
        """Tell that the client went away."""
        if self._cycle.response_complete:
            return
        self._cycle.disconnected = True  # uvicorn tells the last request alone, which may wait behind this one
        self._cycle.message_event.set()
        if self.on_gone is not None:
            self.on_gone()


class _OneWrite:
    """A client's transport as one answer sees it: a head that says its body's length leaves together with the body."""

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, but hold the head of an answer that is about to go on."""
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif self._head is None and self._cycle.expected_content_length and self._cycle.scope["method"] != "HEAD":
            self._head = data
        else:
            self._head = b""
            self._transport.write(data)

    def close(self) -> None:
        """Send what is held, and close."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        """See `asyncio.Transport`."""
        return self._transport.is_closing()


class WireProtocol(HttpToolsProtocol):
    """HTTP/1.1 for a client; every request has its `Wire`."""

    _wire: Wire | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._wire = Wire(cycle)
        cycle.transport = cast("asyncio.Transport", _OneWrite(cycle))  # all that a cycle asks of it
        cycle.scope["extensions"] = {EXTENSION: cast("dict[object, object]", self._wire)}
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever answers that nobody listens any more."""
        super().connection_lost(exc)
        if self._wire is not None:
            self._wire.gone()


def wire_of(scope: Scope) -> Wire:
    """Return the way to the client of a request that this protocol took."""
    wire: Wire = scope["extensions"][EXTENSION]
    return wire
