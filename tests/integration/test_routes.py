"""Routes of the TOML file through the real server: failover, retries, breakers, continuation, and who answered."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx2
import openai
import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

ROUTES = """
[aliases]
quick = "llama31/n3"

[defaults.timeouts]
connect_s = 2
first_byte_s = 2

[routes.relayed]
targets = ["llama31/status-503"]
fallbacks = ["llama31/silent", "openai/n3"]
timeouts = {first_token_s = 0.3}

[routes.mixed]
targets = ["claude/status-529"]
fallbacks = ["llama31/cut-at-0", "claude/n3"]
timeouts = {first_token_s = 0.3}

[routes.continued]
targets = ["llama31/cut-at-3"]
fallbacks = ["openai/n5"]
on_cut = "continue"

[routes.tripping]
targets = ["llama31/status-500"]
retries = 1
backoff_s = 0.01
breaker = {failures = 2, cool_down_s = 60}

[profiles."openai/n5"]
accepts_prefill = true
"""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Server]:
    file = tmp_path / "routes.toml"
    await anyio.to_thread.run_sync(file.write_text, ROUTES)
    settings = {f"{name}_ENDPOINT": upstream.url for name in ("LLAMA31", "OPENAI", "CLAUDE")}
    async with serving(tmp_path, {**settings, "CHATBACKEND_CONFIG": str(file)}) as running:
        yield running


@pytest.fixture
async def sdk(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
        yield client


def hi() -> list[Any]:
    return [{"role": "user", "content": "hi"}]


ANSWERED = pytest.mark.parametrize(("route", "who"), [("relayed", "openai/n3"), ("mixed", "claude/n3")])


@ANSWERED
async def test_a_chat_goes_on_to_who_answers_and_says_who_it_was(sdk: openai.AsyncOpenAI, route: str, who: str) -> None:
    raw = await sdk.chat.completions.with_raw_response.create(model=route, messages=hi())
    assert (raw.headers["x-chatbackend-deployment"], raw.headers["x-chatbackend-attempts"]) == (who, "3")
    assert (raw.parse().choices[0].message.content or "").count(":") == 3


@ANSWERED
async def test_a_streamed_chat_goes_on_before_its_first_token(sdk: openai.AsyncOpenAI, route: str, who: str) -> None:
    raw = await sdk.chat.completions.with_raw_response.create(model=route, messages=hi(), stream=True)
    assert (raw.headers["x-chatbackend-deployment"], raw.headers["x-chatbackend-attempts"]) == (who, "3")
    texts = [chunk.choices[0].delta.content or "" async for chunk in raw.parse() if chunk.choices]
    assert "".join(texts).count(":") == 3


@pytest.mark.parametrize("route", ["relayed", "mixed"])
async def test_a_response_goes_on_to_who_answers_and_says_who_it_was(sdk: openai.AsyncOpenAI, route: str) -> None:
    raw = await sdk.responses.with_raw_response.create(model=route, input="hi")
    answer, who = raw.parse(), {"relayed": "openai/n3", "mixed": "claude/n3"}[route]
    assert answer.output_text.count(":") == 3
    assert answer.model == route
    told = answer.model_dump()["chatbackend"]
    assert told == {"deployment": who, "attempts": 3}
    assert (await sdk.responses.retrieve(answer.id)).model_dump()["chatbackend"] == told
    assert (raw.headers["x-chatbackend-deployment"], raw.headers["x-chatbackend-attempts"]) == (who, "3")


async def test_a_response_to_an_alias_names_what_the_alias_stands_for(sdk: openai.AsyncOpenAI) -> None:
    assert (await sdk.responses.create(model="quick", input="hi")).model == "llama31/n3"


async def test_a_cut_answer_is_continued_where_its_route_asks_for_it(
    sdk: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    answer = await sdk.responses.create(model="continued", input="hi")
    cut, rest = upstream.calls
    said = "".join(f"{cut.salt}:{number} " for number in range(3)).rstrip()
    assert answer.output_text.startswith(said)
    assert answer.output_text.count(f"{rest.salt}:") == 5
    assert answer.status == "completed"
    assert answer.model_dump()["chatbackend"] == {"deployment": "openai/n5", "attempts": 2, "continued": True}
    assert rest.asked.messages[-1] == {"role": "assistant", "content": said}


async def test_a_breaker_opens_and_says_how_long(server: Server, upstream: Upstream) -> None:
    body = {"model": "tripping", "messages": hi()}
    async with httpx2.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {server.key}"}) as http:
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 502
        assert len(upstream.calls) == 2
        refused = await http.post("/v1/chat/completions", json=body)
        assert len(upstream.calls) == 2
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "cooling_down")
        assert 50 < int(refused.headers["retry-after"]) <= 60


async def test_an_alias_is_a_name_like_any_other(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.responses.create(model="quick", input="hi")
    assert (answer.model, answer.output_text.count(":")) == ("llama31/n3", 3)
    assert {"quick", "relayed"} <= {model.id async for model in await sdk.models.list()}
