"""The front of chats on scripted generations: what of its order a real provider cannot be made to show."""

from collections.abc import AsyncGenerator, MutableMapping
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.events import Finished, ModelEvent, ReasoningDelta, TextDelta
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.usage import Usage
from chatbackend.infra.web.chat_front import ChatFront
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.wire import EXTENSION
from chatbackend.usecases.generate import Generate
from tests.support.fakes import ME, FakeClock

pytestmark = pytest.mark.anyio


class Speech:
    """A generation that says these events."""

    def __init__(self, events: list[ModelEvent]) -> None:
        self.deployment = SimpleNamespace(name="claude/x")
        self.attempts = 1
        self.usage = Usage(1, 1)
        self._events = events

    async def events(self) -> AsyncGenerator[ModelEvent, None]:
        for event in self._events:
            yield event

    async def close(self) -> None:
        pass


async def asked(generate: object, told: list[bytes], **fields: object) -> None:
    """Ask for a stream and write down the data of its events."""
    sent: list[bytes] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> MutableMapping[str, Any]:
        raise AssertionError

    scope: dict[str, Any] = {
        "path": "/v1/chat/completions",
        "headers": [],
        "extensions": {EXTENSION: SimpleNamespace(on_gone=None, is_gone=False)},
    }
    request = Request(scope, receive, send, {}, ME, "req_1")
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **fields}
    front = ChatFront(cast(Generate, generate), FakeClock(), lambda prefix: f"{prefix}_1")
    try:
        await front.complete(request, msgspec.json.encode(body))
    finally:
        told += [line.removeprefix(b"data: ") for line in b"".join(sent).split(b"\n\n") if line.startswith(b"data: ")]


async def test_choices_begin_in_order_whichever_speaks_first() -> None:
    speeches = iter([Speech([ReasoningDelta(""), Finished("stop")]), Speech([TextDelta("Hi"), Finished("stop")])])

    async def generate(principal: Principal, request: ModelRequest) -> Speech:
        return next(speeches)

    told: list[bytes] = []
    await asked(generate, told, n=2)
    assert told.pop() == b"[DONE]"
    first, second, *_ = [msgspec.json.decode(line) for line in told]
    assert [chunk["choices"][0]["index"] for chunk in (first, second)] == [0, 1]
    assert [chunk["choices"][0]["delta"] for chunk in (first, second)] == [
        {"role": "assistant", "content": None, "refusal": None}
    ] * 2


async def test_a_refusal_of_the_request_keeps_what_it_is_about() -> None:
    async def generate(principal: Principal, request: ModelRequest) -> Speech:
        raise InvalidRequest("No images.", param="input", code="unsupported_by_model")

    with pytest.raises(InvalidRequest) as refused:
        await asked(generate, [])
    assert (refused.value.param, refused.value.code) == ("messages", "unsupported_by_model")


@pytest.mark.parametrize("choices", [1, 2])
async def test_a_fault_of_ours_ends_the_stream_with_an_error_too_and_is_raised(choices: int) -> None:
    async def generate(principal: Principal, request: ModelRequest) -> Speech:
        return Speech([TextDelta("Hi"), cast(ModelEvent, None)])

    told: list[bytes] = []
    with pytest.raises((AssertionError, ExceptionGroup)):
        await asked(generate, told, n=choices)
    assert msgspec.json.decode(told[-1])["error"]["code"] == "server_error"
