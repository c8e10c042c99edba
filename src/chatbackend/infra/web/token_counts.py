"""How many tokens a request has: `POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`."""

from collections.abc import Callable, Mapping

from chatbackend.adapters.api import responses
from chatbackend.adapters.api.checking import refuse_deep
from chatbackend.adapters.api.messages import reading
from chatbackend.adapters.api.messages.marks import is_claudes
from chatbackend.adapters.providers.claude import API_VERSION
from chatbackend.adapters.wire import messages_relay
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.responses import Ask, Response
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.web.http import DEPLOYMENT, Request, decode_object, encode
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import Watch
from chatbackend.usecases.count_tokens import Count, CountTokens
from chatbackend.usecases.ports import Models, NewId, Truth

ESTIMATED = "x-chatbackend-estimated"
_SAID = ("anthropic-version", "anthropic-beta")
_ALL_TURNS = 2**62


class TokenCountRoutes:
    """Counts, in the shapes of both APIs. An estimate says so in the header `x-chatbackend-estimated`."""

    def __init__(
        self,
        models: Models,
        count: CountTokens,
        *,
        truth: Truth,
        conversations: Conversations,
        new_id: NewId,
        max_body_bytes: int,
    ) -> None:
        self._models = models
        self._count = count
        self._truth = truth
        self._conversations = conversations
        self._new_id = new_id
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            ("POST", "/v1/messages/count_tokens", self.of_messages),
            ("POST", "/v1/responses/input_tokens", self.of_response),
        ]

    async def of_messages(self, request: Request) -> None:
        """Count the tokens of a conversation in Anthropic's dialect."""
        body = await request.body(self._max_body_bytes)
        with Watch(request):
            count = await self._of_messages(request, body)
        await _answer(request, count, {"input_tokens": count.tokens})

    async def of_response(self, request: Request) -> None:
        """Count the tokens of what a response would be made from, its conversation included."""
        wanted = responses.read(decode_object(await request.body(self._max_body_bytes)))
        ask = responses.ask(wanted, self._new_id)
        with Watch(request):
            items = [*await self._before(request.principal, ask), *ask.items]
            count = await self._count.of_ask(request.principal, ask, items)
        await _answer(request, count, {"object": "response.input_tokens", "input_tokens": count.tokens})

    async def _of_messages(self, request: Request, body: bytes) -> Count:
        asked = messages_relay.asked(body)
        route = self._models.route(asked.model)
        if self._count.passes(route, "messages") and is_claudes(body):
            return await self._count.of_body(route, renaming(body), said(request.headers))
        return await self._count(request.principal, reading.read_count(decode_object(body)))

    async def _before(self, principal: Principal, ask: Ask) -> list[Item]:
        """Return the items that precede the input."""
        asking = Response("", principal, ask.model, 0, previous_response_id=ask.previous_response_id)
        if ask.conversation_id is not None:
            await self._conversations.get(principal, ask.conversation_id)
            asking.conversation_id, asking.turn = ask.conversation_id, _ALL_TURNS
        elif ask.previous_response_id is None:
            return []
        elif await self._truth.get(principal, ask.previous_response_id) is None:
            message = f"Previous response with id '{ask.previous_response_id}' not found."
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")
        return await self._truth.context(asking)


def said(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers in which a client tells which version, and which betas, of Anthropic's API it speaks."""
    return {"anthropic-version": API_VERSION} | {name: headers[name] for name in _SAID if name in headers}


def renaming(body: bytes) -> Callable[[str], bytes]:
    """Return what makes a request's bytes for a provider's name of the model, otherwise as it is.

    Raises: InvalidRequest for what is no JSON object.
    """
    fields = decode_object(body)
    refuse_deep(fields)
    return lambda name: encode({**fields, "model": name})


async def _answer(request: Request, count: Count, shown: dict[str, object]) -> None:
    request.answered[DEPLOYMENT] = count.deployment
    if count.estimated:
        request.answered[ESTIMATED] = "true"
    await request.answer_json(shown)
