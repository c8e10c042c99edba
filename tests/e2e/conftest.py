"""A real server over our scripted upstream, which it knows by environment variables alone, one for each module."""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import sdk
from tests.support.server import Server
from tests.support.upstream import Upstream
from tests.support.upstreams import upstream

__all__ = ["upstream"]

Ledger = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    endpoints = {
        "AZURE_OPENAI_ENDPOINT": upstream.url,
        "AZURE_OPENAI_API_KEY": "sk-upstream-azure",
        "AZURE_OPENAI_API_VERSION": "2024-10-21",
        "OPENAI_ENDPOINT": f"{upstream.url}/v1",
        "OPENAI_API_KEY": "sk-upstream-openai",
        "LLAMA31_ENDPOINT": upstream.url,
        "CLAUDE_ENDPOINT": upstream.url,
        "CLAUDE_API_KEY": "sk-upstream-claude",
        "PERPLEXITY_ENDPOINT": upstream.url,
        "PERPLEXITY_API_KEY": "sk-upstream-perplexity",
    }
    with Server(tmp_path_factory.mktemp("server"), endpoints) as server:
        yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


@pytest.fixture
def ledger(running: Server) -> Ledger:
    """Give the ledger's rows of a response."""

    def rows(response_id: str) -> list[dict[str, Any]]:
        return ledger_rows(running.data, response_id)

    return rows


def ledger_rows(data: Path, response_id: str) -> list[dict[str, Any]]:
    """Return the usage rows of a response, as the truth has them."""
    with closing(sqlite3.connect(f"file:{data}/truth.db?mode=ro", uri=True)) as truth:
        truth.row_factory = sqlite3.Row
        found = truth.execute("SELECT * FROM ledger WHERE response_id = ? ORDER BY attempt", (response_id,))
        return [dict(row) for row in found]
