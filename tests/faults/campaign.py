"""A fault run: clients stream without pause while the server is killed at random moments and started again."""

import json
import random
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import msgspec

from tests.faults.clients import Client, Target
from tests.faults.history import Held, History, Row, Seen
from tests.support.server import PROGRAM, Server

UPSTREAM = Path(__file__).parents[1] / "support" / "upstream.py"
QUIET_S = 40.0  # after the last kill: every orphan must be terminal within 20 s, and every client done


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do to a server: `kills` of `clients` streaming clients; `seed` makes the moments repeatable."""

    kills: int
    clients: int = 20
    seed: int = 1
    longest_life_s: float = 1.2
    transports: tuple[str, ...] = ("sse", "ws")
    program: Sequence[str] = (str(PROGRAM),)
    model: str = "llama31/scripted-n40-d5"


async def run(plan: Plan, folder: Path) -> History:
    """Carry the plan out and return what happened; the server is stopped at the end."""
    history = History()
    port = free_port()
    with (folder / "upstream.out").open("wb") as out:
        command = [sys.executable, str(UPSTREAM), "--port", str(port), "--log", str(folder / "upstream.log")]
        upstream = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        env = {"LLAMA31_ENDPOINT": f"http://127.0.0.1:{port}/v1", "CHATBACKEND_LOG_LEVEL": "warning"}
        with Server(folder, env, program=plan.program) as server:
            await _storm(plan, server, history)
            await collect(server, history)
        upstream_count(folder / "upstream.log", history)
        _read_truth(folder / "data" / "truth.db", history)
        return history
    finally:
        upstream.kill()
        upstream.wait()


async def _storm(plan: Plan, server: Server, history: History) -> None:
    target = Target([server.url], server.key, plan.model)
    over = anyio.Event()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=15)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        with anyio.move_on_after(plan.kills * (plan.longest_life_s + 5) + QUIET_S):
            async with anyio.create_task_group() as group:
                for number in range(plan.clients):
                    transport = plan.transports[number % len(plan.transports)]
                    client = Client(session, target, history, transport=transport, seed=plan.seed * 1000 + number)
                    group.start_soon(ask_on, client, history, number, over)
                chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
                for _ in range(plan.kills):
                    await anyio.sleep(chance.uniform(0.02, plan.longest_life_s))
                    await anyio.to_thread.run_sync(server.kill)
                    history.restarts_s.append(await anyio.to_thread.run_sync(server.start))
                over.set()


async def ask_on(client: Client, history: History, number: int, over: anyio.Event) -> None:
    turn = 0
    while not over.is_set():
        key = f"client-{number}-turn-{turn}"
        history.unfinished.append(key)
        await client.turn(key)
        history.unfinished.remove(key)
        turn += 1


async def collect(server: Server, history: History) -> None:
    """Ask the server, when all is quiet, for everything that was acknowledged."""
    headers = {"authorization": f"Bearer {server.key}"}
    ids = sorted({response_id for found in history.acknowledged.values() for response_id in found})
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=30)) as session:
        for response_id in ids:
            history.held[response_id] = await _held(session, f"{server.url}/v1/responses/{response_id}")


async def _held(session: aiohttp.ClientSession, url: str) -> Held | None:
    async with session.get(url) as answer:
        if answer.status == 404:
            return None
        response = msgspec.json.decode(await answer.read())
    if response["status"] in ("queued", "in_progress"):
        return Held(response, [])
    async with session.get(f"{url}?stream=true") as answer:
        frames = (await answer.read()).decode().split("\n\n")
    bodies = [
        line.removeprefix("data: ").encode()
        for frame in frames
        for line in frame.split("\n")
        if line.startswith("data: ")
    ]
    events = [(msgspec.json.decode(body), body) for body in bodies]
    return Held(response, [Seen(event["sequence_number"], event["type"], body) for event, body in events])


def upstream_count(log: Path, history: History) -> None:
    for line in log.read_text().splitlines():
        row = json.loads(line)
        usage: dict[str, int] = row["usage"] or {}
        counted = (usage.get("input_tokens", -1), usage.get("output_tokens", -1))
        history.upstream[row["salt"]] = (*counted, row["outcome"] == "finished")


def _read_truth(path: Path, history: History) -> None:
    """Read what no route shows: the ledger, and how many responses each key made."""
    with closing(sqlite3.connect(path)) as truth:
        ledger = truth.execute("SELECT response_id, status, estimated, input_tokens, output_tokens FROM ledger")
        history.ledger = [Row(row[0], row[1], bool(row[2]), row[3], row[4]) for row in ledger]
        for (body,) in truth.execute("SELECT body FROM items WHERE direction = 'input'"):
            text = msgspec.json.decode(body)["content"][0]["text"]
            history.stored_by_key[text.removeprefix("Question ")] += 1


def summary(plan: Plan, history: History) -> str:
    """Return one line of figures."""
    slowest = max(history.restarts_s, default=0.0)
    resumed = sum(len(watch.events) for watch in history.watches)
    return (
        f"{plan.kills} kills (seed {plan.seed}), {plan.clients} clients: {len(history.held)} responses acknowledged, "
        f"{resumed} events received, slowest restart {slowest:.2f} s"
    )


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
