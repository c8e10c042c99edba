"""A real server over our scripted upstream as all five families, one for each module of tests of sessions in text."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
async def upstream() -> AsyncGenerator[Upstream, None]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "AZURE_OPENAI_ENDPOINT": upstream.url,
        "AZURE_OPENAI_API_KEY": "sk-upstream",
        "AZURE_OPENAI_API": "responses",
        "OPENAI_ENDPOINT": f"{upstream.url}/v1",
        "OPENAI_API_KEY": "sk-upstream",
        "CLAUDE_ENDPOINT": upstream.url,
        "CLAUDE_API_KEY": "sk-upstream",
        "LLAMA31_ENDPOINT": f"{upstream.url}/v1",
        "PERPLEXITY_ENDPOINT": upstream.url,
        "PERPLEXITY_API_KEY": "sk-upstream",
        "CHATBACKEND_MAX_BODY_BYTES": str(2**20),
        "CHATBACKEND_DRAIN_S": "0.1",  # some tests leave endless responses behind
    }
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server
