"""A server that does pieces of work, and is killed before a system call of one.

A piece of work ends whatever happens in it: its client comes back, repeats and resumes until it has what it wanted.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from tests.faults.campaign import asking, read_all
from tests.faults.clients import Client
from tests.faults.crowd import any_session, model_server
from tests.faults.history import History, Outage
from tests.faults.relayed import relay
from tests.faults.stores import collect, read_files, settled
from tests.faults.system_calls import Point, Site, counted, points, traced
from tests.faults.transport import Sse, Target, WebSocket
from tests.faults.uploads import TEXTS, Uploader
from tests.support.server import PROGRAM, Server

PATIENCE_S = 25.0  # a restart, and the end of what it takes over
SERVER = (str(PROGRAM),)
AFTER_S = 0.4  # what is still done behind the end of a piece of work
_COMMIT = ("pwrite64", "fdatasync", "fsync", "ftruncate", "fcntl")
TRUTH = Site("truth", _COMMIT, ("truth.db", "truth.db-wal", "truth.db-shm"))
EVENTS = Site("events", _COMMIT, ("events.db", "events.db-wal", "events.db-shm"))
BLOBS = Site("blobs", ("fsync", "rename", "unlink", "mkdir"))

Work = Callable[[str], Awaitable[None]]


class Ground:
    """A server, and everything that can be asked of it. A server that dies is started again at once."""

    def __init__(self, server: Server, history: History, sse: Sse, socket: WebSocket) -> None:
        self.server = server
        self.history = history
        self._died = anyio.Event()
        uploader = Uploader(sse, history, seed=1)
        ask, talk = (Client(each, history, seed=1, manner="ask") for each in (sse, socket))
        self.works: dict[str, tuple[Work, Sequence[Site]]] = {
            "ask": (ask.turn, (TRUTH, EVENTS)),
            "talk": (partial(self._talk, talk), (TRUTH, EVENTS)),
            "cancel": (Client(sse, history, seed=1, manner="cancel").turn, (TRUTH, EVENTS)),
            "delete": (Client(sse, history, seed=1, manner="delete").turn, (TRUTH, EVENTS)),
            "steer": (Client(socket, history, seed=1, manner="steer").turn, (TRUTH, EVENTS)),
            "relay": (partial(relay, sse, history), (TRUTH,)),
            "upload": (partial(self._upload, uploader), (TRUTH, BLOBS)),
        }

    async def count(self, name: str) -> list[Point]:
        """Do a piece of work in peace at each of its sites; return every call of it."""
        work, sites = self.works[name]
        await work(f"{name}-first")  # what is made once, and what a server does at first, is not in the count
        found: list[Point] = []
        for site in sites:
            with traced(self.server.pid, site, self.server.folder) as out:
                await work(f"{name}-{site.name}-counted")
                await anyio.sleep(AFTER_S)
            found += points(site, counted(out))
        return found

    async def cut(self, name: str, point: Point) -> bool:
        """Do a piece of work on a server that is killed at a point of it; return whether it came to that."""
        self._died = anyio.Event()
        with traced(self.server.pid, point.site, self.server.folder, kill_at=point):
            async with anyio.create_task_group() as group:
                group.start_soon(self._revive)
                with anyio.move_on_after(PATIENCE_S) as patience:
                    await self.works[name][0](f"{name}-{point}")
                if patience.cancelled_caught:
                    self.history.unfinished.append(f"{name}-{point}")
                with anyio.move_on_after(AFTER_S):
                    await self._died.wait()
                if not self._died.is_set():
                    group.cancel_scope.cancel()
        return self._died.is_set()

    async def _revive(self) -> None:
        process = self.server.process
        assert process is not None
        code = await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        assert code == -9, f"the server ended by itself with {code}"
        with anyio.CancelScope(shield=True):
            outage = Outage(self.server.url, "killed", time.monotonic())
            self.history.outages.append(outage)
            self._died.set()
            await anyio.to_thread.run_sync(self.server.kill)
            self.history.restarts_s.append(await anyio.to_thread.run_sync(self.server.start))
            outage.ended = time.monotonic()

    async def _talk(self, client: Client, key: str) -> None:
        await client.turn(key, await client.converse(f"{key}-conversation"))

    async def _upload(self, uploader: Uploader, key: str) -> None:
        await uploader.one(key, TEXTS[1])


@asynccontextmanager
async def ground(folder: Path, history: History, program: Sequence[str] = SERVER) -> AsyncGenerator[Ground]:
    """Start a server and its model; read everything into the history at the end."""
    query = asking(folder / "data" / "truth.db")
    with model_server(folder) as url:
        env = {"LLAMA31_ENDPOINT": url, "CHATBACKEND_LOG_LEVEL": "warning"}
        server = Server(folder, env, program=program)
        await anyio.to_thread.run_sync(server.start)
        try:
            target = Target([server.url], server.key, "llama31/scripted-n6-d2")
            async with any_session() as session:
                await Uploader(Sse(session, target), history, seed=1).in_peace()
                history.files.undisturbed = {each.sha256: each for each in (await read_files(query)).values()}
                yield Ground(server, history, Sse(session, target), WebSocket(session, target))
            await settled(query)
            await collect(server, history, query)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(server.stop)
    await read_all(folder, query, history)
