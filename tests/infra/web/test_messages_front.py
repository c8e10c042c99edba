"""The front of messages on a scripted generation: what of its order a real client cannot be made to show."""

from collections.abc import AsyncGenerator, MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chatbackend.domain.events import Finished, ModelEvent, TextDelta
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.routing import Route, Target
from chatbackend.domain.usage import Usage
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.messages import MessageRoutes
from chatbackend.infra.web.wire import EXTENSION
from chatbackend.usecases.generate import Generate
from chatbackend.usecases.ports import Models
from chatbackend.usecases.relay_chat import RelayChat
from tests.support.fakes import ME

pytestmark = pytest.mark.anyio


class Speech:
    """A generation that notes whether it was closed."""

    attempts = 1
    usage = Usage(1, 1)
    deployment = SimpleNamespace(name="claude/x")
    closed = False

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        yield TextDelta("Hi")
        yield Finished("stop")

    async def close(self) -> None:
        self.closed = True


def route(name: str) -> Route:
    return Route(name, ((Target(name),),))


def takes(_: Route) -> bool:
    return False


async def test_an_answer_whose_head_cannot_be_sent_is_hung_up_on() -> None:
    speech = Speech()
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "hi"}]}

    async def generate(principal: Principal, request: ModelRequest) -> Speech:
        return speech

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": msgspec.json.encode(body)}

    async def send(message: MutableMapping[str, Any]) -> None:
        raise ConnectionError

    routes = MessageRoutes(
        cast(Models, SimpleNamespace(route=route)),
        cast(RelayChat, SimpleNamespace(takes=takes)),
        cast(Generate, generate),
        new_id=lambda prefix: f"{prefix}_1",
        max_body_bytes=9999,
    )
    scope: dict[str, Any] = {
        "path": "/v1/messages",
        "headers": [],
        "extensions": {EXTENSION: SimpleNamespace(on_gone=None, is_gone=False)},
    }
    with pytest.raises(ConnectionError):
        await routes.create(Request(scope, receive, send, {}, ME, "req_1"))
    assert speech.closed
