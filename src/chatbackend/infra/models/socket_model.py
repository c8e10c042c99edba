"""A model behind WebSockets of the Responses API: the turns of a loop go on where their predecessors ran."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.providers.responses.turn import AskAnew, Context, SocketTurn
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.credentials import Credential
from chatbackend.infra.models.http_relay import FOREIGN, translate
from chatbackend.infra.models.socket_pool import SocketPool
from chatbackend.infra.models.upstream_socket import Address, RefusedUpgrade, UpstreamSocket, address
from chatbackend.usecases.ports import Model

# Answers to a handshake that say something about us or the hour; any other says that nobody speaks WebSocket there.
_TELLING = frozenset((401, 402, 403, 429, 500, 502, 503, 504, 529))
_PATH = "/responses"


class SocketModel:
    """`Model` over a pool of sockets; `http` answers what no socket can: whole answers, those in the background."""

    def __init__(
        self,
        pool: SocketPool,
        http: Model,
        *,
        url: Callable[[str], str],
        codec: ResponsesCodec,
        credential: Credential,
    ) -> None:
        self._pool = pool
        self._http = http
        self._url = url
        self._codec = codec
        self._credential = credential
        self._to: Address | None = None

    @property
    def profile(self) -> ModelProfile:
        """The facts that requests are shaped by."""
        return self._codec.profile

    def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
        """See `Model.stream`."""
        if request.background or not request.stream:
            return self._http.stream(request, timeouts)
        return self._events(request, self._codec.turn(request), timeouts)

    async def _events(
        self, request: ModelRequest, turn: SocketTurn, timeouts: Timeouts
    ) -> AsyncGenerator[ModelEvent, None]:
        for last in (False, True):
            socket = await self._take(None if last else turn.context, timeouts)
            events = self._http.stream(request, timeouts) if socket is None else self._asked(socket, turn, timeouts)
            try:
                async with aclosing(events):
                    async for event in events:
                        yield event
            except AskAnew as refusal:
                if last:
                    raise refusal.error from refusal
            else:
                return

    async def _asked(
        self, socket: UpstreamSocket, turn: SocketTurn, timeouts: Timeouts
    ) -> AsyncGenerator[ModelEvent, None]:
        """Ask on this socket, which is fit for another turn only after an answer in good order. Raises: AskAnew."""
        whole = False
        try:
            socket.send(turn.create(socket.memory))
            wait_s = timeouts.first_byte_s
            while not turn.done:
                for message in await _read(socket, wait_s):
                    for event in turn.feed(message):
                        yield event
                wait_s = timeouts.between_s
            for event in turn.end():
                yield event
            whole = turn.in_order
        finally:
            if whole:
                self._pool.release(socket, turn.memory())
            else:
                self._pool.discard(socket)

    async def _take(self, context: Context | None, timeouts: Timeouts) -> UpstreamSocket | None:
        """Return a socket, None where HTTP has to do. Raises: UpstreamError (and below)."""
        to = await self._address()
        try:
            return await self._pool.take(to, context, timeouts.connect_s)
        except RefusedUpgrade as refusal:
            if refusal.status in _TELLING:
                raise self._codec.error(refusal.status, refusal.headers, refusal.body) from refusal
            self._pool.refuse(to)
            return None
        except FOREIGN as error:
            raise translate(error) from error

    async def _address(self) -> Address:
        """Return the address with the credential of now; another one shares no socket with it."""
        proof = await self._credential()
        if self._to is None or self._to.headers is not proof:
            try:
                self._to = address(self._url(_PATH), proof)
            except ValueError as error:
                raise UpstreamError("The call of the provider failed.") from error
        return self._to


async def _read(socket: UpstreamSocket, wait_s: float) -> list[bytes]:
    try:
        async with asyncio.timeout(wait_s):
            return await socket.read()
    except FOREIGN as error:
        raise translate(error) from error
