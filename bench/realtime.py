"""What the Realtime relay adds to a frame, beside a bare loop of two `websockets` connections, in one run.

    .venv/bin/python bench/realtime.py [--frames 20000] [--trips 3000] [--rounds 3]

An echo stands for the provider. Frames of 1 KiB go there and back: one at a time for the latency, 64 on their way for
the throughput; to the echo itself, through a bare relay in a process of its own, and through our server, turn about.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.server import Server

FRAME = json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (1024 - 55)}, separators=(",", ":"))
WINDOW = 64
BARE = """
import asyncio, sys
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
async def pump(a, b):
    async for frame in a:
        await b.send(frame)
async def relay(client):
    async with connect(sys.argv[1], compression=None, max_size=None) as upstream:
        await asyncio.gather(pump(client, upstream), pump(upstream, client))
async def main():
    import uvloop
    async with serve(relay, "127.0.0.1", 0, compression=None, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()
import uvloop
uvloop.run(main())
"""


async def echo(connection: ServerConnection) -> None:
    """Send back what comes."""
    with suppress(ConnectionClosed):
        async for frame in connection:
            await connection.send(frame)


@asynccontextmanager
async def bare(url: str) -> AsyncGenerator[str]:
    """Run the bare relay in a process of its own; give its address."""
    command = [sys.executable, "-c", BARE, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220, S603 - ahead of it all
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def latency(connection: ClientConnection, trips: int) -> list[float]:
    """Return the milliseconds of each trip there and back."""
    took: list[float] = []
    for _ in range(trips):
        began = time.perf_counter()
        await connection.send(FRAME)
        await connection.recv()
        took.append((time.perf_counter() - began) * 1000)
    return took


async def throughput(connection: ClientConnection, frames: int) -> float:
    """Return the frames a second that come back, `WINDOW` of them on their way."""
    room = asyncio.Semaphore(WINDOW)

    async def send() -> None:
        for _ in range(frames):
            await room.acquire()
            await connection.send(FRAME)

    began = time.perf_counter()
    sending = asyncio.create_task(send())
    for _ in range(frames):
        await connection.recv()
        room.release()
    await sending
    return frames / (time.perf_counter() - began)


def at(trips: list[float], share: float) -> float:
    """Return the time within which this share of the trips were made."""
    return sorted(trips)[int(len(trips) * share)]


def shown(name: str, trips: list[float], rates: list[float], cpu_us: float | None) -> None:
    """Print a row."""
    p50, p99 = at(trips, 0.5), at(trips, 0.99)
    cpu = "" if cpu_us is None else f", {cpu_us:.0f} us CPU a frame there and back"
    print(f"{name:8} p50 {p50:.3f} ms, p99 {p99:.3f} ms there and back; {statistics.median(rates):,.0f} frames/s{cpu}")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run all rounds and print what came of them."""
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(serve(echo, "127.0.0.1", 0, compression=None, max_size=None))
        port = next(iter(upstream.sockets)).getsockname()[1]
        there = f"127.0.0.1:{port}"
        settings = {
            "OPENAI_ENDPOINT": f"http://{there}",
            "OPENAI_API_KEY": "sk-none",
            "CHATBACKEND_LOG_LEVEL": "warning",
        }
        server = Server(folder, settings)
        await asyncio.to_thread(server.start)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        loop = await stack.enter_async_context(bare(f"ws://{there}"))
        key = {"authorization": f"Bearer {server.key}"}
        ways: dict[str, Callable[[], connect]] = {
            "direct": lambda: connect(f"ws://{there}", compression=None),
            "bare": lambda: connect(loop, compression=None),
            "ours": lambda: connect(
                f"{server.ws_url}/v1/realtime?model=openai/realtime", additional_headers=key, compression=None
            ),
        }
        trips: dict[str, list[float]] = {name: [] for name in ways}
        rates: dict[str, list[float]] = {name: [] for name in ways}
        used = 0.0
        for _ in range(options.rounds):
            for name, way in ways.items():
                async with way() as connection:
                    await latency(connection, 200)
                    trips[name] += await latency(connection, options.trips)
                    before = cpu_s(server.pid)
                    rates[name].append(await throughput(connection, options.frames))
                    used += cpu_s(server.pid) - before if name == "ours" else 0.0
        for name in ways:
            cpu_us = used / options.frames / options.rounds * 1e6 if name == "ours" else None
            shown(name, trips[name], rates[name], cpu_us)
        ratio = statistics.median(rates["ours"]) / statistics.median(rates["bare"])
        p50, p99 = (at(trips["ours"], share) - at(trips["direct"], share) for share in (0.5, 0.99))
        print(f"throughput: {ratio:.2f} of the bare loop; added there and back: p50 {p50:.3f} ms, p99 {p99:.3f} ms")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--trips", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
