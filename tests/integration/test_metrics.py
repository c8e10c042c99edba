"""`GET /metrics` of a real server: requests, streams, upstream calls and tokens, with a key or on a port of its own."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

MODEL = "llama31/scripted-n9-d1"
Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
async def server(tmp_path: Path, upstream: Upstream, free_port: int) -> AsyncIterator[Server]:
    settings = {"LLAMA31_ENDPOINT": f"{upstream.url}/v1", "CHATBACKEND_METRICS_PORT": str(free_port)}
    async with serving(tmp_path, settings) as running:
        yield running


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {server.key}"}) as client:
        yield client


def numbers(text: str) -> Numbers:
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def scrape(http: httpx2.AsyncClient) -> Numbers:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return numbers(answer.text)


def chat(model: str, *, stream: bool = False) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "say on"}], "stream": stream}


async def test_requests_and_what_they_asked_of_providers_are_counted(http: httpx2.AsyncClient) -> None:
    answer = (await http.post("/v1/chat/completions", json=chat(MODEL))).json()
    assert (await http.post("/v1/chat/completions", json=chat(MODEL, stream=True))).status_code == 200
    await http.post("/v1/chat/completions", json=chat("llama31/scripted-status-400"))
    stored = (await http.post("/v1/responses", json={"model": MODEL, "input": "say on"})).json()
    found = await scrape(http)
    route = {"http_request_method": "POST", "http_route": "/v1/chat/completions"}
    duration = "http_server_request_duration_seconds"
    assert found[key(f"{duration}_count", **route, http_response_status_code="200")] == 2
    assert found[key(f"{duration}_bucket", **route, http_response_status_code="200", le="+Inf")] == 2
    assert found[key(f"{duration}_count", **route, http_response_status_code="400")] == 1
    assert found[key(f"{duration}_sum", **route, http_response_status_code="200")] > 0
    assert found[key("chatbackend_upstream_calls_total", gen_ai_request_model=MODEL, outcome="completed")] == 3
    failed = {"gen_ai_request_model": "llama31/scripted-status-400", "outcome": "failed"}
    assert found[key("chatbackend_upstream_calls_total", **failed)] == 1
    taken = found[key("gen_ai_client_token_usage_total", gen_ai_request_model=MODEL, gen_ai_token_type="input")]
    given = found[key("gen_ai_client_token_usage_total", gen_ai_request_model=MODEL, gen_ai_token_type="output")]
    assert taken > answer["usage"]["prompt_tokens"] + stored["usage"]["input_tokens"]
    assert given > answer["usage"]["completion_tokens"] + stored["usage"]["output_tokens"]


async def test_what_is_open_is_shown_while_it_is_open(http: httpx2.AsyncClient) -> None:
    opened = [key("chatbackend_streams_open"), key("chatbackend_responses_running")]
    assert [(await scrape(http))[one] for one in opened] == [0, 0]
    body = {"model": "llama31/scripted-endless-d20", "input": "say on", "stream": True, "store": False}
    async with (
        http.stream("POST", "/v1/chat/completions", json=chat("llama31/scripted-endless-d20", stream=True)) as first,
        http.stream("POST", "/v1/responses", json=body) as second,
    ):
        assert (first.status_code, second.status_code) == (200, 200)
        assert [(await scrape(http))[one] for one in opened] == [2, 1]
    with anyio.fail_after(10):
        while (await scrape(http))[opened[0]]:  # noqa: ASYNC110  # only asking tells
            await anyio.sleep(0.02)


async def test_the_numbers_need_a_key_but_on_their_own_port(server: Server, free_port: int) -> None:
    async with httpx2.AsyncClient() as nobody:
        assert (await nobody.get(f"{server.url}/metrics")).status_code == 401
        answer = await nobody.get(f"http://127.0.0.1:{free_port}/metrics")
    unknown = {"http_request_method": "GET", "http_route": "", "http_response_status_code": "401"}
    assert numbers(answer.text)[key("http_server_request_duration_seconds_count", **unknown)] == 1


async def test_a_port_that_is_taken_stops_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(tmp_path, {"CHATBACKEND_METRICS_PORT": str(port)})
        with pytest.raises(AssertionError, match=f"CHATBACKEND_METRICS_PORT is {port}: cannot listen") as ended:
            await anyio.to_thread.run_sync(server.run, "serve")
    assert "Traceback" not in str(ended.value)
