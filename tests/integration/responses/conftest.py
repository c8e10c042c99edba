"""One server over our scripted upstream for each module; clients of it, official and raw."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest

from tests.support import sdk
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

MODEL = "llama31/scripted-n20"
SLOW = "llama31/scripted-n400-d20"
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True)
class SseFrame:
    """One server-sent event as it came over the wire."""

    event: str
    data: str


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "LLAMA31_ENDPOINT": upstream.url,
        "CHATBACKEND_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "CHATBACKEND_ALLOWED_ORIGINS": "https://app.example.com",
        "CHATBACKEND_LOG_LEVEL": "debug",
    }
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """A client that knows nothing: no key, no retries."""
    async with httpx2.AsyncClient(base_url=running.url, timeout=30) as client:
        yield client


@pytest.fixture
def bearer(running: Server) -> dict[str, str]:
    return {"authorization": f"Bearer {running.key}"}


async def frames(response: httpx2.Response) -> AsyncIterator[SseFrame]:
    """Yield the events of a stream, comments left out."""
    event, data = "", list[str]()
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and data:
            yield SseFrame(event, "\n".join(data))
            event, data = "", []


async def asked(http: httpx2.AsyncClient, headers: dict[str, str], body: dict[str, Any]) -> list[SseFrame]:
    """Create a response and return every event of its stream, once it has ended."""
    async with http.stream("POST", "/v1/responses", headers=headers, json=body) as response:
        assert response.status_code == 200, await response.aread()
        return [frame async for frame in frames(response)]


async def followed(http: httpx2.AsyncClient, path: str, headers: dict[str, str]) -> list[SseFrame]:
    """Return every event of a known response's stream, once it has ended."""
    async with http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        return [frame async for frame in frames(response)]
