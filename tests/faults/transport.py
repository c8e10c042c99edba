"""How a client of a fault run reaches any of the servers: SSE or the WebSocket for events, JSON for the rest."""

import json
import random
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
import msgspec

from chatbackend.adapters.wire.sse import SseReader
from tests.faults.history import Seen, Watch

RESPONSE_ID = "x-chatbackend-response-id"  # a create's, before the first byte of its body
CUT = (aiohttp.ClientError, OSError, TimeoutError)


class Refused(Exception):
    """The server answered with an error that is no sign of being down."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


@dataclass(slots=True)
class Target:
    """The servers under test, any of which may be asked; their addresses stay the same over restarts."""

    urls: Sequence[str]
    key: str
    model: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"authorization": f"Bearer {self.key}"}


@dataclass(slots=True)
class Asked:
    """A question, the server that is asked next, and the number of the last event that the client admits to have.

    `named` has every id that the head of an answer to it gave.
    """

    key: str
    watch: Watch
    conversation: str = ""
    steers: bool = False
    server: str = ""
    cursor: int | None = None
    named: set[str] = field(default_factory=set[str])

    def body(self, model: str) -> dict[str, object]:
        """Return the create."""
        where = {"conversation": self.conversation} if self.conversation else {}
        return {"model": model, "input": f"Question {self.key}", **where}


class Transport(Protocol):
    """A way to follow responses."""

    def any_server(self, chance: random.Random) -> str:
        """Choose a server."""
        ...

    def events(self, asked: Asked) -> AsyncGenerator[Seen, None]:
        """Create, or resume what is known. Raises: Refused, or one of CUT."""
        ...

    async def call(self, method: str, path: str, chance: random.Random, *, key: str = "") -> dict[str, Any]:
        """Ask any server for an object. Raises: Refused, or one of CUT."""
        ...


class Sse:
    """Over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, target: Target) -> None:
        self.session = session
        self.target = target

    def any_server(self, chance: random.Random) -> str:
        """See `Transport.any_server`."""
        return chance.choice(self.target.urls)

    async def call(self, method: str, path: str, chance: random.Random, *, key: str = "") -> dict[str, Any]:
        """See `Transport.call`."""
        once = {"idempotency-key": key} if key else {}
        headers = {**self.target.headers, **once}
        url = f"{self.any_server(chance)}{path}"
        async with self.session.request(method, url, json={} if key else None, headers=headers) as answer:
            return msgspec.json.decode(await _accepted(answer))

    async def events(self, asked: Asked) -> AsyncGenerator[Seen, None]:
        """See `Transport.events`."""
        base = f"{asked.server}/v1/responses"
        if asked.watch.response_id:
            query = urlencode({"stream": "true", "starting_after": asked.cursor})
            call = self.session.get(f"{base}/{asked.watch.response_id}?{query}", headers=self.target.headers)
        else:
            headers = {**self.target.headers, "idempotency-key": asked.key}
            call = self.session.post(base, json={**asked.body(self.target.model), "stream": True}, headers=headers)
        async with call as answer:
            if answer.status != 200:
                await _accepted(answer)
            asked.named |= {answer.headers[name] for name in (RESPONSE_ID,) if name in answer.headers}
            reader = SseReader()
            async for chunk in answer.content.iter_any():
                for event in reader.feed(chunk):
                    yield _seen(event.data)


class WebSocket(Sse):
    """Over the WebSocket, where events are concerned."""

    async def events(self, asked: Asked) -> AsyncGenerator[Seen, None]:
        """See `Transport.events`."""
        url = asked.server.replace("http", "ws", 1) + "/v1/responses"
        if asked.watch.response_id:
            url += "?" + urlencode({"resume": asked.watch.response_id, "starting_after": asked.cursor})
        async with self.session.ws_connect(url, headers=self.target.headers) as socket:
            if not asked.watch.response_id:
                extra = {"type": "response.create", "chatbackend": {"idempotency_key": asked.key}}
                await socket.send_str(json.dumps({**asked.body(self.target.model), **extra}))
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                event = _seen(message.data.encode())
                yield event
                if asked.steers and event.type == "response.output_text.delta":
                    asked.steers = False  # once, whatever becomes of it
                    await socket.send_str(json.dumps(_steer(asked)))


def _steer(asked: Asked) -> dict[str, str]:
    response_id, text = asked.watch.response_id, f"Steer {asked.key}"
    return {"type": "response.steer", "previous_response_id": response_id, "input": text}


async def _accepted(answer: aiohttp.ClientResponse) -> bytes:
    if answer.status == 503:
        raise aiohttp.ClientConnectionError
    if answer.status >= 300:
        raise Refused(answer.status, await answer.text())
    return await answer.read()


def _seen(data: bytes) -> Seen:
    event = msgspec.json.decode(data)
    if event["type"] == "error" and "sequence_number" not in event:
        status = event.get("status", 0)
        raise aiohttp.ClientConnectionError if status == 503 else Refused(status, data.decode())
    return Seen(event.get("sequence_number", -1), event["type"], data)
