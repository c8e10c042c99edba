"""A fault run on one server: clients stream without pause while it is killed at random moments and started again."""

import random
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from tests.faults.crowd import Crowd, model_server
from tests.faults.history import History, Outage
from tests.faults.stores import Query, collect, count_orphans, read_files, read_truth, settled, upstream_count
from tests.faults.transport import Target
from tests.support.server import PROGRAM, Server

QUIET_S = 60.0  # after the last kill: every orphan must be terminal within 20 s, and every client done


@dataclass(frozen=True, slots=True)
class Plan:
    """`kills` of a server that the crowd uses; `seed` makes the moments repeatable."""

    kills: int
    seed: int = 1
    crowd: Crowd = field(default_factory=Crowd)
    longest_life_s: float = 1.2
    program: Sequence[str] = (str(PROGRAM),)
    model: str = "llama31/scripted-n40-d5"


async def run(plan: Plan, folder: Path) -> History:
    """Carry the plan out and return what happened; the server is stopped at the end."""
    history = History()
    query = asking(folder / "data" / "truth.db")
    with model_server(folder) as url:
        env = {"LLAMA31_ENDPOINT": url, "CHATBACKEND_LOG_LEVEL": "warning"}
        with Server(folder, env, program=plan.program) as server:
            target = Target([server.url], server.key, plan.model)
            await plan.crowd.index_in_peace(target, history, query)
            await _storm(plan, server, target, history)
            await settled(query)
            await collect(server, history, query)
    await read_all(folder, query, history)
    return history


async def read_all(folder: Path, query: Query, history: History) -> None:
    """Read what the model server counted, and the truth."""
    upstream_count(folder / "upstream.log", history)
    await read_truth(query, history)
    history.files.chunked = await read_files(query)
    await count_orphans(query, history)


async def _storm(plan: Plan, server: Server, target: Target, history: History) -> None:
    chance, over = random.Random(plan.seed), anyio.Event()  # noqa: S311 - repeatable, not secret
    with anyio.CancelScope() as patience:
        async with anyio.create_task_group() as group:
            group.start_soon(plan.crowd.use, target, history, over)
            for _ in range(plan.kills):
                await anyio.sleep(chance.uniform(0.02, plan.longest_life_s))
                outage = Outage(server.url, "killed", time.monotonic())
                history.outages.append(outage)
                await anyio.to_thread.run_sync(server.kill)
                history.restarts_s.append(await anyio.to_thread.run_sync(server.start))
                outage.ended = time.monotonic()
            over.set()
            patience.deadline = anyio.current_time() + QUIET_S


def asking(path: Path) -> Query:
    """Return what asks a SQLite database, whoever else has it open."""

    async def query(statement: str) -> Sequence[Mapping[str, Any]]:
        with closing(sqlite3.connect(path)) as truth:
            truth.row_factory = sqlite3.Row
            return [dict(row) for row in truth.execute(statement)]

    return query
