"""Asking every family, in every dialect, for every fault, all at once: what was heard, and what the upstream logged."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.faults.expected import DIALECTS, FAULTS, TIMEOUTS, Dialect, Fault
from tests.e2e.faults.families import Family
from tests.e2e.faults.fronts import Heard, ask
from tests.support.server import Server, serving

UPSTREAM = Path(__file__).parents[2] / "support" / "upstream.py"
PATIENCE_S, POLL_S = 5.0, 0.05
AT_ONCE = 16  # of the faults that end themselves; those that end by a limit wait, and wait together


@dataclass(frozen=True, slots=True)
class Case:
    """One question."""

    family: Family
    dialect: Dialect
    stream: bool
    fault: Fault
    number: int

    @property
    def upstream_model(self) -> str:
        """What the upstream is asked for; no two cases share it."""
        return f"scripted-{self.fault.script}-k{self.number}"


@dataclass(frozen=True, slots=True)
class Result:
    """What a case brought: to the caller, and at the upstream (a log line a call)."""

    case: Case
    heard: Heard | Exception
    calls: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Running:
    """A server of one family, and a client of it."""

    family: Family
    server: Server
    client: httpx2.AsyncClient

    async def ask(self, dialect: Dialect, model: str, fault: Fault, *, stream: bool) -> Heard | Exception:
        """Ask, and hear the answer or what is wrong with it."""
        try:
            async with asyncio.timeout(fault.deadline_s):  # pings keep a stream alive for ever
                return await ask(self.client, dialect, model, stream=stream)
        except Exception as error:  # a finding of its own, shown beside the others
            return error


async def run(families: Sequence[Family], folder: Path) -> list[Result]:
    """Ask everything and return what came of it."""
    async with AsyncExitStack() as stack:
        urls = await asyncio.gather(*(stack.enter_async_context(upstream()) for _ in families))
        servers = await asyncio.gather(
            *(
                stack.enter_async_context(running(family, url, folder / family.name))
                for family, url in zip(families, urls, strict=True)
            )
        )
        by_name, room = {server.family.name: server for server in servers}, asyncio.Semaphore(AT_ONCE)

        async def one(case: Case) -> Heard | Exception:
            async with nullcontext() if case.fault.limit else room:
                model = case.family.prefix + case.upstream_model
                return await by_name[case.family.name].ask(case.dialect, model, case.fault, stream=case.stream)

        asked = _cases(families)
        heard = await asyncio.gather(*(one(case) for case in asked))
        logs = {family.name: await _log(url) for family, url in zip(families, urls, strict=True)}
    return [
        Result(case, each, [row for row in logs[case.family.name] if row["model"] == case.upstream_model])
        for case, each in zip(asked, heard, strict=True)
    ]


@asynccontextmanager
async def running(
    family: Family, url: str, folder: Path, *, limits: Mapping[str, float] = TIMEOUTS, rules: str = ""
) -> AsyncGenerator[Running, None]:
    """Run a server of a family on an upstream at `url`; `rules` is more of its configuration file."""
    folder.mkdir()
    config = folder / "config.toml"
    lines = (f"{name} = {seconds}" for name, seconds in limits.items())
    config.write_text("\n".join([rules, "[defaults.timeouts]", *lines, ""]))
    async with serving(folder, family.environment(url) | {"CHATBACKEND_CONFIG": str(config)}) as server:
        every = httpx2.Limits(max_connections=None)
        headers = {"authorization": f"Bearer {server.key}"}
        async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60, limits=every) as client:
            yield Running(family, server, client)


def _cases(families: Sequence[Family]) -> list[Case]:
    """Return every case; those that wait for a limit first."""
    numbers = count()
    return [
        Case(family, dialect, stream, fault, next(numbers))
        for fault in sorted(FAULTS, key=lambda fault: fault.limit is None)
        for family in families
        for dialect in DIALECTS
        for stream in (True, False)
    ]


@asynccontextmanager
async def upstream() -> AsyncGenerator[str, None]:
    """Run an upstream in a process of its own and give its address."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(UPSTREAM), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def _log(url: str) -> list[dict[str, Any]]:
    """Return the upstream's log once every call in it has ended, or as it is when our patience has."""
    until = asyncio.get_running_loop().time() + PATIENCE_S
    async with httpx2.AsyncClient(base_url=url) as client:
        while True:
            rows = [json.loads(line) for line in (await client.get("/_log")).text.splitlines()]
            if all(row["ended_at"] for row in rows) or asyncio.get_running_loop().time() > until:
                return rows
            await asyncio.sleep(POLL_S)
