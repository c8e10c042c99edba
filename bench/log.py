"""Measure the event logs: appends a second and their latency, over many streams at once, one event each.

Run: .venv/bin/python bench/log.py [--streams 100] [--rate 50] [--seconds 10] [--only memory,sqlite,redis] [--redis URL]
Without `--redis` a redis-server of its own is started (append-only file, fsync every second), if there is one.
"""

import argparse
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import uvloop

from chatbackend.infra.db import migrate
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.log.unwritten import HALF_BYTES
from chatbackend.infra.system import report
from chatbackend.usecases.ports import EventLog, LogEvent

DATA = b'{"type":"response.output_text.delta","item_id":"msg_0123456789abcdef","delta":"token","sequence_number":0}' * 2


@asynccontextmanager
async def memory(folder: Path, url: str | None) -> AsyncGenerator[EventLog, None]:
    yield MemoryEventLog(time.monotonic)


@asynccontextmanager
async def sqlite(folder: Path, url: str | None) -> AsyncGenerator[EventLog, None]:
    await anyio.to_thread.run_sync(migrate.make_event_log, folder / "events.db")
    async with SqliteDatabase(folder / "events.db", synchronous="NORMAL") as database:
        with Spool(folder / "events.spool", HALF_BYTES) as spool:
            async with SqliteEventLog(database, spool, time.time, report) as log:
                yield log


@asynccontextmanager
async def redis(folder: Path, url: str | None) -> AsyncGenerator[EventLog, None]:
    server = None
    if url is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [shutil.which("redis-server") or "redis-server", "--port", str(port), "--bind", "127.0.0.1"]
        command += ["--dir", str(folder), "--appendonly", "yes", "--save", ""]
        server = subprocess.Popen(  # noqa: ASYNC220, S603 - a measurement starts its server
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        url = f"redis://127.0.0.1:{port}/0"
    try:
        async with RedisEventLog(url, prefix=f"bench{time.time_ns()}") as log:
            yield log
    finally:
        if server is not None:
            server.kill()


LOGS: dict[str, Callable[[Path, str | None], AbstractAsyncContextManager[EventLog]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "redis": redis,
}


async def load(
    log: EventLog, phase: str, *, streams: int, rate: float | None, seconds: float
) -> tuple[float, list[float]]:
    """Append to every stream, at `rate` a second or as fast as it goes; return appends a second and latencies (s)."""
    latencies: list[float] = []
    names = [f"{phase}{number}" for number in range(streams)]
    for name in names:
        await log.open(name, fence=1)
    began = time.perf_counter()

    async def own(name: str, offset: float) -> None:
        number = 0
        while (start := time.perf_counter()) - began < seconds:
            if rate is not None and start < (due := began + offset + number / rate):
                await anyio.sleep(due - start)
            sent = time.perf_counter()
            await log.append(name, fence=1, expected=number, events=[LogEvent(number, "delta", DATA)], ended=False)
            latencies.append(time.perf_counter() - sent)
            number += 1

    async with anyio.create_task_group() as group:
        for at, name in enumerate(names):
            group.start_soon(own, name, 0.0 if rate is None else at / streams / rate)
    return len(latencies) / (time.perf_counter() - began), latencies


def row(name: str, phase: str, rate: float, latencies: list[float]) -> str:
    """Return a line of the table."""
    cuts = statistics.quantiles(latencies, n=1_000)
    p50, p99, p999 = (f"{cuts[at] * 1_000:8.2f}" for at in (499, 989, 998))
    return f"{name:8} {phase:8} {rate:10.0f} {p50} {p99} {p999} {max(latencies) * 1_000:8.2f}"


async def main(options: argparse.Namespace) -> None:
    print(f"{options.streams} streams; paced: {options.rate:g}/s each; full: one append under way on each")
    print(f"{'log':8} {'load':8} {'appends/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'p99.9':>8} {'max':>8}")
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            async with LOGS[name](Path(folder), options.redis) as log:
                for phase, rate in (("paced", options.rate), ("full", None)):
                    done = await load(log, phase, streams=options.streams, rate=rate, seconds=options.seconds)
                    print(row(name, phase, *done), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", default="memory,sqlite,redis")
    parser.add_argument("--redis")
    anyio.run(main, parser.parse_args(), backend_options={"loop_factory": uvloop.new_event_loop})
