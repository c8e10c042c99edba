"""What is peculiar to each provider family, met through the real server: addresses, filters, turns, calls in text."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import openai
import pytest

from tests.support import sdk
from tests.support.sdk import TRANSPORTS, Transport, ask
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
PROFILES = """
[profiles."llama31/scripted-json"]
structured = "prompt"

[profiles."llama31/scripted-echo"]
structured = "prompt"
"""


def settings(upstream: Upstream) -> dict[str, str]:
    return {
        "AZURE_OPENAI_ENDPOINT": f"{upstream.url}/openai/v1/",
        "AZURE_OPENAI_API_KEY": "sk-azure",
        "AZURE_OPENAI_DEPLOYMENTS": (
            "scripted-n5, scripted-blocked, scripted-filter, scripted-status-429-r1500, scripted-status-404, "
            "scripted-n4=o3-mini"
        ),
        "OPENAI_ENDPOINT": upstream.url,
        "LLAMA31_ENDPOINT": upstream.url,
        "PERPLEXITY_ENDPOINT": upstream.url,
    }


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "config.toml").write_text(PROFILES)
    with Server(folder, settings(upstream) | {"CHATBACKEND_CONFIG": str(folder / "config.toml")}) as server:
        yield server


@pytest.fixture(scope="module")
async def by_responses(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    apis = {"OPENAI_API": "responses", "AZURE_OPENAI_API": "responses", "AZURE_OPENAI_API_VERSION": "preview"}
    with Server(tmp_path_factory.mktemp("server"), settings(upstream) | apis) as server:
        yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    headers = {"authorization": f"Bearer {running.key}"}
    async with httpx2.AsyncClient(base_url=running.url, headers=headers, timeout=30) as http:
        yield http


async def test_azure_is_asked_by_its_v1_api_without_a_version(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    said = await ask(client, "json", model="azure/scripted-n5", input="x")
    call = upstream.calls[-1]
    assert (call.path, call.dialect, call.header("api-key")) == (
        "/openai/v1/chat/completions",
        "azure-chat",
        "sk-azure",
    )
    assert said.response.output_text.startswith(call.salt)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("script", "status", "code", "wait"),
    [
        ("blocked", 400, "content_filter", None),
        ("status-429-r1500", 429, "rate_limit_exceeded", "2"),
        ("status-404", 404, "model_not_found", None),
    ],
)
async def test_what_azure_refuses_is_said_the_same_way_relayed_or_not(
    http: httpx2.AsyncClient, *, path: str, script: str, status: int, code: str, wait: str | None
) -> None:
    asked: dict[str, Any] = {"input": "x"} if "responses" in path else {"messages": [{"role": "user", "content": "x"}]}
    answer = await http.post(path, json={"model": f"azure/scripted-{script}", **asked})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("retry-after") == wait


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_answer_that_azure_filters_is_incomplete(client: openai.AsyncOpenAI, transport: Transport) -> None:
    said = await ask(client, transport, model="azure/scripted-filter", input="x")
    assert said.response.incomplete_details is not None
    assert (said.response.status, said.response.incomplete_details.reason) == ("incomplete", "content_filter")


async def test_a_filtered_answer_is_relayed_as_it_is(http: httpx2.AsyncClient) -> None:
    asked = {"model": "azure/scripted-filter", "messages": [{"role": "user", "content": "x"}]}
    [choice] = (await http.post("/v1/chat/completions", json=asked)).json()["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["content_filter_results"]["violence"]["filtered"] is True


async def test_a_deployment_is_treated_as_the_model_that_it_is(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, "json", model="azure/scripted-n4", input="x", temperature=0.3)
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", "temperature")
    assert upstream.calls[asked:] == []
    await ask(client, "json", model="azure/scripted-n4", instructions="s", input="x", temperature=1)
    sent = upstream.calls[-1].asked.body
    assert (sent["messages"][0]["role"], "temperature" in sent) == ("developer", False)


@pytest.mark.parametrize(
    ("model", "path", "chat"),
    [
        ("openai/scripted-n5", "/v1/responses", "/v1/chat/completions"),
        (
            "azure/scripted-n5",
            "/openai/responses?api-version=preview",
            "/openai/deployments/scripted-n5/chat/completions?api-version=preview",
        ),
    ],
)
async def test_the_responses_api_is_spoken_where_it_is_chosen(
    by_responses: Server, upstream: Upstream, *, model: str, path: str, chat: str
) -> None:
    async with sdk.async_client(by_responses) as client:
        said = await ask(client, "sse", model=model, input="x")
        assert upstream.calls[-1].path == path
        assert said.response.output_text.startswith(upstream.calls[-1].salt)
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
        assert upstream.calls[-1].path == chat


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("spelling", ["python", "function", "json"])
async def test_a_call_that_a_llama_writes_into_its_text_is_a_call(
    client: openai.AsyncOpenAI, upstream: Upstream, spelling: str, transport: Transport
) -> None:
    model = f"llama31/scripted-tool-text-{spelling}"
    first = await ask(client, transport, model=model, input="Weather?", tools=[WEATHER])
    [call] = first.response.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Weather?"})
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    second = await ask(
        client, transport, model=model, input=[output], tools=[WEATHER], previous_response_id=first.response.id
    )
    assert second.response.output_text.startswith(upstream.calls[-1].salt)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_perplexitys_sources_become_citations_of_their_places(
    client: openai.AsyncOpenAI, transport: Transport
) -> None:
    said = await ask(client, transport, model="perplexity/scripted-sources", input="x")
    text = said.response.output_text
    found = [(note["url"], text[note["start_index"] : note["end_index"]]) for note in said.annotations]
    one, two = "https://one.example/roses", "https://two.example/violets"
    assert found == [(one, "[1]"), (two, "[2]"), (one, "[1]")]


async def test_perplexity_gets_turns_whatever_was_said(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    said = [
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    await ask(client, "json", model="perplexity/scripted-n5", instructions="s", input=said)
    sent = [(message["role"], message["content"]) for message in upstream.calls[-1].asked.messages]
    assert sent == [("system", "s"), ("user", "(You begin.)"), ("assistant", "Hello!"), ("user", "a\n\nb\n\nc")]


async def test_perplexity_refuses_functions_and_takes_search_options(
    client: openai.AsyncOpenAI, http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    asked = len(upstream.calls)
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, "json", model="perplexity/scripted", input="x", tools=[WEATHER])
    assert (refused.value.code, refused.value.param) == ("unsupported_by_model", "tools")
    assert upstream.calls[asked:] == []
    options = {"search_domain_filter": ["one.example"], "search_recency_filter": "week"}
    chat = {"model": "perplexity/scripted-n5", "messages": [{"role": "user", "content": "x"}], **options}
    answer = await http.post("/v1/chat/completions", json=chat)
    assert answer.json()["choices"][0]["finish_reason"] == "stop"
    assert options.items() <= upstream.calls[-1].asked.body.items()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_json_that_was_asked_for_in_words_is_checked(
    client: openai.AsyncOpenAI, upstream: Upstream, transport: Transport
) -> None:
    shape = {"format": {"type": "json_schema", "name": "any", "schema": {"type": "object"}, "strict": False}}
    said = await ask(client, transport, model="llama31/scripted-json", input="x", text=shape)
    assert isinstance(json.loads(said.response.output_text), dict)
    assert "response_format" not in upstream.calls[-1].asked.body


async def test_json_that_does_not_match_is_an_error_and_never_shown(client: openai.AsyncOpenAI) -> None:
    shape = {"format": {"type": "json_schema", "name": "city", "schema": CITY, "strict": True}}
    said = await ask(client, "sse", model="llama31/scripted-echo", input="no JSON", text=shape)
    assert said.response.status == "failed"
    assert said.response.error is not None
    assert (said.response.output_text, said.deltas) == ("", "")
