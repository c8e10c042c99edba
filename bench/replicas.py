"""One of our servers alone, or two that share their stores: started, killed and started again on their ports."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from run import KEY, ROOT
from servers import OPENER, free_port


@dataclass(slots=True)
class Ours:
    """One of our servers, which may be killed and started on the same port."""

    env: dict[str, str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> float:
        """Start it, wait for `/readyz`, return how long that took."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own program
                [str(ROOT / ".venv/bin/chatbackend"), "serve"], env=self.env, stdout=log, stderr=log
            )
        while not self._ready():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)
        return time.monotonic() - began

    def end(self, how: signal.Signals) -> None:
        """Signal it and wait for its end."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.wait(25)

    def _ready(self) -> bool:
        with suppress(OSError), OPENER.open(f"{self.url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
        return False


def replicas(stack: ExitStack, folder: Path, stores: tuple[str, str] | None, settings: dict[str, str]) -> list[Ours]:
    """Start one server, or two that share `stores`: addresses of a PostgreSQL and a Redis."""
    shared = {"DATABASE_URL": stores[0], "REDIS_URL": stores[1]} if stores else {}
    made: list[Ours] = []
    for number in range(2 if shared else 1):
        port = free_port()
        own = {
            "CHATBACKEND_PORT": str(port),
            "CHATBACKEND_DATA_DIR": str(folder / "data"),
            "CHATBACKEND_BOOTSTRAP_KEY": KEY,
            "CHATBACKEND_LOG_LEVEL": "warning",
        }
        made.append(Ours({**os.environ, **shared, **own, **settings}, port, folder / f"server-{number}.log"))
        stack.callback(made[-1].end, signal.SIGTERM)
        made[-1].start()
    return made
