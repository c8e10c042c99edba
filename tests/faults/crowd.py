"""Everybody who uses the servers during a fault run, and the model server behind them."""

import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
from anyio.abc import TaskGroup

from tests.faults.clients import Client, ask_on, talk_on
from tests.faults.history import History
from tests.faults.stores import Query, read_files
from tests.faults.transport import Sse, Target, WebSocket
from tests.faults.uploads import Uploader

UPSTREAM = Path(__file__).parents[1] / "support" / "upstream.py"


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many ask, how many of them in a conversation, and how many upload. Every second one is on the WebSocket."""

    asking: int = 20
    talking: int = 2
    uploading: int = 1
    seed: int = 1

    async def use(self, target: Target, history: History, over: anyio.Event) -> None:
        """Have everybody ask until it is over, and see what they asked through."""
        async with any_session() as session, anyio.create_task_group() as group:
            self._come(session, target, history, group=group, over=over)

    def _come(
        self, session: aiohttp.ClientSession, target: Target, history: History, *, group: TaskGroup, over: anyio.Event
    ) -> None:
        for number in range(self.asking + self.talking):
            transport = (Sse, WebSocket)[number % 2](session, target)
            client = Client(transport, history, seed=self.seed * 1000 + number)
            group.start_soon(ask_on if number < self.asking else talk_on, client, history, number, over)
        for number in range(self.uploading):
            uploader = Uploader(Sse(session, target), history, seed=self.seed * 1000 + number)
            group.start_soon(uploader.upload_on, number, over)

    async def index_in_peace(self, target: Target, history: History, query: Query) -> None:
        """Have each of the texts indexed once while nothing is at fault: later ones are held against these."""
        if self.uploading:
            async with any_session() as session:
                await Uploader(Sse(session, target), history, seed=self.seed).in_peace()
            history.files.undisturbed = {each.sha256: each for each in (await read_files(query)).values()}


def any_session() -> aiohttp.ClientSession:
    """Return what a client connects with: without a bound on connections, and with a new one each time."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=15)
    return aiohttp.ClientSession(connector=connector, timeout=timeout)


@contextmanager
def model_server(folder: Path) -> Generator[str]:
    """Run the scripted upstream in a process of its own, which no fault reaches; yield its address."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with (folder / "upstream.out").open("wb") as out:
        command = [sys.executable, str(UPSTREAM), "--port", str(port), "--log", str(folder / "upstream.log")]
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
