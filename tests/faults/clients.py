"""Chat clients that never give up: they create with a key, follow, and resume with their cursor after every cut."""

import json
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import urlencode

import aiohttp
import anyio
import msgspec

from chatbackend.adapters.wire.sse import SseReader
from tests.faults.history import TERMINAL, History, Seen, Watch

CUT = (aiohttp.ClientError, OSError, TimeoutError)
RETRY_S = 0.05
HURRIED = 0.25  # the share of asks that are given up at once, perhaps before the answer came, and made again


class Refused(Exception):
    """The server answered with an error that is no sign of being down."""


@dataclass(slots=True)
class Target:
    """The servers under test, any of which may be asked; their addresses stay the same over restarts."""

    urls: Sequence[str]
    key: str
    model: str
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = {"authorization": f"Bearer {self.key}"}


class Client:
    """One client. `transport` is `sse` or `ws`; `chance` decides where it hangs up by itself."""

    def __init__(
        self, session: aiohttp.ClientSession, target: Target, history: History, *, transport: str, seed: int
    ) -> None:
        self._session = session
        self._target = target
        self._history = history
        self._connect = self._over_sse if transport == "sse" else self._over_socket
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret

    async def turn(self, key: str) -> None:
        """Ask once under an idempotency key and see it through to the terminal event."""
        watch = Watch(key, "")
        self._history.watches.append(watch)
        while not watch.events or watch.events[-1].type not in TERMINAL:
            patience = self._chance.randint(1, 400)  # events until it hangs up of its own will
            hurry_s = None if watch.events or self._chance.random() > HURRIED else self._chance.uniform(0.005, 0.05)
            try:
                with anyio.move_on_after(hurry_s):
                    await self._listen(key, watch, patience)
            except Refused as error:
                self._history.refused.append(f"{watch.response_id or key}: {error}")
                return
            except CUT:
                await anyio.sleep(RETRY_S)

    async def _listen(self, key: str, watch: Watch, patience: int) -> None:
        async with aclosing(self._connect(key, watch)) as events:
            async for event in events:
                self._take(watch, event)
                patience -= 1
                if event.type in TERMINAL or patience == 0:
                    return

    def _take(self, watch: Watch, event: Seen) -> None:
        if not watch.response_id:
            watch.response_id = msgspec.json.decode(event.data)["response"]["id"]
        if event.type == "response.created":
            self._history.acknowledged[watch.key].add(msgspec.json.decode(event.data)["response"]["id"])
        watch.events.append(event)

    def _request(self, key: str) -> dict[str, object]:
        return {"model": self._target.model, "input": f"Question {key}"}

    async def _over_sse(self, key: str, watch: Watch) -> AsyncGenerator[Seen, None]:
        """Create, or resume what is known, over HTTP."""
        base = f"{self._chance.choice(self._target.urls)}/v1/responses"
        if watch.response_id:
            query = urlencode({"stream": "true", "starting_after": watch.events[-1].number})
            call = self._session.get(f"{base}/{watch.response_id}?{query}", headers=self._target.headers)
        else:
            headers = {**self._target.headers, "idempotency-key": key}
            call = self._session.post(base, json={**self._request(key), "stream": True}, headers=headers)
        async with call as answer:
            if answer.status == 503:
                raise aiohttp.ClientConnectionError
            if answer.status != 200:
                raise Refused(f"{answer.status} {await answer.text()}")
            reader = SseReader()
            async for chunk in answer.content.iter_any():
                for event in reader.feed(chunk):
                    yield _seen(event.data)

    async def _over_socket(self, key: str, watch: Watch) -> AsyncGenerator[Seen, None]:
        """Create, or resume what is known, over a WebSocket."""
        url = self._chance.choice(self._target.urls).replace("http", "ws", 1) + "/v1/responses"
        if watch.response_id:
            url += "?" + urlencode({"resume": watch.response_id, "starting_after": watch.events[-1].number})
        async with self._session.ws_connect(url, headers=self._target.headers) as socket:
            if not watch.response_id:
                extra = {"type": "response.create", "chatbackend": {"idempotency_key": key}}
                await socket.send_str(json.dumps({**self._request(key), **extra}))
            async for message in socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                data = message.data.encode()
                said = msgspec.json.decode(data)
                if said["type"] == "error":
                    raise aiohttp.ClientConnectionError if said.get("status") == 503 else Refused(message.data)
                yield _seen(data)


def _seen(data: bytes) -> Seen:
    event = msgspec.json.decode(data)
    if "sequence_number" not in event:
        raise Refused(data.decode())
    return Seen(event["sequence_number"], event["type"], data)
