"""Starts a server under test in a folder of its own, waits until it is ready, stops it, and says how long that took."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from processes import pss_mb, tree

if TYPE_CHECKING:
    from collections.abc import Generator

KIT = Path(__file__).resolve().parent
POLL_S = 0.005
SETTLE_S = 1.0
STOP_S = 25.0  # our own drain may take 20
# Straight to the address: a proxy from the environment has no business here.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Server:
    """How to start a server; or, with `pid`, one that runs already and is only watched.

    In `start`, in the values of `env` and in `files` (name -> text, written before the start) `{dir}` becomes the
    start's own empty folder, which is also its working directory, and `{kit}` the folder of this kit.
    """

    name: str
    url: str
    start: list[str] = field(default_factory=list[str])
    env: dict[str, str] = field(default_factory=dict[str, str])
    files: dict[str, str] = field(default_factory=dict[str, str])
    ready_path: str | None = None
    ready_within_s: float = 60.0
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers; `ready_s` and `idle_mb` are None where we did not start it."""

    server: Server
    pid: int | None
    ready_s: float | None = None
    idle_mb: float | None = None
    folder: Path | None = None


class ServerFailedError(Exception):
    """A server did not start or get ready; the message ends with what it logged last."""


@contextmanager
def running(server: Server) -> Generator[Running]:
    """Run a server for the block, in a session of its own, and stop all of it afterwards."""
    if not server.start:
        yield Running(server, server.pid)
        return
    with tempfile.TemporaryDirectory(prefix=f"bench-{server.name}-") as folder:
        started = time.perf_counter()
        process = _spawn(server, Path(folder))
        try:
            _await_ready(server, process, Path(folder))
            ready_s = time.perf_counter() - started
            time.sleep(SETTLE_S)
            _check_alive(server, process, Path(folder))  # or the one that answered was another's, on the same port
            yield Running(server, process.pid, ready_s, pss_mb(tree(process.pid)), Path(folder))
        finally:
            _stop(process)


def logged(live: Running) -> list[str]:
    """Return the lines that a server printed, as far as we started it."""
    return _log(live.folder).splitlines() if live.folder else []


def free_port() -> int:
    """Find a loopback port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _spawn(server: Server, folder: Path) -> subprocess.Popen[bytes]:
    for name, text in server.files.items():
        (folder / name).write_text(_fill(text, folder))
    words = [_fill(word, folder) for word in server.start]
    env = {name: _fill(value, folder) for name, value in server.env.items()}
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603  # the words come from this kit or from the operator's own file
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **env},
            start_new_session=True,
        )


def _fill(text: str, folder: Path) -> str:
    return text.replace("{dir}", str(folder)).replace("{kit}", str(KIT))


def _await_ready(server: Server, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.perf_counter() + server.ready_within_s
    while not _is_ready(server):
        _check_alive(server, process, folder)
        if time.perf_counter() > deadline:
            raise ServerFailedError(f"{server.name} not ready after {server.ready_within_s:.0f} s:\n{_log(folder)}")
        time.sleep(POLL_S)


def _check_alive(server: Server, process: subprocess.Popen[bytes], folder: Path) -> None:
    ended = process.poll()
    if ended is not None:
        raise ServerFailedError(f"{server.name} ended with {ended}:\n{_log(folder)}")


def _log(folder: Path) -> str:
    return (folder / "server.log").read_text(errors="replace")[-2000:]


def _is_ready(server: Server) -> bool:
    try:
        if server.ready_path is None:
            host, port = server.url.split("://")[1].split("/")[0].split(":")
            socket.create_connection((host, int(port)), 1).close()
            return True
        with OPENER.open(server.url + server.ready_path, timeout=5) as answer:
            status: int = answer.status
            return status == 200
    except OSError:  # refused, reset, timed out, or an HTTP error status
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the session that this process leads, and everything it started in it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return
        return
