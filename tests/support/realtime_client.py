"""A client of the Realtime protocol without an SDK: every event checked by the `openai` package's types."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.support.server import Server

GA_EVENT: TypeAdapter[RealtimeServerEvent] = TypeAdapter(RealtimeServerEvent)
Event = dict[str, Any]
WAIT_S = 10.0


class RealtimeClient:
    """An open socket. `dialect` says whose types its events are checked by: `ga`, or none."""

    def __init__(self, connection: ClientConnection, *, checked: bool) -> None:
        self.connection = connection
        self._checked = checked

    async def send(self, event: Event) -> None:
        """Send an event."""
        await self.connection.send(json.dumps(event))

    async def recv(self) -> Event:
        """Return the next event."""
        with anyio.fail_after(WAIT_S):
            frame = await self.connection.recv()
        if self._checked and '"chatbackend.' not in str(frame):
            GA_EVENT.validate_json(frame)
        event: Event = json.loads(frame)
        return event

    async def until(self, kind: str) -> list[Event]:
        """Return the events up to the first of this type."""
        events = [await self.recv()]
        while events[-1]["type"] != kind:
            events.append(await self.recv())
        return events

    async def ask(self, text: str = "Hello") -> list[Event]:
        """Say something and return the events of the answer."""
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.send({"type": "conversation.item.create", "item": item})
        await self.send({"type": "response.create"})
        return await self.until("response.done")

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait until the server closes; return code and reason."""
        with anyio.fail_after(WAIT_S):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def realtime(
    server: Server,
    path: str = "/v1/realtime?model=openai/realtime",
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    offered: Sequence[str] = (),
    origin: str | None = None,
    checked: bool = True,
) -> AsyncGenerator[RealtimeClient]:
    """Open a socket; `key` is the server's own unless given, "" for none."""
    token = server.key if key is None else key
    proof = {"authorization": f"Bearer {token}"} if token else {}
    async with connect(
        server.ws_url + path,
        additional_headers={**proof, **(headers or {})},
        subprotocols=[Subprotocol(name) for name in offered] or None,
        origin=None if origin is None else Origin(origin),
        close_timeout=1,
        max_size=None,
    ) as connection:
        yield RealtimeClient(connection, checked=checked)
