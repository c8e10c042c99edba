"""Names of models that clients make up: whatever is in them, an answer goes out whole and its call is settled."""

from collections.abc import AsyncGenerator
from urllib.parse import unquote

import httpx2
import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

NAME = "模型-n3"
PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/responses"]


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> AsyncGenerator[Server, None]:
    settings = {"LLAMA31_ENDPOINT": f"{upstream.url}/v1", "CLAUDE_ENDPOINT": upstream.url}
    async with serving(tmp_path_factory.mktemp("names"), settings) as running:
        yield running


@pytest.fixture
async def http(server: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    headers = {"authorization": f"Bearer {server.key}"}
    async with httpx2.AsyncClient(base_url=server.url, headers=headers) as client:
        yield client


def body(path: str, model: str, *, stream: bool) -> dict[str, object]:
    if path == "/v1/responses":
        return {"model": model, "input": "hi", "stream": stream}
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50, "stream": stream}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["llama31", "claude"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_name_of_any_script_is_answered_and_told(
    http: httpx2.AsyncClient,
    path: str,
    provider: str,
    stream: bool,  # noqa: FBT001  # a parameter
) -> None:
    answer = await http.post(path, json=body(path, f"{provider}/{NAME}", stream=stream))
    assert answer.status_code == 200
    assert ":2" in answer.text
    if path != "/v1/responses":
        assert unquote(answer.headers["x-chatbackend-deployment"]) == f"{provider}/{NAME}"


@pytest.mark.parametrize("name", ["n3\r\nx-more: 1", "n3\x00", "n3\x7f"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_name_that_no_model_can_have_is_unknown(
    http: httpx2.AsyncClient, upstream: Upstream, path: str, name: str
) -> None:
    calls = len(upstream.calls)
    answer = await http.post(path, json=body(path, f"llama31/{name}", stream=False))
    assert answer.status_code in (400, 404)
    assert len(upstream.calls) == calls
