"""Streams of every kind, held against the Open Responses specification; what is stored and returned whole, too."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import openai
import pytest

from tests.integration.responses.conftest import asked, frames
from tests.support.open_responses import hold, hold_response
from tests.support.openai_types import checked_event
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
ADD: Json = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "strict": False,
}
SCHEMA: Json = {"type": "object", "properties": {"colour": {"type": "string"}}}
FORM: Json = {"format": {"type": "json_schema", "name": "colours", "schema": SCHEMA}}
KINDS: dict[str, tuple[Json, str, list[str]]] = {
    "text": ({"model": "llama31/n3"}, "completed", ["message"]),
    "thought": ({"model": "llama31/reason-n3"}, "completed", ["reasoning", "message"]),
    "summary": (
        {"model": "openai/reason-n3", "reasoning": {"effort": "low", "summary": "auto"}},
        "completed",
        ["reasoning", "message"],
    ),
    "sealed thought": (
        {"model": "claude/reason-n3", "reasoning": {"effort": "low"}},
        "completed",
        ["reasoning", "message"],
    ),
    "tools": (
        {"model": "llama31/tool-call", "tools": [ADD, ADD | {"name": "sub", "parameters": None}]},
        "completed",
        ["function_call", "function_call"],
    ),
    "refusal": ({"model": "openai/refuse-n3"}, "completed", ["message"]),
    "structured": ({"model": "openai/json", "text": FORM}, "completed", ["message"]),
    "sources": ({"model": "perplexity/sonar-sources"}, "completed", ["message"]),
    "cut": ({"model": "claude/length-n3"}, "incomplete", ["message"]),
    "filtered": ({"model": "llama31/filter-n3"}, "incomplete", ["message"]),
    "failed": ({"model": "llama31/error-at-3"}, "failed", ["message"]),
    "failed at once": ({"model": "openai/status-500"}, "failed", []),
}


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    families = ("LLAMA31", "CLAUDE", "OPENAI", "PERPLEXITY")
    settings = {f"{name}_ENDPOINT": upstream.url for name in families} | {"OPENAI_API": "responses"}
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server


async def streamed(http: httpx2.AsyncClient, bearer: dict[str, str], body: Json) -> list[Json]:
    """Return the events of a stream, each accepted by the SDK, all by the specification."""
    found = await asked(http, bearer, {"input": "hi", "stream": True, **body})
    events = [checked_event(frame.data.encode()) for frame in found]
    assert [frame.event for frame in found] == [event["type"] for event in events]
    hold(events)
    return events


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_is_what_the_specification_demands(
    http: httpx2.AsyncClient, bearer: dict[str, str], kind: str
) -> None:
    body, status, items = KINDS[kind]
    ended = (await streamed(http, bearer, body))[-1]["response"]
    assert (ended["status"], [item["type"] for item in ended["output"]]) == (status, items)
    kept = (await http.get(f"/v1/responses/{ended['id']}", headers=bearer)).json()
    hold_response(kept)
    assert kept == ended


async def test_a_search_and_its_citations_are_what_the_specification_demands(
    client: openai.AsyncOpenAI, http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    store = await client.vector_stores.create()
    text = b"The coolant of the station is serviced every seven months by two people who sign the log."
    await client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("station.txt", text), poll_interval_ms=50
    )
    body: Json = {"model": "llama31/cite", "input": "Who services the coolant?"}
    tools = [{"type": "file_search", "vector_store_ids": [store.id]}]
    body |= {"tools": tools, "include": ["file_search_call.results"]}
    search, message = (await streamed(http, bearer, body))[-1]["response"]["output"]
    assert search["results"]
    assert message["content"][0]["annotations"]


async def test_a_stream_that_is_cancelled_is_what_the_specification_demands(
    http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    body = {"model": "llama31/n400-d20", "input": "hi", "stream": True}
    events: list[Json] = []
    async with http.stream("POST", "/v1/responses", headers=bearer, json=body) as response:
        async for frame in frames(response):
            events.append(json.loads(frame.data))
            if len(events) == 6:
                await http.post(f"/v1/responses/{events[0]['response']['id']}/cancel", headers=bearer)
    hold(events)
    assert events[-1]["response"]["status"] == "cancelled"
    assert [item["status"] for item in events[-1]["response"]["output"]] == ["incomplete"]
