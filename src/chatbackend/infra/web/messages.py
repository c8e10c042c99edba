"""`POST /v1/messages`: Anthropic's dialect over any provider."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api.messages import reading
from chatbackend.adapters.api.messages.blocks import Json
from chatbackend.adapters.api.messages.writing import PING, MessageWriter
from chatbackend.adapters.wire import sse
from chatbackend.domain.context import characters
from chatbackend.domain.errors import ChatError, Internal
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.usage import estimate
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Disconnected, Request, decode_object, encode
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import EventStream, Watch
from chatbackend.usecases.generate import Generate, Generation
from chatbackend.usecases.ports import NewId

PATH = "/v1/messages"


class MessageRoutes:
    """The Messages front."""

    def __init__(self, generate: Generate, *, new_id: NewId, max_body_bytes: int) -> None:
        self._generate = generate
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", PATH, self.create)]

    async def create(self, request: Request) -> None:
        """Answer a conversation with a message, or with its events."""
        asked = reading.read(decode_object(await request.body(self._max_body_bytes)))
        watch = Watch(request)
        try:
            await self._answer(request, asked)
        except asyncio.CancelledError:
            if watch.gone:
                raise Disconnected from None
            raise
        finally:
            watch.close()

    async def _answer(self, request: Request, asked: ModelRequest) -> None:
        generation = await self._generate(request.principal, asked)
        request.answered[DEPLOYMENT] = generation.deployment.name
        request.answered[ATTEMPTS] = str(generation.attempts)
        guess = estimate(characters(asked.items) + len(asked.instructions or ""), 0)
        writer = MessageWriter(self._new_id("msg"), generation.deployment.name, guess)
        await (_stream if asked.stream else _whole)(request, generation, writer)


async def _whole(request: Request, generation: Generation, writer: MessageWriter) -> None:
    async with aclosing(_written(generation, writer)) as events:
        async for _ in events:
            pass
    await request.answer_json(writer.message())


async def _stream(request: Request, generation: Generation, writer: MessageWriter) -> None:
    """Send the events. An error is the last of them, and no `message_stop` follows."""
    async with EventStream(request, ping=_encoded([PING])) as stream:
        try:
            async with aclosing(_written(generation, writer)) as events:
                async for told in events:
                    await stream.send(_encoded(told))
        except ChatError as error:
            return await stream.end(_error(error, request.request_id))
        except Exception:
            await stream.end(_error(Internal("The server failed on this answer."), request.request_id))
            raise
        return await stream.end()


async def _written(generation: Generation, writer: MessageWriter) -> AsyncGenerator[list[Json], None]:
    """Yield the message's events as the model's arrive."""
    async with aclosing(generation.events()) as events:
        async for event in events:
            if told := writer.feed(event):
                yield told
    yield writer.end(generation.usage)


def _encoded(events: Iterable[Json]) -> bytes:
    return b"".join([sse.encode(event["type"], encode(event)) for event in events])


def _error(error: ChatError, request_id: str) -> bytes:
    return sse.encode("error", encode(wire_errors.anthropic_envelope(error, request_id)))
