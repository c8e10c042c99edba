"""What an idle WebSocket costs our server: memory each, how long they take to open, and what a stop of all takes.

    .venv/bin/python bench/idle_sockets.py --sockets 5000

The clients are bare TCP connections of this process that have upgraded and say nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import time
from contextlib import ExitStack

from processes import cpu_s, pss_mb, tree
from run import KEY, ROOT
from servers import Server, free_port, running

UPGRADE = (
    "GET /v1/responses HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    f"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nauthorization: Bearer {KEY}\r\n\r\n"
).encode()
AT_ONCE = 64  # handshakes under way
SETTLE_S = 3.0


def opened(stack: ExitStack, port: int, sockets: int) -> list[socket.socket]:
    """Open so many sockets."""
    found: list[socket.socket] = []
    while len(found) < sockets:
        fresh = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(AT_ONCE)]
        for connection in fresh:
            connection.sendall(UPGRADE)
        for connection in fresh:
            answer = connection.recv(4096)
            if not answer.startswith(b"HTTP/1.1 101"):
                raise SystemExit(f"a handshake was refused: {answer[:80]!r}")
        found += fresh
    return found


def measure(sockets: int, idle_s: float) -> None:
    """Print a table."""
    port = free_port()
    env = {
        "CHATBACKEND_PORT": str(port),
        "CHATBACKEND_DATA_DIR": "{dir}/data",
        "CHATBACKEND_BOOTSTRAP_KEY": KEY,
        "CHATBACKEND_LOG_LEVEL": "warning",
    }
    start = [str(ROOT / ".venv/bin/chatbackend"), "serve"]
    with running(Server("ours", f"http://127.0.0.1:{port}", start=start, env=env, ready_path="/readyz")) as live:
        pids = tree(live.pid or 0)
        with ExitStack() as stack:
            opened(stack, port, AT_ONCE)  # what is made once is no socket's
            time.sleep(SETTLE_S)
            before, began = pss_mb(pids), time.perf_counter()
            held = opened(stack, port, sockets)
            took_s = time.perf_counter() - began
            time.sleep(SETTLE_S)
            each_kib = (pss_mb(pids) - before) * 1024 / len(held)
            used = cpu_s(pids)
            time.sleep(idle_s)
            idle_cpu = (cpu_s(pids) - used) / idle_s * 100
        print(f"{len(held)} idle sockets: {each_kib:.1f} KiB each (goal 45), {len(held) / took_s:.0f} opened/s,")
        print(f"{idle_cpu:.1f} % of a core to keep them {idle_s:g} s, pings left unanswered")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=5000)
    parser.add_argument("--idle-s", type=float, default=10)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.chdir(ROOT)
    measure(options.sockets, options.idle_s)
