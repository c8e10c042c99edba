"""Tokens are counted by whoever would answer, or estimated."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.items import (
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputText,
    Item,
    Message,
    Reasoning,
)
from chatbackend.domain.models import FunctionTool, ModelProfile, ModelRequest
from chatbackend.domain.responses import Ask
from chatbackend.domain.routing import Timeouts
from chatbackend.usecases.count_tokens import IMAGE_TOKENS, MESSAGE_TOKENS, Count, CountTokens, estimated
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.prepare_request import PrepareRequest
from tests.support.fakes import ME, FakeAttachments, FakeModel, FakeModels

pytestmark = pytest.mark.anyio
HELLO: list[Item] = [Message("m", "user", [InputText("hello you")])]


class Counter:
    """A provider that knows, or fails."""

    def __init__(self, error: UpstreamError | None = None) -> None:
        self.asked: list[str | bytes] = []
        self._error = error

    async def __call__(self, request: ModelRequest, timeouts: Timeouts) -> int:
        self.asked.append(request.model)
        if self._error is not None:
            raise self._error
        return 42

    async def of_body(self, body: bytes, timeouts: Timeouts, headers: Mapping[str, str]) -> int:
        self.asked.append(body)
        return 43


class Counted(FakeModels):
    """One model whose provider counts, if `counter` is given."""

    def __init__(self, counter: Counter | None) -> None:
        super().__init__(FakeModel([], ModelProfile()))
        self._counter = counter

    def find(self, name: str) -> Deployment:
        return replace(super().find(name), counter=self._counter)

    def names(self) -> list[str]:
        return []


def counting(counter: Counter | None) -> CountTokens:
    return CountTokens(Counted(counter), PrepareRequest(FakeAttachments()))


async def test_who_would_answer_is_asked() -> None:
    counter = Counter()
    count = counting(counter)
    assert await count(ME, ModelRequest("m", HELLO)) == Count(42, "provider/m")
    assert await count.of_ask(ME, Ask("m", HELLO, b"", {}), HELLO) == Count(42, "provider/m")
    assert await count.of_body(Counted(counter).route("m"), str.encode, {}) == Count(43, "provider/m")
    assert counter.asked == ["upstream-m", "upstream-m", b"upstream-m"]


@pytest.mark.parametrize("counter", [None, Counter(UpstreamError("no"))])
async def test_without_an_answer_it_is_an_estimate(counter: Counter | None) -> None:
    found = await counting(counter)(ME, ModelRequest("m", HELLO))
    assert found == Count(MESSAGE_TOKENS + 2, "provider/m", estimated=True)


async def test_nobody_counts_bytes_of_an_api_that_is_not_spoken() -> None:
    route = Counted(None).route("m")
    assert not counting(None).passes(route, "messages")
    assert not counting(Counter()).passes(route, "messages")
    with pytest.raises(UpstreamError):
        await counting(None).of_body(route, str.encode, {})


def test_an_estimate_weighs_all_that_is_read() -> None:
    base = estimated(ModelRequest("m", []))
    weights = [
        estimated(ModelRequest("m", [item])) - base - MESSAGE_TOKENS
        for item in (
            Message("m", "user", [InputText("one two"), InputImage("https://a.example/b.png")]),
            Message("m", "user", [InputFile(file_data="x" * 160), InputFile(file_id="f")]),
            FunctionCall("f", "c", "add", "1"),
            FunctionCallOutput("f", "c", "one two three"),
            FunctionCallOutput("f", "c", [InputText("one two"), InputImage("data:,")]),
            Reasoning("r"),
        )
    ]
    assert weights == [IMAGE_TOKENS + 2, 10, 2, 3, IMAGE_TOKENS + 2, 0]
    with_tool = ModelRequest("m", [], "be brief", [FunctionTool("add", "adds", {"type": "object"})])
    assert estimated(with_tool) - base > 4
