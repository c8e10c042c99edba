"""`POST /v1/chat/completions` over providers of any dialect: read, generate, write."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import reduce
from operator import add

import anyio

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.api.chat.completion import Chunks, WholeChoice, completion_object
from chatbackend.adapters.api.chat.deltas import Choice
from chatbackend.adapters.api.chat.request import ChatAsk, field_of, read
from chatbackend.adapters.wire.chat_relay import error_event
from chatbackend.domain.errors import ChatError, Internal, InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.usage import Usage
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Request, decode_object, encode
from chatbackend.infra.web.streams import EventStream, Watch
from chatbackend.usecases.generate import Generate, Generation
from chatbackend.usecases.ports import Clock, NewId


class ChatFront:
    """Answers chats. Nothing is stored; of several choices each is a generation of its own."""

    def __init__(self, generate: Generate, clock: Clock, new_id: NewId) -> None:
        self._generate = generate
        self._clock = clock
        self._new_id = new_id

    async def complete(self, request: Request, body: bytes) -> None:
        """Answer a request whose body was read."""
        ask = read(decode_object(body))
        with Watch(request):
            async with self._begun(request.principal, ask) as generations:
                request.answered[DEPLOYMENT] = generations[0].deployment.name
                request.answered[ATTEMPTS] = str(sum(each.attempts for each in generations))
                await (self._stream if ask.stream else self._answer)(request, ask, generations)

    @asynccontextmanager
    async def _begun(self, principal: Principal, ask: ChatAsk) -> AsyncGenerator[Sequence[Generation], None]:
        """Begin every choice; however they end, they are closed. Raises: what the first that fails raises."""
        begun: dict[int, Generation] = {}

        async def begin(index: int) -> None:
            begun[index] = await self._generate(principal, ask.request)

        try:
            await _together(begin, ask.choices)
            yield [begun[index] for index in range(ask.choices)]
        except InvalidRequest as error:
            error.param = field_of(error.param)
            raise
        finally:
            for generation in begun.values():
                await generation.close()

    async def _answer(self, request: Request, ask: ChatAsk, generations: Sequence[Generation]) -> None:
        wholes = [WholeChoice(index) for index in range(ask.choices)]

        async def collect(index: int) -> None:
            choice = Choice(index, legacy=ask.legacy)
            async with aclosing(generations[index].events()) as events:
                async for event in events:
                    if (new := choice.feed(event)) is not None:
                        wholes[index].add(new)

        await _together(collect, ask.choices)
        created, model = int(self._clock.now()), generations[0].deployment.name
        answer_id, usage = self._answer_id(), _usage(generations)
        await request.answer_json(completion_object(answer_id, wholes, usage, created=created, model=model))

    async def _stream(self, request: Request, ask: ChatAsk, generations: Sequence[Generation]) -> None:
        chunks = Chunks(
            self._answer_id(),
            created=int(self._clock.now()),
            model=generations[0].deployment.name,
            include_usage=ask.include_usage,
        )
        choices = [Choice(index, legacy=ask.legacy) for index in range(ask.choices)]
        async with EventStream(request) as stream:
            if len(choices) > 1:  # clients expect the choices to begin in order
                await stream.send(b"".join([chunks.event(choice.begin()) for choice in choices]))

            async def send(index: int) -> None:
                async with aclosing(generations[index].events()) as events:
                    async for event in events:
                        if (new := choices[index].feed(event)) is not None:
                            await stream.send(chunks.event(new))

            try:
                await _together(send, ask.choices)
                last = chunks.end(_usage(generations))
            except ChatError as error:
                last = _error(error)
            except Exception:
                await stream.end(_error(Internal("The server failed on this answer.")))
                raise
            await stream.end(last)

    def _answer_id(self) -> str:
        return self._new_id("chatcmpl").replace("_", "-")


async def _together(work: Callable[[int], Awaitable[None]], count: int) -> None:
    """Do a work for each choice at once; the first error ends the others. Raises: ChatError, that one alone."""
    if count == 1:
        return await work(0)
    failed: list[ChatError] = []

    async def one(index: int) -> None:
        try:
            await work(index)
        except ChatError as error:
            failed.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for index in range(count):
            group.start_soon(one, index)
    if failed:
        raise failed[0]
    return None


def _error(error: ChatError) -> bytes:
    return error_event(encode(wire_errors.envelope(error)))


def _usage(generations: Sequence[Generation]) -> Usage:
    return reduce(add, [generation.usage or Usage(estimated=True) for generation in generations])
