"""How many voice sessions one core relays: 50 frames a second each way, and what that adds to a frame's way.

    .venv/bin/python bench/voice_sessions.py [--sessions 100 150 200 250 300] [--seconds 8] [--cores 0 1 2]

A frame is 20 ms of sound at 24 kHz, 1,280 characters of base64, and carries when it was sent. The clients talk to a
peer without and through our server, turn about; server, peer and clients have a core each. What is added is the
difference of the same percentile in both, the larger one of the two directions.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

sys.path.insert(0, str(Path(__file__).parents[1]))

from processes import cpu_s

from tests.support.server import PROGRAM, Server

EVERY_S = 0.02
SOUND = "A" * (1280 - 16)  # behind 16 digits that say when
STAMP = 16
HEARD = '{"type":"input_audio_buffer.append","audio":"'
SAID = '{"type":"response.output_audio.delta","response_id":"resp_1","item_id":"item_1","delta":"'
BEGUN = '{"type":"response.created","response":{"id":"resp_1"}}'
CREATED = '{"type":"session.created","session":{"type":"realtime","model":"realtime"}}'
WARM_S = 1.5
SETTLE_S = 1.0
GOAL_MS = 20.0


@dataclass(slots=True)
class Side:
    """One end of all sessions: sends what begins with `head`, times what comes; `late` are milliseconds on the way."""

    head: str
    other: str
    late: list[float] = field(default_factory=list[float])
    sent: int = 0
    counting: bool = False

    async def talk(self, send: Callable[[str], Awaitable[None]]) -> None:
        """Send a frame each 20 ms, beginning at some moment of them."""
        due = time.perf_counter() + random.random() * EVERY_S  # noqa: S311 - nothing is kept secret by it
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                due += EVERY_S
                self.sent += self.counting
                await send(f'{self.head}{time.perf_counter_ns():016d}{SOUND}"}}')

    def take(self, frame: str | bytes) -> None:
        """Time a frame."""
        if self.counting and isinstance(frame, str) and frame.startswith(self.other):
            begins = len(self.other)
            self.late.append((time.perf_counter_ns() - int(frame[begins : begins + STAMP])) / 1e6)

    def collect(self) -> tuple[int, list[float]]:
        """Return what was sent and timed since the last time."""
        found = self.sent, self.late
        self.sent, self.late = 0, []
        return found


async def run_peer() -> None:
    """Serve the other end of the sessions; say on standard output what is asked for on standard input."""
    side = Side(SAID, HEARD)

    async def session(connection: ServerConnection) -> None:
        await connection.send(CREATED)
        await connection.send(BEGUN)
        talking = asyncio.create_task(side.talk(connection.send))
        with suppress(ConnectionClosed):
            async for frame in connection:
                side.take(frame)
        talking.cancel()

    async with serve(session, "127.0.0.1", 0, compression=None, max_size=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        while asked := (await asyncio.to_thread(sys.stdin.readline)).strip():
            side.counting = asked == "count"
            sent, late = side.collect()
            print(json.dumps({"sent": sent, "late": late}), flush=True)


class Peer:
    """That process, from outside."""

    def __init__(self, core: int) -> None:
        command = ["taskset", "-c", str(core), sys.executable, __file__, "--peer"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self.port = int(self._read())

    def ask(self, what: str) -> tuple[int, list[float]]:
        """Have it `count` from now on, or `stop`; return what it sent and timed since it was last asked."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        told = json.loads(self._read())
        return told["sent"], told["late"]

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@dataclass(frozen=True, slots=True)
class Measured:
    """What some sessions found: milliseconds on the way up and down, which share of the frames came, CPU of a core."""

    up: list[float]
    down: list[float]
    arrived: float
    cpu: float

    def at(self, share: float) -> tuple[float, float]:
        """Return this percentile of either direction."""
        up, down = (sorted(times)[min(int(len(times) * share), len(times) - 1)] for times in (self.up, self.down))
        return up, down


async def talk_all(peer: Peer, dial: Callable[[], connect], sessions: int, seconds: float, *, pid: int) -> Measured:
    """Run so many sessions for a while."""
    side = Side(HEARD, SAID)

    async def one(connection: ClientConnection) -> None:
        talking = asyncio.create_task(side.talk(connection.send))
        with suppress(ConnectionClosed):
            async for frame in connection:
                side.take(frame)
        talking.cancel()

    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(dial()) for _ in range(sessions)]
        running = [asyncio.create_task(one(connection)) for connection in opened]
        await asyncio.sleep(WARM_S)
        await asyncio.to_thread(peer.ask, "count")
        side.counting, used = True, cpu_s([pid])
        await asyncio.sleep(seconds)
        cpu = (cpu_s([pid]) - used) / seconds
        (heard, down), (said, up) = side.collect(), await asyncio.to_thread(peer.ask, "stop")
        for task in running:
            task.cancel()
        for connection in opened:
            connection.transport.abort()
    return Measured(up, down, (len(up) + len(down)) / (heard + said), cpu)


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run all numbers of sessions, and say which was the last that held the goal."""
    server_core, peer_core, own_core = options.cores
    os.sched_setaffinity(0, {own_core})
    peer = Peer(peer_core)
    program = ("taskset", "-c", str(server_core), str(PROGRAM))
    settings = {"OPENAI_ENDPOINT": f"http://127.0.0.1:{peer.port}", "CHATBACKEND_LOG_LEVEL": "warning"}
    server = Server(folder, settings, program=program)
    await asyncio.to_thread(server.start)
    key = {"authorization": f"Bearer {server.key}"}
    url = f"{server.ws_url}/v1/realtime?model=openai/realtime"
    ways: list[Callable[[], connect]] = [
        lambda: connect(f"ws://127.0.0.1:{peer.port}", compression=None),
        lambda: connect(url, additional_headers=key, compression=None),
    ]
    try:
        for sessions in options.sessions:
            direct, ours = [await talk_all(peer, way, sessions, options.seconds, pid=server.pid) for way in ways]
            tell(sessions, direct, ours)
            await asyncio.sleep(SETTLE_S)
    finally:
        await asyncio.to_thread(server.stop)
        peer.end()


def tell(sessions: int, direct: Measured, ours: Measured) -> None:
    """Print a row."""
    parts = [f"{sessions:4} sessions"]
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        added = max(mine - bare for mine, bare in zip(ours.at(share), direct.at(share), strict=True))
        parts.append(f"{name} {max(direct.at(share)):.2f} -> {max(ours.at(share)):.2f} ms (added {added:.2f})")
    held = max(mine - bare for mine, bare in zip(ours.at(0.99), direct.at(0.99), strict=True)) <= GOAL_MS
    parts.append(f"{ours.arrived:.1%} came, {ours.cpu:.0%} of the core")
    print("; ".join(parts), "" if held and ours.arrived > 0.99 else "  -- beyond the goal", flush=True)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[100, 150, 200, 250, 300])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--cores", type=int, nargs=3, default=[0, 1, 2], metavar=("SERVER", "PEER", "CLIENTS"))
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        uvloop.run(run_peer())
        return
    with tempfile.TemporaryDirectory() as folder:
        uvloop.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
