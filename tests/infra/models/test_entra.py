"""Tokens of Entra ID: fetched when they are needed, shared, renewed ahead; against a real server that wants one."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import azure.identity.aio as identity  # the import itself blocks, which a server does before it serves
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from chatbackend.adapters.providers.families.azure import AZURE
from chatbackend.adapters.providers.family import Address
from chatbackend.domain.errors import UpstreamDenied
from chatbackend.domain.events import Finished
from chatbackend.domain.items import InputText, Message
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.entra import AGAIN_S, AHEAD_S, REFUSED_S, EntraCredential, default_source
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.http_relay import HttpRelay
from chatbackend.infra.models.lean_client import LeanClient
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SCOPE = "https://cognitiveservices.azure.com/.default"
KEY = "token-1"


class Tokens:
    """A source of tokens that live an hour from `now` on, and a clock that is moved by hand."""

    def __init__(self, *tokens: str) -> None:
        self.now = 1_000.0
        self.tokens = list(tokens)
        self.scopes: list[str] = []
        self.closed = False
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()
        self.opened.set()
        self.life_s = 3_600
        self.credential = EntraCredential(self, SCOPE, lambda: self.now)

    async def get_token(self, *scopes: str) -> AccessToken:
        self.scopes += scopes
        self.asked.set()
        await self.opened.wait()
        if not self.tokens:
            raise ClientAuthenticationError("no identity; secret words of the library")
        return AccessToken(self.tokens.pop(0), int(self.now) + self.life_s)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def upstream() -> AsyncGenerator[Upstream, None]:
    async with Upstream(key=KEY) as upstream:
        yield upstream


@pytest.fixture
async def client() -> AsyncGenerator[LeanClient, None]:
    async with LeanClient() as client:
        yield client


async def test_a_model_is_asked_with_a_token(upstream: Upstream, client: LeanClient) -> None:
    tokens = Tokens(KEY)
    codec = AZURE.codec(AZURE.profile)
    url = partial(AZURE.url, Address(upstream.url, "scripted", "2024-10-21"))
    model = HttpModel(client, url=url, codec=codec, credential=tokens.credential)
    assert tokens.scopes == []
    for _ in range(2):
        request = ModelRequest("scripted", [Message("msg_1", "user", [InputText("x")])])
        async with aclosing(model.stream(request, Timeouts())) as events:
            assert isinstance([event async for event in events][-1], Finished)
    assert tokens.scopes == [SCOPE]
    assert "/openai/deployments/scripted/chat/completions" in upstream.calls[0].path


async def test_a_relay_takes_the_new_token_once_it_changes(upstream: Upstream, client: LeanClient) -> None:
    tokens = Tokens("too-old", KEY)
    body = b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}]}'
    url = AZURE.url(Address(upstream.url, "scripted"), "/chat/completions")
    relay = HttpRelay(client, AZURE.codec(AZURE.profile), url=url, credential=tokens.credential)
    with pytest.raises(UpstreamDenied):
        await relay(body, Timeouts(), headers={}, stream=False)
    tokens.now += 3_600
    answer = await relay(body, Timeouts(), headers={}, stream=False)
    assert b"choices" in await answer.whole()
    assert [call.header("authorization") for call in upstream.calls] == ["Bearer too-old", f"Bearer {KEY}"]


async def test_the_headers_are_the_same_object_until_the_token_changes() -> None:
    tokens = Tokens("a", "a", "b")
    first = await tokens.credential()
    assert first == {"authorization": "Bearer a"}
    assert await tokens.credential() is first
    tokens.now += 3_600 - AHEAD_S - 1
    assert await tokens.credential() is first
    assert len(tokens.scopes) == 1
    tokens.now += 1
    assert await tokens.credential() is first
    assert len(tokens.scopes) == 2
    tokens.now += 3_600
    assert await tokens.credential() == {"authorization": "Bearer b"}


async def test_one_caller_fetches_for_all() -> None:
    tokens = Tokens("a")
    tokens.opened.clear()
    calls = [asyncio.create_task(tokens.credential.__call__()) for _ in range(5)]
    await tokens.asked.wait()
    tokens.opened.set()
    assert await asyncio.gather(*calls) == [{"authorization": "Bearer a"}] * 5
    assert len(tokens.scopes) == 1


async def test_nobody_waits_for_a_renewal_while_the_token_is_good() -> None:
    tokens = Tokens("a", "b")
    await tokens.credential()
    tokens.now += 3_600 - AHEAD_S
    tokens.opened.clear()
    tokens.asked.clear()
    renewing = asyncio.create_task(tokens.credential.__call__())
    await tokens.asked.wait()
    assert await tokens.credential() == {"authorization": "Bearer a"}
    tokens.opened.set()
    assert await renewing == {"authorization": "Bearer b"}


async def test_a_good_token_outlives_a_renewal_that_fails_and_a_dead_one_does_not() -> None:
    tokens = Tokens("a")
    first = await tokens.credential()
    tokens.now += 3_600 - AHEAD_S
    assert await tokens.credential() is first
    assert await tokens.credential() is first
    assert len(tokens.scopes) == 2
    tokens.now += AGAIN_S
    assert await tokens.credential() is first
    assert len(tokens.scopes) == 3
    tokens.now += AHEAD_S
    with pytest.raises(UpstreamDenied) as denied:
        await tokens.credential()
    assert "AZURE_OPENAI_API_KEY" in denied.value.message
    assert "secret words" not in denied.value.message
    with pytest.raises(UpstreamDenied):
        await tokens.credential()
    assert len(tokens.scopes) == 4
    tokens.tokens = ["b"]
    tokens.now += REFUSED_S
    assert await tokens.credential() == {"authorization": "Bearer b"}


async def test_a_token_that_is_short_lived_is_used_while_it_lives() -> None:
    tokens = Tokens("a", "b")
    tokens.life_s = 60
    await tokens.credential()
    await tokens.credential()
    assert len(tokens.scopes) == 1
    tokens.now += AGAIN_S
    assert await tokens.credential() == {"authorization": "Bearer b"}


async def test_the_usual_source_asks_nobody_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    source = default_source()
    assert isinstance(source, identity.DefaultAzureCredential)
    with pytest.raises(UpstreamDenied):
        await EntraCredential(source, SCOPE)()
    await source.close()
