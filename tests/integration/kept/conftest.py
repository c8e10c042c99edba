"""One server over our scripted upstream for each module, with every provider family behind it; and raw requests."""

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

Json = dict[str, Any]
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
FAMILIES = ("llama31", "openai", "azure", "claude", "perplexity")


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    async with serving(tmp_path_factory.mktemp("server"), settings(upstream)) as server:
        yield server


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    async with client(running) as http:
        yield http


def settings(upstream: Upstream) -> dict[str, str]:
    """Return the environment that puts every family before the upstream."""
    names = ("LLAMA31", "OPENAI", "AZURE_OPENAI", "CLAUDE", "PERPLEXITY")
    endpoints = {f"{name}_ENDPOINT": upstream.url for name in names}
    return endpoints | {"AZURE_OPENAI_API_KEY": "sk-azure", "AZURE_OPENAI_API_VERSION": "2024-10-21"}


def client(server: Server) -> httpx2.AsyncClient:
    """Return a raw client with the server's key."""
    headers = {"authorization": f"Bearer {server.key}"}
    return httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=30)


def asked(model: str, *, stream: bool, text: str = "say on") -> Json:
    """Return a body that both dialects take."""
    return {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, "max_tokens": 1000}


def calls_of(upstream: Upstream, model: str) -> int:
    """Return how often the upstream was asked for a model."""
    return sum(call.asked.model == model for call in upstream.calls)


def ledger(data: Path, model: str) -> list[Json]:
    """Return the rows of a deployment."""
    with closing(sqlite3.connect(f"file:{data}/truth.db?mode=ro", uri=True)) as truth:
        truth.row_factory = sqlite3.Row
        found = truth.execute("SELECT * FROM ledger WHERE model = ? ORDER BY started_at", (model,))
        return [dict(row) for row in found]


async def settled(data: Path, model: str, rows: int = 1) -> list[Json]:
    """Return a deployment's rows once so many are settled."""
    with anyio.fail_after(10):
        while True:
            found = await anyio.to_thread.run_sync(ledger, data, model)
            if len(found) >= rows and all(row["status"] == "settled" for row in found):
                return found
            await anyio.sleep(0.01)
