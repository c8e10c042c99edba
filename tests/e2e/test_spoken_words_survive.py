"""What a realtime session has announced in its conversation is there after a kill."""

import contextlib
import json
from pathlib import Path

import anyio
import httpx2
import openai
import pytest
from websockets.exceptions import ConnectionClosed

from chatbackend.adapters.wire.sse import SseReader
from tests.support import sdk
from tests.support.realtime_client import Event, realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server

pytestmark = pytest.mark.anyio
TURNS = 25


class Watching:
    """Another device: what it was told of, until the server is gone."""

    def __init__(self) -> None:
        self.announced: list[str] = []
        self.enough = anyio.Event()

    async def run(self, server: Server, conversation_id: str) -> None:
        headers = {"authorization": f"Bearer {server.key}"}
        address = f"{server.base_url}/conversations/{conversation_id}/events"
        reader = SseReader()
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            with contextlib.suppress(httpx2.TransportError):
                async with http.stream("GET", address, params={"after": -1}) as answer:
                    async for chunk in answer.aiter_bytes():
                        for event in reader.feed(chunk):
                            self._take(json.loads(event.data))

    def _take(self, event: Event) -> None:
        if event["type"] == "chatbackend.conversation.item.added":
            self.announced.append(event["item_id"])
        if len(self.announced) >= TURNS:
            self.enough.set()


async def talk(server: Server, conversation_id: str, said: list[str]) -> None:
    """Speak and listen for ever; `said` are the items in their order."""
    path = f"/v1/realtime?model=openai/realtime&conversation={conversation_id}"
    with contextlib.suppress(ConnectionClosed, OSError):
        async with realtime(server, path) as client:
            await client.recv()
            while True:
                await client.send({"type": "input_audio_buffer.commit"})
                heard = await client.until("conversation.item.input_audio_transcription.completed")
                await client.send({"type": "response.create"})
                answered = await client.until("response.done")
                said += [heard[-1]["item_id"], answered[-1]["response"]["output"][0]["id"]]


async def items_of(server: Server, conversation_id: str) -> list[str]:
    async with sdk.async_client(server) as client:
        found: openai.AsyncOpenAI = client
        return [item.id or "" async for item in found.conversations.items.list(conversation_id, order="asc")]


async def test_what_was_announced_is_kept_by_a_kill_and_the_next_session_goes_on(tmp_path: Path) -> None:
    async with RealtimeUpstream() as provider:
        with Server(tmp_path, {"OPENAI_ENDPOINT": provider.url, "OPENAI_API_KEY": "sk-vendor"}) as server:
            async with sdk.async_client(server) as client:
                made = await client.conversations.create()
            device, said = Watching(), list[str]()
            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    group.start_soon(device.run, server, made.id)
                    group.start_soon(talk, server, made.id, said)
                    await device.enough.wait()
                    server.kill()
            server.start()
            kept = await items_of(server, made.id)
            assert len(device.announced) >= TURNS
            assert [item_id for item_id in kept if item_id in set(device.announced)] == list(
                dict.fromkeys(device.announced)
            )
            assert len(set(kept)) == len(kept)
            both = set(kept) & set(said)
            assert [each for each in kept if each in both] == [each for each in said if each in both]
            async with realtime(server, f"/v1/realtime?model=openai/realtime&conversation={made.id}") as client:
                await client.recv()
                await client.ask("Where were we?")
            given = [event["item"] for event in provider.sessions[-1].events if "item" in event]
            assert [item["id"] for item in given[:-1]] == kept
