"""`POST /v1/messages`: Anthropic's dialect over any provider; to its own it is relayed."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api.messages import reading
from chatbackend.adapters.api.messages.blocks import Json
from chatbackend.adapters.api.messages.marks import is_claudes
from chatbackend.adapters.api.messages.writing import PING, MessageWriter
from chatbackend.adapters.wire import messages_relay, sse
from chatbackend.domain.context import characters
from chatbackend.domain.errors import ChatError, Internal
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN, Usage, estimate
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Request, decode_object, encode
from chatbackend.infra.web.relayed import send_relayed
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import EventStream, Watch
from chatbackend.infra.web.token_counts import renaming, said
from chatbackend.usecases.generate import Generate, Generation
from chatbackend.usecases.ports import Models, NewId
from chatbackend.usecases.relay_chat import ChatRequest, RelayChat

PATH = "/v1/messages"


class MessageRoutes:
    """The Messages front: requests to providers of the dialect are relayed, any other is translated."""

    def __init__(
        self, models: Models, relay: RelayChat, generate: Generate, *, new_id: NewId, max_body_bytes: int
    ) -> None:
        self._models = models
        self._relay = relay
        self._generate = generate
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", PATH, self.create)]

    async def create(self, request: Request) -> None:
        """Answer a conversation with a message, or with its events."""
        body = await request.body(self._max_body_bytes)
        asked = messages_relay.asked(body)
        relays = self._relay.takes(self._models.route(asked.model)) and is_claudes(body)
        with Watch(request):
            await (self._pass_on(request, body, asked) if relays else self._translate(request, body))

    async def _pass_on(self, request: Request, body: bytes, asked: messages_relay.Asked) -> None:
        """Relay the bytes of a provider that speaks the dialect, with all that only it knows."""
        streamed = asked.stream is True
        passed_on = ChatRequest(
            renaming(body),
            lambda: messages_relay.Account(len(body), streamed=streamed),
            stream=streamed,
            input_tokens=len(body) // CHARACTERS_PER_TOKEN,
            headers=said(request.headers),
        )
        relayed, attempts = await self._relay(request.principal, self._models.route(asked.model), passed_on)
        told = partial(_error, request_id=request.request_id)
        await send_relayed(request, relayed, attempts, stream=streamed, told=told)

    async def _translate(self, request: Request, body: bytes) -> None:
        asked = reading.read(decode_object(body))
        generation = await self._generate(request.principal, asked)
        request.answered[DEPLOYMENT] = generation.deployment.name
        request.answered[ATTEMPTS] = str(generation.attempts)
        writer = MessageWriter(self._new_id("msg"), generation.deployment.name, _guess(asked))
        try:
            await (_stream if asked.stream else _whole)(request, generation, writer)
        finally:
            await generation.close()  # of an answer whose head could not be sent nothing was taken


def _guess(asked: ModelRequest) -> Usage:
    return estimate(characters(asked.items) + len(asked.instructions or ""), 0)


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
    return messages_relay.error_event(encode(wire_errors.anthropic_envelope(error, request_id)))
