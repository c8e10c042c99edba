"""`POST /v1/chat/completions`: bytes in, bytes out, beside one ledger row."""

import asyncio
from contextlib import aclosing

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.wire import chat_relay
from chatbackend.domain.errors import InvalidRequest, UpstreamError
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Disconnected, Request, encode
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.ports import Models
from chatbackend.usecases.relay_chat import ChatRequest, RelayChat, Relayed

PATIENCE_S = 0.05


class ChatRoutes:
    """The Chat Completions front, for providers of the same dialect."""

    def __init__(self, models: Models, relay: RelayChat, *, max_body_bytes: int) -> None:
        self._models = models
        self._relay = relay
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", "/v1/chat/completions", self.complete)]

    async def complete(self, request: Request) -> None:
        """Answer a chat; the provider's bytes are passed on as they are."""
        body = await request.body(self._max_body_bytes)
        asked = chat_relay.asked(body)
        streamed = asked.stream is True
        route = self._models.route(asked.model)
        if not self._relay.takes(route):
            message = f"The model '{route.name}' is not served by /v1/chat/completions yet; use /v1/responses."
            raise InvalidRequest(message, param="model", code="unsupported_by_model")
        passed_on = ChatRequest(
            lambda name: body if name == asked.model else chat_relay.renamed(body, name),
            lambda: chat_relay.Account(len(body), streamed=streamed),
            stream=streamed,
        )
        watch = _Watch(request)
        try:
            relayed, attempts = await self._relay(request.principal, route, passed_on)
            request.answered[DEPLOYMENT] = relayed.call.model
            request.answered[ATTEMPTS] = str(attempts)
            await (_stream(request, relayed) if streamed else request.answer(200, relayed.body))
        except asyncio.CancelledError:
            if watch.gone:
                raise Disconnected from None
            raise
        finally:
            watch.close()


class _Watch:
    """Cancels its maker's task when the client goes away. It begins to look only once an answer takes its time.

    No cancel scope: most answers are there before one would have paid for itself.
    """

    def __init__(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self.gone = False
        self._request = request
        self._watched = asyncio.current_task(loop)
        self._looking: asyncio.Task[None] | None = None
        self._timer = loop.call_later(PATIENCE_S, self._start, loop)

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking = loop.create_task(self._look())

    async def _look(self) -> None:
        await self._request.receive()  # after the body, the next message can only be the disconnect
        if self._watched is not None:
            self.gone = True
            self._watched.cancel()


async def _stream(request: Request, relayed: Relayed) -> None:
    """Pass a stream on. An error inside it is its last event, and no end mark follows."""
    over = False
    kind = relayed.content_type.encode("latin-1", "replace")
    await request.start(200, [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")])
    try:
        async with aclosing(relayed.chunks()) as chunks:
            async for chunk in chunks:
                over = relayed.over
                await request.send({"type": "http.response.body", "body": chunk, "more_body": not over})
    except UpstreamError as error:
        event = chat_relay.error_event(encode(wire_errors.envelope(error)))
        await request.send({"type": "http.response.body", "body": event, "more_body": True})
    if not over:
        await request.send({"type": "http.response.body", "body": b""})
