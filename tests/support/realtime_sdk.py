"""The official SDK in a realtime session in text: its own connection, and every frame watched."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import openai
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from tests.support.realtime_watcher import Event, RealtimeWatcher
from tests.support.server import Server

PATIENCE_S = 20.0


class SdkTalk:
    """One session, from its first event on."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.watcher = RealtimeWatcher()

    async def event(self) -> Event:
        """Return the next event."""
        with anyio.fail_after(PATIENCE_S):
            return self.watcher.see(await self.connection.recv_bytes())

    async def until(self, kind: str, *, times: int = 1) -> list[Event]:
        """Return the events up to so many of a type."""
        events: list[Event] = []
        with anyio.fail_after(PATIENCE_S):  # an answer without an end brings events for ever
            while sum(event["type"] == kind for event in events) < times:
                events.append(await self.event())
        return events

    async def update(self, **session: object) -> Event:
        """Change the session; return it as it is shown."""
        changed: Any = {"type": "realtime", "output_modalities": ["text"], **session}
        await self.connection.session.update(session=changed)
        return (await self.until("session.updated"))[-1]["session"]

    async def say(self, text: str) -> None:
        """Create a message of the user."""
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await self.connection.conversation.item.create(item=item)

    async def answer(self, **response: object) -> Event:
        """Create a response; return it once it has ended."""
        settings: Any = response
        await self.connection.response.create(response=settings)
        return (await self.until("rate_limits.updated"))[-2]["response"]

    async def ask(self, text: str, **response: object) -> Event:
        """Say something and return the response to it."""
        await self.say(text)
        return await self.answer(**response)


def text_of(response: Event) -> str:
    """Return what a response says."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(part["text"] for part in parts)


@asynccontextmanager
async def sdk_talk(
    server: Server,
    model: str,
    *,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
) -> AsyncGenerator[SdkTalk, None]:
    """Open a session with a model."""
    async with (
        openai.AsyncOpenAI(base_url=server.base_url, api_key=key or server.key, max_retries=0) as client,
        client.realtime.connect(model=model, extra_headers=headers or {}, extra_query=query or {}) as connection,
    ):
        talk = SdkTalk(connection)
        assert (await talk.event())["session"]["model"] == model
        yield talk
