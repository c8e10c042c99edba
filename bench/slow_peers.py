"""When peers that take nothing are let go, and what they cost meanwhile.

    .venv/bin/python bench/slow_peers.py

Bare connections ask for answers that never pause, read their first bytes, and then nothing for ever; to the server
that is a frozen client. Others are sockets that answer no ping. Goals: a consumer is let go after 10 s, a peer with
undelivered data after 15 s, an idle one after 60 s; memory stays flat.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from crowd import TEXT, Client, frame
from processes import cpu_s, pss_mb, tree, watch_peak
from replicas import Ours, replicas
from run import KEY, mock_server
from servers import running

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "mock-n200000-d1"
PEERS = 20
ESTABLISHED = "01"
ASKED = {"model": f"llama31/{MODEL}", "input": "Hello"}


def over_sse(server: Ours) -> socket.socket:
    """Ask over HTTP, and read a little."""
    body = json.dumps({**ASKED, "stream": True})
    head = (
        f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    connection = _connected(server)
    connection.sendall((head + body).encode())
    connection.recv(1024)
    return connection


def idle(server: Ours) -> socket.socket:
    """Open a socket."""
    connection = _connected(server)
    connection.sendall(Client("ws", server.port, KEY).request())
    assert connection.recv(4096).startswith(b"HTTP/1.1 101")
    return connection


def on_a_socket(server: Ours) -> socket.socket:
    """Ask on a socket, and read a little."""
    connection = idle(server)
    connection.sendall(frame(TEXT, json.dumps({"type": "response.create", **ASKED}).encode()))
    connection.recv(1024)
    return connection


def _connected(server: Ours) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


def held(server: Ours) -> int:
    """Return how many connections the server holds."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{server.port:04X}") and row[3] == ESTABLISHED for row in rows)


def measure(title: str, server: Ours, peer: Callable[[Ours], socket.socket]) -> None:
    """Print when the first and the last peer was let go, and the memory until then."""
    before = pss_mb(tree(server.pid))
    with ExitStack() as stack, watch_peak(server.pid) as peak:
        for _ in range(PEERS):
            stack.enter_context(peer(server))
        began, first, used = time.monotonic(), 0.0, cpu_s([server.pid])
        while left := held(server):
            first = first or (time.monotonic() - began if left < PEERS else 0.0)
            time.sleep(0.1)
        last = time.monotonic() - began
        used = cpu_s([server.pid]) - used
    print(f"{title:<24} let go after {first or last:.1f} to {last:.1f} s; ", end="")
    print(f"memory {before:.0f} MiB before, {peak.mb:.0f} at most; {used / last:.2f} cores", flush=True)


def main() -> None:
    """Measure each kind on a server of its own."""
    kinds = {"sockets, answers": on_a_socket, "SSE, answers": over_sse, "sockets, idle": idle}
    for title, peer in kinds.items():
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-slow-peers-")))
            mock = stack.enter_context(running(mock_server())).server
            settings = {"LLAMA31_ENDPOINT": f"{mock.url}/v1", "LLAMA31_MODELS": MODEL, "CHATBACKEND_DRAIN_S": "0"}
            [server] = replicas(stack, folder, None, settings)
            measure(title, server, peer)


if __name__ == "__main__":
    main()
