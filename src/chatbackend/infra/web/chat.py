"""`POST /v1/chat/completions`: bytes in, bytes out, beside one ledger row."""

import asyncio
from contextlib import aclosing

import anyio

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.wire import chat_relay
from chatbackend.domain.errors import UpstreamError
from chatbackend.infra.web.http import Disconnected, Request, encode
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.relay_chat import RelayChat, Relayed

PATIENCE_S = 0.05


class ChatRoutes:
    """The Chat Completions front, for providers of the same dialect."""

    def __init__(self, relay: RelayChat, *, max_body_bytes: int) -> None:
        self._relay = relay
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", "/v1/chat/completions", self.complete)]

    async def complete(self, request: Request) -> None:
        """Answer a chat; the provider's bytes are passed on as they are."""
        body = await request.body(self._max_body_bytes)
        asked = chat_relay.asked(body)
        account = chat_relay.Account(len(body), streamed=asked.stream is True)
        with anyio.CancelScope() as scope:
            watch = _Watch(request, scope)
            try:
                relayed = await self._relay(
                    request.principal,
                    asked.model,
                    lambda name: body if name == asked.model else chat_relay.renamed(body, name),
                    stream=asked.stream is True,
                    account=account,
                )
                await (_stream(request, relayed) if asked.stream else _whole(request, relayed))
            finally:
                watch.close()
        if scope.cancelled_caught:
            raise Disconnected


class _Watch:
    """Cancels a scope when the client goes away. It begins to look only once an answer takes its time."""

    def __init__(self, request: Request, scope: anyio.CancelScope) -> None:
        self._request = request
        self._scope = scope
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._start)

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        await self._request.receive()  # after the body, the next message can only be the disconnect
        self._scope.cancel()


async def _whole(request: Request, relayed: Relayed) -> None:
    pieces: list[bytes] = []
    async with aclosing(relayed.chunks()) as chunks:
        async for chunk in chunks:
            pieces.append(chunk)
    await request.answer(200, b"".join(pieces))


async def _stream(request: Request, relayed: Relayed) -> None:
    """Pass a stream on. An error inside it is its last event, and no end mark follows."""
    kind = relayed.content_type.encode("latin-1", "replace")
    await request.start(200, [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")])
    try:
        async with aclosing(relayed.chunks()) as chunks:
            async for chunk in chunks:
                await request.send({"type": "http.response.body", "body": chunk, "more_body": True})
    except UpstreamError as error:
        event = chat_relay.error_event(encode(wire_errors.envelope(error)))
        await request.send({"type": "http.response.body", "body": event, "more_body": True})
    await request.send({"type": "http.response.body", "body": b""})
