"""The storm over several servers: any is killed, stopped or frozen, PostgreSQL and Redis too, under the same crowd."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from tests.faults.crowd import Crowd, model_server
from tests.faults.history import History
from tests.faults.stores import Query, collect, count_orphans, read_files, read_truth, settled, upstream_count
from tests.faults.strikes import Strikes, Weather
from tests.faults.transport import Target
from tests.support.cluster import Cluster, cluster
from tests.support.postgres import rows
from tests.support.server import PROGRAM

QUIET_S = 60.0  # after the last fault: a lease, a server's wait before it judges, the rest of every answer


@dataclass(frozen=True, slots=True)
class Plan:
    """The `weather` over `servers` that the crowd uses; `seed` makes moments and choices repeatable."""

    weather: Weather
    servers: int = 3
    seed: int = 1
    crowd: Crowd = field(default_factory=lambda: Crowd(asking=16))
    program: Sequence[str] = (str(PROGRAM),)
    model: str = "llama31/scripted-n60-d20"


async def run(plan: Plan, folder: Path) -> History:
    """Carry the plan out; return what clients and stores hold, and what was done to whom."""
    history = History(forgetful=plan.weather.empties)
    with model_server(folder) as url:
        env = {"LLAMA31_ENDPOINT": url, "CHATBACKEND_LOG_LEVEL": "warning"}
        made = cluster(folder, env, servers=plan.servers, program=plan.program)
        stands = await anyio.to_thread.run_sync(made.__enter__)
        try:
            await _run(plan, stands, history)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: made.__exit__(None, None, None))
        upstream_count(folder / "upstream.log", history)
        return history


async def _run(plan: Plan, stands: Cluster, history: History) -> None:
    target = Target([server.url for server in stands.servers], stands.servers[0].key, plan.model)
    query = _asking(stands.postgres.url)
    await plan.crowd.index_in_peace(target, history, query)
    over = anyio.Event()
    chance = random.Random(plan.seed)  # noqa: S311 - repeatable, not secret
    with anyio.CancelScope() as patience:
        async with anyio.create_task_group() as group:
            group.start_soon(plan.crowd.use, target, history, over)
            await Strikes(stands, plan.weather, history, chance).storm()
            over.set()
            patience.deadline = anyio.current_time() + QUIET_S
    await settled(query)
    await collect(stands.servers[0], history, query)
    await read_truth(query, history)
    history.files.chunked = await read_files(query)
    await count_orphans(query, history)


def _asking(url: str) -> Query:
    async def query(statement: str) -> Sequence[Mapping[str, Any]]:
        return [dict(row) for row in await rows(url, statement)]

    return query
