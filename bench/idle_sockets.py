"""What idle WebSockets cost our server: memory each, how fast they open, and the CPU of keeping them, pings answered.

    .venv/bin/python bench/idle_sockets.py --sockets 10000

The clients are bare TCP connections of this process that have upgraded, say nothing and answer pings. The kernel's
share is that of both ends, by the growth of its caches: only a machine that does nothing else tells it well.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

from crowd import Client, Crowd
from processes import cpu_s, pss_mb, tree
from run import KEY, ROOT
from servers import Server, free_port, running

AT_ONCE = 64  # handshakes under way
SETTLE_S = 3.0


def open_all(crowd: Crowd, clients: list[Client]) -> float:
    """Open them; return how long it took."""
    waiting, began, before = clients[::-1], time.perf_counter(), crowd.opened

    def enough() -> bool:
        while waiting and len(clients) - len(waiting) - (crowd.opened - before) < AT_ONCE:
            crowd.dial(waiting.pop())
        return crowd.opened - before == len(clients)

    assert crowd.run(enough, within_s=120), "not all were taken"
    return time.perf_counter() - began


def slab_kib() -> int:
    """Return the size of the kernel's caches."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Slab:"))


def measure(sockets: int, idle_s: float) -> None:
    """Print what was found."""
    port = free_port()
    env = {
        "CHATBACKEND_PORT": str(port),
        "CHATBACKEND_DATA_DIR": "{dir}/data",
        "CHATBACKEND_BOOTSTRAP_KEY": KEY,
        "CHATBACKEND_LOG_LEVEL": "warning",
    }
    start = [str(ROOT / ".venv/bin/chatbackend"), "serve"]
    with running(Server("ours", f"http://127.0.0.1:{port}", start=start, env=env, ready_path="/readyz")) as live:
        pids, crowd = tree(live.pid or 0), Crowd(wanting=lambda _: False)
        open_all(crowd, [Client("ws", port, KEY) for _ in range(AT_ONCE)])  # what is made once is no socket's
        crowd.run(lambda: False, within_s=SETTLE_S)
        before, slab = pss_mb(pids), slab_kib()
        took_s = open_all(crowd, [Client("ws", port, KEY) for _ in range(sockets)])
        crowd.run(lambda: False, within_s=SETTLE_S)
        each, kernel = (pss_mb(pids) - before) * 1024 / sockets, (slab_kib() - slab) / sockets
        used, pinged = cpu_s(pids), crowd.pinged
        crowd.run(lambda: False, within_s=idle_s)
        idle_cpu, later = (cpu_s(pids) - used) / idle_s * 100, (pss_mb(pids) - before) * 1024 / sockets
        print(
            f"{sockets} idle sockets: {each:.1f} KiB each (goal 45), {later:.1f} after {idle_s:g} s; in the kernel ",
            end="",
        )
        print(
            f"{kernel:.1f} for both ends; {sockets / took_s:.0f} opened/s; {idle_cpu:.1f} % of a core to keep them; ",
            end="",
        )
        print(f"{crowd.pinged - pinged} pings answered, {crowd.lost} lost")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--idle-s", type=float, default=45)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.chdir(ROOT)
    measure(options.sockets, options.idle_s)
