"""A Redis for tests: keys of one's own on a shared server, or a server of one's own that may be killed and frozen."""

import atexit
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

from chatbackend.infra.log.redis.links import Links
from tests.support.requires import require, require_program

VARIABLE = "CHATBACKEND_TEST_REDIS"
START_S = 20.0


@functools.cache
def address() -> str:
    """Return the address of a server that tests share: the one named in the variable, or one of this process.

    Skips the test where there is neither.
    """
    if url := os.environ.get(VARIABLE):
        return url
    folder = Path(tempfile.mkdtemp(prefix="chatbackend-redis-"))
    server = OwnRedis(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.kill)
    server.start()
    return server.url


@asynccontextmanager
async def prefix() -> AsyncGenerator[str, None]:
    """Yield a key prefix that nobody else uses on the shared server; delete its keys at the end.

    Skips the test where no Redis 7 is to be had.
    """
    told = str(await ask(address(), "INFO", "server"))
    version = told.partition("redis_version:")[2].partition(".")[0]
    if not version.isdigit() or int(version) < 7:
        require("redis-server", f"install version 7 or later, or name one that runs in {VARIABLE}")
    name = f"cbtest{secrets.token_hex(6)}"
    try:
        yield name
    finally:
        await _forget(f"{name}:*")


async def _forget(pattern: str) -> None:
    """Delete the keys of a pattern."""
    async with Links(address()).link(timeout_s=5) as link:
        cursor = b"0"
        while True:
            [page] = await link.exchange([("SCAN", cursor, "MATCH", pattern, "COUNT", 1_000)])
            cursor, keys = cast("tuple[bytes, list[bytes]]", page)
            if keys:
                await link.exchange([("UNLINK", *keys)])
            if cursor == b"0":
                return


async def ask(url: str, *words: bytes | str | int) -> object:
    """Return the reply to one command, over a connection of its own."""
    async with Links(url).link(timeout_s=5) as link:
        return (await link.exchange([words]))[0]


class OwnRedis:
    """A Redis of this test alone, with an append-only file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = require_program("redis-server", "redis-server")
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Start, and wait until it has read its file and answers."""
        words = ("--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--appendonly", "yes")
        with (self._folder / "log").open("ab") as log:
            # Without fsync: with one a second, a slow disk puts off the write itself, and a kill loses it.
            self._process = subprocess.Popen(
                [self._program, *words, "--save", "", "--appendfsync", "no"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, "redis-server does not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as a crash does; nothing is said to anyone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it orderly."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Let it do nothing, while its connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def empty(self) -> None:
        """Forget everything."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(64).startswith(b"+OK")

    def written(self) -> int:
        """Return the size of what it has written down."""
        return self._file().stat().st_size

    def cut(self, size: int) -> None:
        """Take away what it wrote behind the first `size` bytes. It must not run."""
        assert self._process is None
        os.truncate(self._file(), size)

    def lose(self) -> None:
        """Lose all that it has written. It must not run."""
        assert self._process is None
        shutil.rmtree(self._folder / "appendonlydir")

    def _file(self) -> Path:
        return next((self._folder / "appendonlydir").glob("*.incr.aof"))

    def _signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(START_S)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def own_redis(folder: Path) -> Generator[OwnRedis]:
    """Start a Redis; stop it at the end."""
    server = OwnRedis(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return cast("Sequence[int]", free.getsockname())[1]
