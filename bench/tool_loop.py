"""What a tool loop costs over HTTP and over one WebSocket to its provider, measured in turn in the same run.

    .venv/bin/python bench/tool_loop.py --turns 20 --rounds 5 [--line-ms 20 --line-mbit 20]

Two servers of ours ask the tests' scripted upstream in TLS, one over each transport. A loop is a question, then turns
that each give the output of the call before; its client waits for every turn. Once with one loop at a time (latency),
once with many side by side (CPU). Bytes are those of the JSON that the upstream is told. With `--line-ms` a line of
that delay one way, and of `--line-mbit` each way, lies between servers and upstream (`line.py`), the same for both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from processes import cpu_s, tree
from run import KEY, ROOT
from servers import Running, Server, free_port, running

TOOL = {
    "type": "function",
    "name": "look",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    "strict": False,
}
WARM_TURNS = 3
SETTLE_S = 0.3


@dataclass(slots=True)
class Found:
    """What one transport's loops took: of a turn each."""

    latency_ms: list[float] = field(default_factory=list[float])
    cpu_ms: list[float] = field(default_factory=list[float])


def certified(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for the loopback."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench"]
    command += ["-keyout", str(key), "-out", str(cert), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # the words are above
    return key, cert


@contextmanager
def far_away(port: int, options: argparse.Namespace) -> Generator[str]:
    """Lay a line before the upstream on this port; give the address of its end here."""
    own = free_port()
    start = [sys.executable, str(ROOT / "bench/line.py"), "--port", str(own), "--to", str(port)]
    start += ["--ms", str(options.line_ms), "--mbit", str(options.line_mbit)]
    with running(Server("line", f"https://127.0.0.1:{own}", start=start)) as line:
        yield line.server.url


def words(characters: int) -> str:
    """Return so much text."""
    return ("a line of what the tool found, as tools find it. " * (characters // 40 + 1))[:characters]


async def loop(client: aiohttp.ClientSession, turns: int, output_characters: int) -> list[float]:
    """Run one loop; return the seconds of each of its turns."""
    body: dict[str, Any] = {"model": f"openai/tool-loop-{turns - 1}", "tools": [TOOL]}
    body |= {"instructions": words(output_characters), "input": "Go and look."}
    took: list[float] = []
    for _ in range(turns):
        began = time.perf_counter()
        async with client.post("/v1/responses", json=body) as answer:
            told = await answer.json()
        took.append(time.perf_counter() - began)
        if told.get("status") != "completed":
            raise SystemExit(f"a turn failed: {told}")
        calls = [item["call_id"] for item in told["output"] if item["type"] == "function_call"]
        found = [
            {"type": "function_call_output", "call_id": call, "output": words(output_characters)} for call in calls
        ]
        body |= {"previous_response_id": told["id"], "input": found}
    return took


async def measure(live: dict[str, Running], options: argparse.Namespace) -> dict[str, Found]:
    """Run the loops of both, in turn; the first round warms up."""
    found = {name: Found() for name in live}
    for number in range(options.rounds + 1):
        for name in live if number % 2 else [*live][::-1]:
            latency_s, cpu_each_s = await measure_round(live[name], options)
            if number:
                found[name].latency_ms.append(latency_s * 1000)
                found[name].cpu_ms.append(cpu_each_s * 1000)
    return found


async def measure_round(live: Running, options: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of a turn where one loop runs alone (median), and CPU seconds of one of many side by side."""
    connector, headers = aiohttp.TCPConnector(limit=0), {"authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(live.server.url, connector=connector, headers=headers) as client:
        alone = await loop(client, options.turns, options.characters)
        pids = tree(live.pid or 0)
        before = cpu_s(pids)
        await asyncio.gather(*(loop(client, options.turns, options.characters) for _ in range(options.loops)))
        await asyncio.sleep(SETTLE_S)
        spent_s = cpu_s(pids) - before
    return statistics.median(alone[WARM_TURNS:]), spent_s / (options.loops * options.turns)


def ours(upstream: str, transport: str, certificate: Path) -> Server:
    """Return our server over a transport."""
    port = free_port()
    env = {
        "CHATBACKEND_PORT": str(port),
        "CHATBACKEND_DATA_DIR": "{dir}/data",
        "CHATBACKEND_BOOTSTRAP_KEY": KEY,
        "CHATBACKEND_LOG_LEVEL": "warning",
        "OPENAI_ENDPOINT": f"{upstream}/v1",
        "OPENAI_API": "responses",
        "OPENAI_TRANSPORT": transport,
        "SSL_CERT_FILE": str(certificate),
    }
    start = [str(ROOT / ".venv/bin/chatbackend"), "serve"]
    return Server(transport, f"http://127.0.0.1:{port}", start=start, env=env, ready_path="/readyz")


async def sent_bytes(upstream: str) -> dict[str, list[int]]:
    """Return, for each transport, the bytes that every turn said."""
    async with aiohttp.ClientSession() as client, client.get(f"{upstream}/_log", ssl=False) as answer:
        rows = [json.loads(line) for line in (await answer.text()).splitlines()]
    found: dict[str, list[int]] = {"http": [], "websocket": []}
    for row in rows:
        found["http" if row["connection"] is None else "websocket"].append(row["bytes"])
    return found


def report(found: dict[str, Found], sent: dict[str, list[int]]) -> None:
    """Print a table and the ratios."""
    rows = {
        "latency ms/turn, one loop (median)": {
            name: statistics.median(each.latency_ms) for name, each in found.items()
        },
        "CPU ms/turn of our server, loops side by side": {
            name: statistics.median(each.cpu_ms) for name, each in found.items()
        },
        "KB/turn to the provider (mean)": {name: statistics.mean(each) / 1000 for name, each in sent.items()},
    }
    print("| | http | websocket | websocket / http |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['http']:.2f} | {row['websocket']:.2f} | {row['websocket'] / row['http']:.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", type=int, default=16, help="side by side")
    parser.add_argument("--line-ms", type=float, default=0.0, help="delay of a line to the provider, one way")
    parser.add_argument("--line-mbit", type=float, default=20.0, help="what that line carries a second, each way")
    parser.add_argument("--characters", type=int, default=4000, help="of each tool's output, and of the instructions")
    options = parser.parse_args()
    with ExitStack() as stack:
        key, cert = certified(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        port = free_port()
        script = [sys.executable, str(ROOT / "tests/support/upstream.py"), "--port", str(port)]
        script += ["--tls", str(key), str(cert)]
        upstream = Server("upstream", f"https://127.0.0.1:{port}", start=script)
        stack.enter_context(running(upstream))
        there = stack.enter_context(far_away(port, options)) if options.line_ms else upstream.url
        live = {name: stack.enter_context(running(ours(there, name, cert))) for name in ("http", "websocket")}
        found = asyncio.run(measure(live, options))
        sent = asyncio.run(sent_bytes(upstream.url))
    report(found, sent)


if __name__ == "__main__":
    main()
