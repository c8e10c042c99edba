"""nginx before several servers, as `docs/cluster.md` sets it up."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.requires import ROOT, require

START_S = 10.0
_PAGE = ROOT / "docs" / "cluster.md"
_OUTER = """
daemon off;
pid nginx.pid;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{inner}
}}
"""


@contextmanager
def front(folder: Path, ports: Sequence[int], *, read_timeout: str | None = None) -> Generator[int]:
    """Run nginx with the configuration that the page shows before servers on these ports; yield its own port.

    `read_timeout` takes the place of the page's: how long nginx lets either side of a socket say nothing.
    """
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    inner = _configured(port, ports)
    if read_timeout is not None:
        inner = re.sub(r"proxy_read_timeout \S+;", f"proxy_read_timeout {read_timeout};", inner)
    (folder / "nginx.conf").write_text(_OUTER.format(inner=inner), "utf-8")
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [_program(), "-p", str(folder), "-c", "nginx.conf", "-e", "errors"], stdout=out, stderr=out
        )
    try:
        _await(port, process, folder)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _configured(port: int, ports: Sequence[int]) -> str:
    """Return what the page shows, for these ports."""
    [shown] = re.findall(r"^```nginx\n(.*?)^```$", _PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for number, own in enumerate(ports, start=1):
        shown = shown.replace(f"chat-{number}:8000", f"127.0.0.1:{own}")
    return str(shown.replace("listen 80;", f"listen 127.0.0.1:{port};"))


def _program() -> str:
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx") or require("nginx", "install nginx-light")


def _await(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, (folder / "errors").read_text()
            assert time.monotonic() < until, "nginx does not start"
            time.sleep(0.02)
        else:
            return
