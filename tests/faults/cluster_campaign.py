"""The storm over several servers: any is killed or frozen, PostgreSQL and Redis too, under streaming clients."""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import msgspec

from tests.faults.campaign import UPSTREAM, ask_on, collect, free_port, upstream_count
from tests.faults.clients import Client, Target
from tests.faults.history import History, Row
from tests.support.cluster import Cluster, cluster
from tests.support.postgres import rows
from tests.support.server import PROGRAM

QUIET_S = 90.0  # after the last fault: a lease, a server's wait before it judges, and the rest of every answer


@dataclass(frozen=True, slots=True)
class Plan:
    """`faults` of `clients` streaming clients on `servers`; `seed` makes moments and choices repeatable."""

    faults: int
    servers: int = 3
    clients: int = 12
    seed: int = 1
    longest_peace_s: float = 4.0
    longest_absence_s: float = 6.0
    longest_freeze_s: float = 22.0  # of a server: longer than its lease
    program: Sequence[str] = (str(PROGRAM),)
    model: str = "llama31/scripted-n60-d20"


async def run(plan: Plan, folder: Path) -> tuple[History, list[str]]:
    """Carry the plan out; return what clients and stores hold, and what was done to whom."""
    history, done = History(), list[str]()
    port = free_port()
    with (folder / "upstream.out").open("wb") as out:
        command = [sys.executable, str(UPSTREAM), "--port", str(port), "--log", str(folder / "upstream.log")]
        upstream = subprocess.Popen(command, stdout=out, stderr=out)
    env = {"LLAMA31_ENDPOINT": f"http://127.0.0.1:{port}/v1", "CHATBACKEND_LOG_LEVEL": "warning"}
    made = cluster(folder, env, servers=plan.servers, program=plan.program)
    try:
        stands = await anyio.to_thread.run_sync(made.__enter__)
        try:
            await _storm(plan, stands, history, done)
            await collect(stands.servers[0], history)
            await _read_truth(stands.postgres.url, history)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: made.__exit__(None, None, None))
        upstream_count(folder / "upstream.log", history)
        return history, done
    finally:
        upstream.kill()
        upstream.wait()


async def _storm(plan: Plan, stands: Cluster, history: History, done: list[str]) -> None:
    target = Target([server.url for server in stands.servers], stands.servers[0].key, plan.model)
    over = anyio.Event()
    chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=15)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        with anyio.move_on_after(plan.faults * (plan.longest_peace_s + 10) + QUIET_S):
            async with anyio.create_task_group() as group:
                for number in range(plan.clients):
                    transport = ("sse", "ws")[number % 2]
                    client = Client(session, target, history, transport=transport, seed=plan.seed * 1000 + number)
                    group.start_soon(ask_on, client, history, number, over)
                for _ in range(plan.faults):
                    await anyio.sleep(chance.uniform(0.5, plan.longest_peace_s))
                    await _strike(plan, stands, chance, done)
                over.set()


async def _strike(plan: Plan, stands: Cluster, chance: random.Random, done: list[str]) -> None:
    """Kill or freeze something for a while, and bring it back."""
    server = chance.choice(stands.servers)
    name = f"server {stands.servers.index(server)}"
    faults: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        (f"{name} killed", server.kill, server.start),
        (f"{name} frozen", server.freeze, server.thaw),
        ("redis killed", stands.redis.kill, stands.redis.start),
        ("redis frozen", stands.redis.freeze, stands.redis.thaw),
        ("postgresql killed", stands.postgres.crash, stands.postgres.start),
        ("postgresql frozen", stands.postgres.freeze, stands.postgres.thaw),
    ]
    what, begin, finish = chance.choices(faults, (4, 2, 1, 1, 1, 1))[0]
    away_s = chance.uniform(0.2, plan.longest_freeze_s if begin == server.freeze else plan.longest_absence_s)
    done.append(f"{what} for {away_s:.1f} s")
    await anyio.to_thread.run_sync(begin)
    with anyio.CancelScope(shield=True):
        await anyio.sleep(away_s)
        await anyio.to_thread.run_sync(finish)


async def _read_truth(url: str, history: History) -> None:
    """Read what no route shows: the ledger, and how many responses each key made."""
    for row in await rows(url, "SELECT response_id, status, estimated, input_tokens, output_tokens FROM ledger"):
        response_id, status, estimated, given, taken = row.values()
        history.ledger.append(Row(response_id, status, bool(estimated), given, taken))
    for row in await rows(url, "SELECT body FROM items WHERE direction = 'input'"):
        text = msgspec.json.decode(row["body"])["content"][0]["text"]
        history.stored_by_key[text.removeprefix("Question ")] += 1
