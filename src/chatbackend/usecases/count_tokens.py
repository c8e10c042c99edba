"""Say what a request would cost to read: exactly, where its provider tells, else by an estimate."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import anyio.to_thread

from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    Part,
    text_of,
)
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.responses import Ask
from chatbackend.domain.routing import Route
from chatbackend.domain.tokens import estimate_tokens
from chatbackend.usecases.ports import Api, Deployment, Models
from chatbackend.usecases.prepare_request import PrepareRequest

IMAGE_TOKENS = 1_000  # about what a photograph costs at most families
CHARACTERS_OF_FILE = 16  # base64 characters of a document for a token of it
MESSAGE_TOKENS = 4  # what marks who says what


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens go in, and who would read them; `estimated` where nobody who knows was asked."""

    tokens: int
    deployment: str
    estimated: bool = False


class CountTokens:
    """Counts for the deployment of a route that would be asked first."""

    def __init__(self, models: Models, prepare: PrepareRequest) -> None:
        self._models = models
        self._prepare = prepare

    async def __call__(self, principal: Principal, request: ModelRequest) -> Count:
        """Return the count; a provider that does not tell makes it an estimate.

        Raises: NotFound (model, file), InvalidRequest for what the model cannot take.
        """
        route = self._models.route(request.model)
        deployment = self._first(route)
        return await _count(await self._prepare.shaped(request, principal, deployment), route, deployment)

    async def of_ask(self, principal: Principal, ask: Ask, items: list[Item]) -> Count:
        """Return the count for a response to `items`, the whole context; see `__call__`."""
        route = self._models.route(ask.model)
        deployment = self._first(route)
        request = await self._prepare(ask, principal, items=items, passages=[], deployment=deployment)
        return await _count(request, route, deployment)

    def passes(self, route: Route, api: Api) -> bool:
        """Whether the provider of a route counts requests of an API as they are."""
        deployment = self._first(route)
        return deployment.counter is not None and api in deployment.relays

    async def of_body(self, route: Route, body: Callable[[str], bytes], headers: Mapping[str, str]) -> Count:
        """Return the count of a request that `passes`; `body` makes its bytes for the provider's name of the model.

        Raises: UpstreamError (and below).
        """
        deployment = self._first(route)
        if deployment.counter is None:
            raise UpstreamError("This provider does not count tokens.")
        tokens = await deployment.counter.of_body(body(deployment.upstream_name), route.rules.timeouts, headers)
        return Count(tokens, deployment.name)

    def _first(self, route: Route) -> Deployment:
        return self._models.find(route.targets[0].deployment)


async def _count(request: ModelRequest, route: Route, deployment: Deployment) -> Count:
    if deployment.counter is not None:
        with suppress(UpstreamError):
            return Count(await deployment.counter(request, route.rules.timeouts), deployment.name)
    tokens = await anyio.to_thread.run_sync(estimated, request)
    return Count(tokens, deployment.name, estimated=True)


def estimated(request: ModelRequest) -> int:
    """Return about how many tokens a request has, its tools included."""
    tools = [f"{tool.name} {tool.description or ''} {tool.parameters or ''}" for tool in request.tools]
    texts = chain([request.instructions or ""], tools, map(_text, request.items))
    parts = [part for item in request.items for part in _parts(item)]
    turns = len(request.items) * MESSAGE_TOKENS
    return turns + sum(map(estimate_tokens, texts)) + sum(map(_weight, parts))


def _text(item: Item) -> str:
    match item:
        case FunctionCall(name=name, arguments=arguments):
            return f"{name} {arguments}"
        case FunctionCallOutput(output=str(text)):
            return text
        case FunctionCallOutput(output=parts):
            return "\n".join(part.text for part in parts if isinstance(part, InputText))
        case _:
            return text_of(item)


def _parts(item: Item) -> list[Part]:
    if isinstance(item, Message):
        return item.content
    if isinstance(item, FunctionCallOutput) and not isinstance(item.output, str):
        return [*item.output]
    return []


def _weight(part: Part) -> int:
    match part:
        case InputImage():
            return IMAGE_TOKENS
        case InputFile(file_data=str(data)):
            return len(data) // CHARACTERS_OF_FILE
        case _:
            return 0
