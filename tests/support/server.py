"""The real server in its own process: started, stopped and killed by its id.

`with Server(folder) as server:` for any scope, or the `server` fixture. The port is the system's choice at the
first start and stays the same after, so that clients find a restarted server where they left it. What the server
printed is in `server.out` and `server.err` of the folder, of every start one after the other.
"""

import http.client
import os
import re
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio.to_thread
import pytest

from tests.support.event_check import check_events

READY_S = 20.0  # far above the promise: a test machine is busy
STOP_S = 25.0
POLL_S = 0.02
PROGRAM = Path(sys.executable).with_name("chatbackend")
_ADDRESS = re.compile(r"ready on (https?://127\.0\.0\.1:(\d+))")
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")  # nothing of the developer's own configuration


class Server:
    """One server on one data folder. `env` adds settings: `{"LLAMA31_ENDPOINT": upstream.url}`."""

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, *, program: Sequence[str] = (str(PROGRAM),)
    ) -> None:
        self.folder = folder
        self._program = program
        self.data = folder / "data"
        self.out = folder / "server.out"
        self.err = folder / "server.err"
        self.key = f"sk-test-{secrets.token_hex(12)}"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._env = dict(env or {})

    @property
    def certificate(self) -> str | None:
        """The file that a client trusts it by; None where it serves without TLS."""
        return self._env.get("CHATBACKEND_TLS_CERT")

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What the `openai` SDK is given."""
        return f"{self.url}/v1"

    @property
    def ws_url(self) -> str:
        """The address for WebSockets, without a path."""
        return f"ws{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self.process is not None, "the server is not running"
        return self.process.pid

    @property
    def environment(self) -> dict[str, str]:
        """What the server's processes and `run` get."""
        inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {
            "CHATBACKEND_DATA_DIR": str(self.data),
            "CHATBACKEND_PORT": str(self.port),
            "CHATBACKEND_BOOTSTRAP_KEY": self.key,
        }
        return {**inherited, **own, **self._env}

    def start(self, env: Mapping[str, str] | None = None) -> float:
        """Start and wait for `/readyz`; return how many seconds that took. `env` changes settings from now on."""
        assert self.process is None, "the server is running already"
        self._env |= env or {}
        began, printed = time.monotonic(), self.out.stat().st_size if self.out.exists() else 0
        with self.out.open("ab") as out, self.err.open("ab") as err:
            command = [*self._program, "serve"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=err, cwd=self.folder)
        while not self._ready(printed):
            assert self.process.poll() is None, f"the server ended while it started:\n{self.log()}"
            assert time.monotonic() - began < READY_S, f"not ready within {READY_S} s:\n{self.log()}"
            time.sleep(POLL_S)
        return time.monotonic() - began

    def stop(self) -> int:
        """End it by SIGTERM, as an operator does; return its exit code (0 when it is not running).

        Raises: AssertionError when an event that it ever logged does not fit the SDK's types.
        """
        code = self._end(signal.SIGTERM)
        check_events(self.data / "events.db")
        return code

    def kill(self) -> int:
        """End it by SIGKILL: nothing is flushed, closed or said."""
        return self._end(signal.SIGKILL)

    def run(self, *arguments: str) -> str:
        """Run another `chatbackend` command on the same data folder and return what it printed."""
        command = [str(PROGRAM), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def new_key(self, account: str = "default") -> str:
        """Make a further key and return its secret."""
        return self.run("keys", "create", "--account", account).strip()

    def log(self) -> str:
        """Return everything printed so far."""
        return "\n".join(path.read_text("utf-8", "replace") for path in (self.out, self.err) if path.exists())

    def _ready(self, printed: int) -> bool:
        found = _ADDRESS.search(self.out.read_bytes()[printed:].decode("utf-8", "replace"))
        if found is None:
            return False
        self.port = int(found[2])
        connection = self._connection()
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.certificate is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        trusting = ssl.create_default_context(cafile=self.certificate)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=trusting)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(number)  # a process that has ended already is not signalled
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the server did not end within {STOP_S} s:\n{self.log()}") from None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@asynccontextmanager
async def serving(folder: Path, env: Mapping[str, str]) -> AsyncGenerator[Server, None]:
    """Run a server while an upstream lives on this very loop: starting and stopping wait in a thread."""
    server = Server(folder, env)
    await anyio.to_thread.run_sync(server.start)
    try:
        yield server
    finally:
        await anyio.to_thread.run_sync(server.stop)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Give one test a server of its own, without any provider (the `local` model only)."""
    with Server(tmp_path) as running:
        yield running
