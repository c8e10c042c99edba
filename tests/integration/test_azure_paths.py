"""What the clients of Azure OpenAI dial works against us, over any provider."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import openai
import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Server]:
    settings = {
        "LLAMA31_ENDPOINT": f"{upstream.url}/v1",
        "LLAMA31_MODELS": "scripted-n3",
        "CLAUDE_ENDPOINT": upstream.url,
    }
    async with serving(tmp_path, settings) as running:
        yield running


@pytest.fixture
async def azure(server: Server) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=server.url, api_key=server.key, api_version="2024-10-21", max_retries=0
    ) as client:
        yield client


@pytest.mark.parametrize("deployment", ["scripted-n3", "llama31/scripted-n3", "claude/scripted-n3"])
async def test_a_deployment_in_the_path_is_a_model_of_ours(azure: openai.AsyncAzureOpenAI, deployment: str) -> None:
    asked = await azure.chat.completions.create(model=deployment, messages=[{"role": "user", "content": "hi"}])
    assert (asked.choices[0].message.content or "").count(":") == 3
    stream = await azure.chat.completions.create(
        model=deployment, messages=[{"role": "user", "content": "hi"}], stream=True
    )
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]).count(":") == 3


async def test_responses_and_models_are_found_below_openai(azure: openai.AsyncAzureOpenAI) -> None:
    response = await azure.responses.create(model="scripted-n3", input="hi")
    assert (await azure.responses.retrieve(response.id)).output_text == response.output_text
    assert "llama31/scripted-n3" in {model.id async for model in await azure.models.list()}


async def test_the_v1_address_takes_the_plain_client(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/openai/v1", api_key=server.key, max_retries=0) as client:
        answer = await client.responses.create(model="scripted-n3", input="hi")
        assert answer.output_text.count(":") == 3


async def test_the_path_and_not_the_body_says_which_deployment_is_meant(server: Server, upstream: Upstream) -> None:
    path = "/openai/deployments/scripted-n3/chat/completions?api-version=2024-10-21"
    body = {"model": "unheard-of", "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient(base_url=server.url, headers={"api-key": server.key}) as http:
        assert (await http.post(path, json=body)).status_code == 200
        assert upstream.calls[-1].asked.model == "scripted-n3"
        assert (await http.post(path, content=b"[]")).json()["error"]["code"] == "invalid_json"
        assert (await http.post(path.replace("scripted-n3", "x"), json=body)).status_code == 404
        assert (await http.get(path)).status_code == 405


async def test_no_path_is_open_without_a_key(server: Server) -> None:
    async with httpx2.AsyncClient(base_url=server.url) as http:
        for path in ("/openai/v1/models", "/openai/models", "/openai/deployments/x/chat/completions"):
            assert (await http.post(path, json={})).status_code == 401
