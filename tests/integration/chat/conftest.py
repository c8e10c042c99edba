"""One server over our scripted upstream for each module, behind providers that do not speak Chat Completions."""

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest

from tests.support import sdk
from tests.support.server import Server, serving
from tests.support.spools import all_written
from tests.support.upstream import Upstream

Json = dict[str, Any]
Row = tuple[str, str, int, int, int]
# A route of which not every deployment is relayed is answered by the front, whoever of it answers in the end.
CONFIG = """
[defaults.timeouts]
first_byte_s = 1
between_s = 1

[routes.searching]
targets = ["claude/status-529"]
fallbacks = ["perplexity/sonar-sources"]

[routes.responding]
targets = ["claude/status-529"]
fallbacks = ["openai/talk"]

[routes.chatting]
targets = ["claude/scripted-n2"]
fallbacks = ["llama31/scripted-n5"]
"""


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    folder = tmp_path_factory.mktemp("server")
    file = folder / "config.toml"
    await anyio.to_thread.run_sync(file.write_text, CONFIG)
    settings = {f"{name}_ENDPOINT": upstream.url for name in ("CLAUDE", "LLAMA31", "PERPLEXITY", "OPENAI")}
    settings |= {"OPENAI_API": "responses", "CHATBACKEND_CONFIG": str(file)}
    async with serving(folder, settings) as server:
        yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    headers = {"authorization": f"Bearer {running.key}"}
    async with httpx2.AsyncClient(base_url=running.base_url, headers=headers, timeout=30) as client:
        yield client


def body(model: str, **fields: object) -> Json:
    """Return a request body."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}


def rows(data: Path) -> list[Row]:
    """Return every call of the ledger, oldest first."""
    with closing(sqlite3.connect(data / "truth.db")) as truth:
        return truth.execute(
            "SELECT model, status, input_tokens, output_tokens, estimated FROM ledger ORDER BY rowid"
        ).fetchall()


@pytest.fixture
async def booked(running: Server) -> Callable[[int], Any]:
    """Return the calls that a test made, once so many of them are settled."""
    await all_written(running.data)
    before = len(await anyio.to_thread.run_sync(rows, running.data))

    async def wait(count: int) -> list[Row]:
        with anyio.fail_after(10):
            while True:
                await all_written(running.data)
                found = (await anyio.to_thread.run_sync(rows, running.data))[before:]
                if len(found) >= count and all(row[1] != "started" for row in found):
                    return found
                await anyio.sleep(0.01)

    return wait
