"""One server over our scripted upstream for each module; Anthropic's clients of it, and a raw one."""

from collections.abc import AsyncGenerator

import httpx2
import pytest
from anthropic import AsyncAnthropic

from tests.support import claude_sdk
from tests.support.server import Server, serving
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "OPENAI_ENDPOINT": upstream.url,
        "LLAMA31_ENDPOINT": upstream.url,
        "CLAUDE_ENDPOINT": upstream.url,
        "CLAUDE_API_KEY": "sk-of-claude",
    }
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server


@pytest.fixture
async def claude(running: Server) -> AsyncGenerator[AsyncAnthropic, None]:
    async with claude_sdk.async_client(running) as client:
        yield client


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    """A raw client with the server's key."""
    headers = {"x-api-key": running.key, "anthropic-version": "2023-06-01"}
    async with httpx2.AsyncClient(base_url=running.url, headers=headers, timeout=30) as client:
        yield client
