"""An answer that a provider goes on with in the background: a cut is come back to, and leaving it ends it there."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.errors import UpstreamCut
from chatbackend.domain.events import TextDelta
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models import http_model
from chatbackend.infra.models.credentials import fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.lean_client import LeanClient
from tests.adapters.providers.heard import Heard, hear

pytestmark = pytest.mark.anyio

WORDS = ["It ", "was ", "the ", "best ", "of ", "times."]
RESPONSE: dict[str, Any] = {"id": "resp_up", "object": "response", "status": "in_progress", "output": []}
MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": "msg_up",
    "role": "assistant",
    "status": "in_progress",
    "content": [],
}


def events() -> list[bytes]:
    """Return the stream of one answer, an event each."""
    text = "".join(WORDS)
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    whole: dict[str, Any] = {**MESSAGE, "status": "completed", "content": [part]}
    usage = {"input_tokens": 3, "output_tokens": 6, "total_tokens": 9}
    place = {"item_id": "msg_up", "output_index": 0, "content_index": 0}
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.output_item.added", "output_index": 0, "item": MESSAGE},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {
            "type": "response.completed",
            "response": {**RESPONSE, "status": "completed", "output": [whole], "usage": usage},
        },
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(told)]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in numbered]


class Provider:
    """Streams the answer, each time up to one of `cuts` (bytes); `deaf`: it ignores where one wants to go on."""

    def __init__(self, cuts: Sequence[int], *, deaf: bool = False, forgets: bool = False, holds: bool = False) -> None:
        self.asked: list[dict[str, Any]] = []
        self.rejoined: list[str] = []
        self.cancelled = asyncio.Event()
        self._cuts = list(cuts)
        self._deaf = deaf
        self._forgets = forgets
        self._holds = holds

    async def create(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        return await self._stream(request, 0)

    async def rejoin(self, request: web.Request) -> web.StreamResponse:
        self.rejoined.append(request.query["starting_after"])
        if self._forgets:
            return web.json_response({"error": {"message": "gone"}}, status=404)
        return await self._stream(request, 0 if self._deaf else int(request.query["starting_after"]) + 1)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        self.cancelled.set()
        return web.json_response(RESPONSE | {"status": "cancelled"})

    async def _stream(self, request: web.Request, first: int) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        said = b"".join(events()[first:])
        cut = self._cuts.pop(0) if self._cuts else None
        await answer.write(said[:cut])
        if self._holds:
            await self.cancelled.wait()
        elif cut is not None and request.transport is not None:
            request.transport.close()
        return answer


@asynccontextmanager
async def asked(provider: Provider) -> AsyncGenerator[HttpModel, None]:
    app = web.Application()
    app.router.add_post("/v1/responses", provider.create)
    app.router.add_get("/v1/responses/resp_up", provider.rejoin)
    app.router.add_post("/v1/responses/resp_up/cancel", provider.cancel)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with LeanClient() as client:
            codec = ResponsesCodec(ModelProfile(thinking="none"))
            yield HttpModel(client, url=lambda path: endpoint_url(url, path), codec=codec, credential=fixed({}))
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_model, "REJOIN_WAIT_S", 0.0)


def request(*, background: bool = True) -> ModelRequest:
    return ModelRequest("m", [Message("msg_1", "user", [InputText("hi")])], background=background)


async def answer(model: HttpModel, asking: ModelRequest | None = None) -> Heard:
    async with aclosing(model.stream(asking or request(), Timeouts())) as told:
        return hear([event async for event in told])


SIZE = len(b"".join(events()))
FIRST = len(events()[0])


@pytest.mark.parametrize("deaf", [False, True])
@pytest.mark.parametrize("cuts", [[FIRST], [FIRST + 40], [SIZE // 2], [SIZE // 2, 200, 0], [SIZE - 3]])
async def test_a_cut_answer_is_heard_as_if_it_were_whole(cuts: list[int], *, deaf: bool) -> None:
    provider, whole = Provider(cuts, deaf=deaf), Provider([])
    async with asked(provider) as model, asked(whole) as uncut:
        assert await answer(model) == await answer(uncut)
    assert len(provider.asked) == 1
    assert len(provider.rejoined) == len(cuts)
    assert (provider.asked[0]["background"], provider.asked[0]["store"]) == (True, True)
    assert not provider.cancelled.is_set()


async def test_before_its_name_is_known_a_cut_is_a_cut() -> None:
    provider = Provider([FIRST - 5])
    async with asked(provider) as model:
        with pytest.raises(UpstreamCut):
            await answer(model)
    assert provider.rejoined == []


async def test_an_answer_that_is_not_in_the_background_is_not_come_back_to() -> None:
    provider = Provider([SIZE // 2])
    async with asked(provider) as model:
        with pytest.raises(UpstreamCut):
            await answer(model, request(background=False))
    assert provider.rejoined == []
    assert provider.asked[0]["store"] is False
    assert "background" not in provider.asked[0]
    assert not provider.cancelled.is_set()


async def test_a_provider_that_has_forgotten_it_leaves_a_cut_and_is_told_to_stop() -> None:
    provider = Provider([SIZE // 2], forgets=True)
    async with asked(provider) as model:
        with pytest.raises(UpstreamCut):
            await answer(model)
        await asyncio.wait_for(provider.cancelled.wait(), 5)
    assert len(provider.rejoined) == 1


async def test_an_answer_that_is_cut_again_and_again_is_given_up() -> None:
    provider = Provider([SIZE // 2, *[0] * http_model.REJOINS])
    async with asked(provider) as model:
        with pytest.raises(UpstreamCut):
            await answer(model)
        await asyncio.wait_for(provider.cancelled.wait(), 5)
    assert len(provider.rejoined) == http_model.REJOINS


async def test_who_leaves_an_answer_ends_it_there() -> None:
    provider = Provider([SIZE // 2], holds=True)
    async with asked(provider) as model:
        async with aclosing(model.stream(request(), Timeouts())) as told:
            async for event in told:
                if isinstance(event, TextDelta):
                    break
        await asyncio.wait_for(provider.cancelled.wait(), 5)
