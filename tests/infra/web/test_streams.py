"""A stream of events to one client: its head, its silence, its end."""

from collections.abc import MutableMapping
from typing import Any

import anyio
import pytest

from chatbackend.domain.identity import Principal
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.streams import EventStream

pytestmark = pytest.mark.anyio

SILENCE_S = 0.05


class Client:
    """What a client hears; `stuck`: it reads nothing."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.over = False
        self.sends = 0
        self.stuck = anyio.Event()
        self.stuck.set()
        self.pinged = anyio.Event()

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sends += 1
        await self.stuck.wait()
        if message["type"] == "http.response.body":
            self.heard.append(message["body"])
            self.over = not message.get("more_body", False)
            if message["body"].startswith(b":"):
                self.pinged.set()

    def request(self) -> Request:
        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.disconnect"}

        return Request(
            {"path": "/v1/chat/completions", "headers": []},
            receive,
            self.send,
            {},
            Principal("t", "a", "a", "k"),
            "req_1",
        )


async def test_silence_is_filled_with_comments_until_the_end() -> None:
    client = Client()
    async with EventStream(client.request(), silence_s=SILENCE_S) as stream:
        await stream.send(b"data: 1\n\n")
        for _ in range(2):
            client.pinged = anyio.Event()
            with anyio.fail_after(5):
                await client.pinged.wait()
        await stream.end(b"data: 2\n\n")
    assert client.heard[0] == b"data: 1\n\n"
    assert client.heard[-1] == b"data: 2\n\n"
    assert set(client.heard[1:-1]) == {b": ping\n\n"}
    assert client.over


async def test_nothing_follows_the_end() -> None:
    client = Client()
    async with EventStream(client.request(), silence_s=SILENCE_S) as stream:
        await stream.end()
        with anyio.move_on_after(SILENCE_S * 4):
            await client.pinged.wait()
    assert client.heard == [b""]


async def test_a_client_that_reads_nothing_is_pinged_once() -> None:
    client = Client()
    async with EventStream(client.request(), silence_s=SILENCE_S):
        client.stuck = anyio.Event()
        with anyio.move_on_after(SILENCE_S * 6):
            await client.pinged.wait()
        assert client.sends == 2, "the head, and one comment that waits"
    assert not client.over, "left without an end, the client sees that it was cut off"
