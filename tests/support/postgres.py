"""A PostgreSQL for tests: a database of one's own on a running server, or a server of one's own."""

import atexit
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import asyncpg

from chatbackend.infra.db.postgres import schema
from chatbackend.infra.db.postgres.links import connect
from chatbackend.infra.db.tables import METADATA
from tests.support.requires import require

VARIABLE = "CHATBACKEND_TEST_POSTGRES"
DEFAULT = "postgresql://postgres@127.0.0.1:5432/postgres"
START_S = 30.0


async def admin_url() -> str:
    """Return the address of a server on which databases may be made; skip the test where there is none.

    That is the one that is named, or runs as everywhere, or else one of this process, started at the first use.
    """
    if not _servers:
        url = os.environ.get(VARIABLE, DEFAULT)
        try:
            connection = await connect(url)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            if VARIABLE in os.environ:
                require("postgresql", f"none answers at {VARIABLE} ({error})")
            url = await anyio.to_thread.run_sync(_own_until_the_end)
        else:
            await connection.close()
        _servers.append(url)
    return _servers[0]


@asynccontextmanager
async def database() -> AsyncGenerator[str, None]:
    """Make an empty database, with a collation that orders unlike bytes do; yield its address; drop it."""
    url = await _made()
    try:
        yield url
    finally:
        await _drop(url)


@asynccontextmanager
async def migrated() -> AsyncGenerator[str, None]:
    """Lend a database with the newest schema and no rows; it is used again, and dropped when the process ends."""
    url = _free.pop() if _free else await _new_migrated()
    try:
        yield url
    finally:
        await _run(url, "; ".join(f"DELETE FROM {name}" for name in METADATA.tables))  # noqa: S608 - our own names
        _free.append(url)


_servers: list[str] = []  # the one that is used, once it is known
_free: list[str] = []  # migrated databases of this process that nobody uses
_COLLATION = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'"


def _own_until_the_end() -> str:
    stack = ExitStack()
    server = stack.enter_context(own_server())
    atexit.register(stack.close)
    return server.url


async def _new_migrated() -> str:
    url = await _made()
    atexit.register(anyio.run, _drop, url)
    await anyio.to_thread.run_sync(schema.upgrade, url)
    return url


async def _made() -> str:
    admin, name = await admin_url(), f"chatbackend_test_{secrets.token_hex(6)}"
    await _run(admin, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {_COLLATION}")
    return urlsplit(admin)._replace(path=f"/{name}").geturl()


async def _drop(url: str) -> None:
    await _run(await admin_url(), f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")


async def rows(url: str, query: str) -> Sequence[Mapping[str, Any]]:
    """Return the rows of a query."""
    connection = await connect(url)
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def _run(url: str, statement: str) -> None:
    connection = await connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class OwnServer:
    """A PostgreSQL of this test alone, which may be stopped and killed. It keeps its address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bin = _programs()
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        if self._user is not None:
            shutil.chown(folder, self._user)

    @property
    def url(self) -> str:
        """The address of its one database."""
        return f"postgresql://tester@127.0.0.1:{self._port}/postgres"

    def make(self) -> None:
        """Make the cluster."""
        command = [self._bin / "initdb", "-D", self._folder / "data", "-U", "tester", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*command, "--no-sync"], check=True, capture_output=True, user=self._user, cwd=self._folder)

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        options = ("-p", str(self._port), "-k", str(self._folder), "-h", "127.0.0.1")
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._folder / "data", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user, cwd=self._folder,
            )  # fmt: skip
        ready = [self._bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self._port), "-q"]
        until = time.monotonic() + START_S
        while subprocess.run(ready, check=False).returncode != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "PostgreSQL does not start"
            time.sleep(0.05)

    def crash(self) -> None:
        """Stop it as a crash does."""
        self.stop(signal.SIGQUIT)

    def freeze(self) -> None:
        """Let it and all its sessions do nothing, while they stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        own = self._process.pid
        for pid in (own, *map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split())):
            with suppress(ProcessLookupError):  # a session that ends by itself
                os.kill(pid, how)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT ends every session at once (`fast`), SIGQUIT leaves everything as a crash does."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(how)
            process.wait(START_S)


@contextmanager
def own_server() -> Generator[OwnServer]:
    """Make and start a PostgreSQL; stop and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="chatbackend-postgres-") as folder:
        server = OwnServer(Path(folder))
        server.make()
        try:
            server.start()
            yield server
        finally:
            server.stop()


def _programs() -> Path:
    """Return the folder of the newest server's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[-2]), reverse=True)
    on_path = shutil.which("initdb")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    whole = (each for each in folders if all((each / name).exists() for name in ("initdb", "postgres", "pg_isready")))
    return next(whole, None) or require("postgresql programs", "install PostgreSQL 15 or later")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
