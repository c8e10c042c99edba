"""A bare WebSocket client of `/v1/responses`, and a relay between client and server that can be cut."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.sdk import SOCKET_EVENT, TERMINAL
from tests.support.server import Server

Event = dict[str, Any]
WAIT_S = 20.0


class RawSocket:
    """One connection. Every event that comes is held against the SDK's types (but `chatbackend.*`, which it lacks)."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, kind: str, /, **fields: object) -> None:
        """Send a command."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def create(self, model: str, input: object = "say on", **fields: object) -> None:
        """Ask for a response."""
        await self.send("response.create", model=model, input=input, **fields)

    async def event(self) -> Event:
        """Return the next event."""
        with anyio.fail_after(WAIT_S):
            data = await self.connection.recv()
        event = json.loads(data)
        if not event["type"].startswith("chatbackend."):
            SOCKET_EVENT.validate_json(data)
        return event

    async def events(self, count: int) -> list[Event]:
        """Return so many events."""
        return [await self.event() for _ in range(count)]

    async def until(self, *kinds: str, times: int = 1) -> list[Event]:
        """Return the events up to the `times`-th of these types."""
        found: list[Event] = []
        while sum(event["type"] in kinds for event in found) < times:
            found.append(await self.event())
        return found

    async def through(self, responses: int = 1) -> list[Event]:
        """Return the events until so many responses have ended."""
        return await self.until(*TERMINAL, times=responses)

    async def first(self, kind: str) -> Event:
        """Return the next event of a type, dropping others."""
        return (await self.until(kind))[-1]

    async def closed(self) -> tuple[int, str]:
        """Take what still comes until the server closes; return its code and reason (1006 when it said nothing)."""
        try:
            with anyio.fail_after(WAIT_S):
                while True:
                    await self.connection.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    def cut(self) -> None:
        """Lose the connection without a word."""
        self.connection.transport.abort()


@asynccontextmanager
async def raw_socket(
    server: Server,
    query: Sequence[tuple[str, object]] = (),
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
) -> AsyncGenerator[RawSocket, None]:
    """Open a connection; `query` goes into its handshake."""
    url = f"{server.ws_url}/v1/responses" + (f"?{urlencode(query)}" if query else "")
    sent = {"authorization": f"Bearer {key or server.key}", **(headers or {})}
    offered = [Subprotocol(name) for name in subprotocols] or None
    async with connect(
        url, additional_headers=sent, subprotocols=offered, max_size=None, close_timeout=1
    ) as connection:
        yield RawSocket(connection)


class Relay:
    """Passes bytes on to a server's port; `cut` drops every connection, as a network does."""

    def __init__(self) -> None:
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self, server: Server) -> AsyncGenerator["Relay", None]:
        """Listen while the context is open."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                onward = await asyncio.open_connection("127.0.0.1", server.port)
            except OSError:
                writer.close()
                return
            self._open |= {writer, onward[1]}
            await asyncio.gather(_pump(reader, onward[1]), _pump(onward[0], writer))
            self._open -= {writer, onward[1]}

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            listener.close()
            self.cut()

    def cut(self) -> None:
        """Drop every connection."""
        for writer in self._open:
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def of(events: Sequence[Event], lane: str | None) -> list[Event]:
    """Return the events of a lane."""
    return [event for event in events if event.get("stream_id") == lane]


def kinds(events: Sequence[Event]) -> list[str]:
    """Return the events' types."""
    return [event["type"] for event in events]


def numbers(events: Sequence[Event]) -> list[int]:
    """Return the events' numbers."""
    return [event["sequence_number"] for event in events]


def text_of(events: Sequence[Event]) -> str:
    """Return the joined deltas."""
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def bare(events: Sequence[Event]) -> list[Event]:
    """Return the events without their lane: as any other reader gets them."""
    return [{name: value for name, value in event.items() if name != "stream_id"} for event in events]
