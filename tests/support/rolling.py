"""A steady load of clients of every kind while servers behind nginx are stopped and started in turn, and what they saw.

    .venv/bin/python -m tests.support.rolling --rounds 5 --clients 40

Clients do what clients are told to: an `Idempotency-Key` each, again with it where nothing was answered, and their
cursor where a stream was cut.
"""

import argparse
import json
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread

from tests.support.cluster import Cluster, Replica, cluster
from tests.support.front import front
from tests.support.upstream import Upstream

TOKENS = 30
MODEL = f"llama31/scripted-n{TOKENS}-d20"
DRAIN_S = "12"  # far above what an answer takes on a busy machine
BACK_OFF_S = 0.05
_TOKEN = re.compile(r"(\w+):(\d+)")
_ENDS = ("response.completed", "response.incomplete", "response.failed")


@dataclass(slots=True)
class Turn:
    """One question over a stream, through every connection that it takes."""

    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    response_id: str = ""
    last: int = -1
    text: str = ""
    end: str = ""
    fault: str = ""

    @property
    def query(self) -> str:
        """What resumes it on a socket; "" before it has begun."""
        return f"?resume={self.response_id}&starting_after={self.last}" if self.response_id else ""

    @property
    def create(self) -> dict[str, Any]:
        """What asks on a socket."""
        asked = {"model": MODEL, "input": "x", "chatbackend": {"idempotency_key": self.key}}
        return {"type": "response.create", **asked}

    def heard(self, event: dict[str, Any]) -> None:
        """Take an event in."""
        if event["sequence_number"] != self.last + 1:
            self.fault = f"event {event['sequence_number']} after {self.last}"
        self.last = event["sequence_number"]
        self.response_id = self.response_id or event["response"]["id"]
        if event["type"] == "response.output_text.delta":
            self.text += event["delta"]
        if event["type"] in _ENDS:
            self.end = event["type"]
            why = event["response"].get("incomplete_details")
            if self.end != "response.completed":
                self.fault = f"{self.response_id} ended with {self.end} at {self.last}: {why}"


class Load:
    """Clients of one address, and what they saw: whole answers by kind, cuts that they came back from, and faults."""

    def __init__(self, port: int, key: str) -> None:
        self._url = f"http://127.0.0.1:{port}/v1"
        self._headers = {"authorization": f"Bearer {key}"}
        self.stopping = False
        self.answered: Counter[str] = Counter()
        self.refused: list[str] = []
        self.faults: list[str] = []
        self.resumed = self.sent_again = 0

    @asynccontextmanager
    async def of(self, clients: int) -> AsyncGenerator[None, None]:
        """Keep up the load of so many clients; at the end each finishes what it has begun."""
        kinds: Sequence[Callable[[aiohttp.ClientSession], Awaitable[None]]] = (
            self._sse, self._socket, self._json, self._chat, self._messages,
        )  # fmt: skip
        async with aiohttp.ClientSession(headers=self._headers) as session, anyio.create_task_group() as group:
            for number in range(clients):
                group.start_soon(self._again_and_again, kinds[number % len(kinds)], session)
            yield
            self.stopping = True

    async def _again_and_again(
        self, client: Callable[[aiohttp.ClientSession], Awaitable[None]], session: aiohttp.ClientSession
    ) -> None:
        while not self.stopping:
            await client(session)

    async def _sse(self, session: aiohttp.ClientSession) -> None:
        turn = Turn()
        while not turn.end:
            try:
                async with self._stream(session, turn) as answer:
                    if await self._taken(answer):
                        async for line in answer.content:
                            if line.startswith(b"data: "):
                                turn.heard(json.loads(line[6:]))
            except aiohttp.ClientError:
                self._cut(turn)
        self._done("sse", turn)

    def _stream(self, session: aiohttp.ClientSession, turn: Turn) -> Any:  # noqa: ANN401  # aiohttp names its type privately
        if turn.response_id:
            return session.get(f"{self._url}/responses/{turn.response_id}?stream=true&starting_after={turn.last}")
        asked = {"model": MODEL, "input": "x", "stream": True}
        return session.post(f"{self._url}/responses", json=asked, headers={"idempotency-key": turn.key})

    async def _socket(self, session: aiohttp.ClientSession) -> None:
        """Ask one question after the other on one socket, as long as it stays."""
        turn = Turn()
        while not (self.stopping and turn.last < 0):
            try:
                async with session.ws_connect(f"{self._url}/responses{turn.query}") as socket:
                    turn = await self._on_socket(socket, turn)
            except aiohttp.WSServerHandshakeError as error:
                await self._refusal(error.status, "a handshake")
            except aiohttp.ClientError:
                continue
            if not self.stopping:
                self._cut(turn)

    async def _on_socket(self, socket: aiohttp.ClientWebSocketResponse, turn: Turn) -> Turn:
        """Return the question that is open when the socket has gone; a fresh one where none is."""
        if not turn.response_id:
            await socket.send_json(turn.create)
        async for message in socket:
            event = json.loads(message.data)
            if event["type"] == "error":
                self.refused.append(f"socket: {event['status']} {event['error']['code']}")
                return turn
            turn.heard(event)
            if turn.end:
                self._done("socket", turn)
                turn = Turn()
                if self.stopping:
                    return turn
                await socket.send_json(turn.create)
        return turn

    async def _json(self, session: aiohttp.ClientSession) -> None:
        asked = {"model": MODEL, "input": "x"}
        key = {"idempotency-key": str(uuid.uuid4())}
        body = await self._whole(session, "responses", asked, key)
        texts = [part["text"] for item in body["output"] for part in item["content"]]
        self._judge("json", "".join(texts), "" if body["status"] == "completed" else body["status"])

    async def _messages(self, session: aiohttp.ClientSession) -> None:
        asked = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "x"}]}
        body = await self._whole(session, "messages", asked, {})
        self._judge("messages", "".join(part["text"] for part in body["content"]), "")

    async def _whole(
        self, session: aiohttp.ClientSession, path: str, asked: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        while True:
            try:
                async with session.post(f"{self._url}/{path}", json=asked, headers=headers) as answer:
                    if await self._taken(answer):
                        body: dict[str, Any] = await answer.json()
                        return body
            except aiohttp.ClientError as error:
                self.faults.append(f"{path}: {error!r}")

    async def _chat(self, session: aiohttp.ClientSession) -> None:
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}
        text, ended = "", False
        try:
            async with session.post(f"{self._url}/chat/completions", json=asked) as answer:
                if not await self._taken(answer):
                    return
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        choices = json.loads(line[6:])["choices"]
                        text += choices[0]["delta"].get("content") or "" if choices else ""
                    ended = ended or line.startswith(b"data: [DONE]")
        except aiohttp.ClientError as error:
            self.faults.append(f"chat: {error!r}")
        self._judge("chat", text, "" if ended else "cut")

    async def _taken(self, answer: aiohttp.ClientResponse) -> bool:
        if answer.status != 200:
            await self._refusal(answer.status, f"{answer.method} {answer.url.path}")
        return answer.status == 200

    async def _refusal(self, status: int, what: str) -> None:
        self.refused.append(f"{what}: {status}")
        await anyio.sleep(BACK_OFF_S)

    def _cut(self, turn: Turn) -> None:
        self.resumed += turn.response_id != ""
        self.sent_again += turn.response_id == ""

    def _done(self, kind: str, turn: Turn) -> None:
        self._judge(kind, turn.text, turn.fault)

    def _judge(self, kind: str, text: str, fault: str) -> None:
        """Count an answer if it is whole: one generation, each word once and in order."""
        said = _TOKEN.findall(text)
        numbers = [int(number) for _, number in said]
        if fault or numbers != list(range(TOKENS)) or len({salt for salt, _ in said}) != 1:
            self.faults.append(f"{kind}: {fault or text}")
        else:
            self.answered[kind] += 1


async def roll(servers: Sequence[Replica], rounds: int) -> list[float]:
    """Stop and start each server in turn, so many times; return how long each was away."""
    away: list[float] = []
    for _ in range(rounds):
        for server in servers:
            began = time.monotonic()
            assert await anyio.to_thread.run_sync(server.stop) == 0
            await anyio.to_thread.run_sync(server.start)
            away.append(time.monotonic() - began)
    return away


def settings(upstream: str) -> dict[str, str]:
    """Return what the servers are started with."""
    return {"LLAMA31_ENDPOINT": upstream, "CHATBACKEND_LOG_LEVEL": "warning", "CHATBACKEND_DRAIN_S": DRAIN_S}


async def main(rounds: int, clients: int) -> int:
    """Run it and say what was seen; return how many faults there were."""
    async with Upstream() as upstream:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chatbackend-rolling-")))
            both: Cluster = await anyio.to_thread.run_sync(
                stack.enter_context, cluster(folder, settings(f"{upstream.url}"))
            )
            port = stack.enter_context(front(folder / "front", [each.port for each in both.servers]))
            load = Load(port, both.servers[0].key)
            async with load.of(clients):
                away = await roll(both.servers, rounds)
            await anyio.to_thread.run_sync(stack.close)
    print(
        f"{len(away)} restarts of {min(away):.1f} to {max(away):.1f} s under {clients} clients; whole answers: ", end=""
    )
    print(", ".join(f"{kind} {count}" for kind, count in sorted(load.answered.items())))
    print(f"cut and resumed: {load.resumed}; sent again: {load.sent_again}")
    print(f"refused: {len(load.refused)} {Counter(load.refused).most_common(3)}; other faults: {len(load.faults)}")
    print(*load.faults[:5], sep="\n")
    return len(load.faults) + len(load.refused)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=40)
    given = parser.parse_args()
    sys.exit(min(1, anyio.run(main, given.rounds, given.clients)))
