"""What the kernel knows of processes: children, memory, and when one ends (Linux)."""

import os
import select
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the ids of the living or unreaped children of `pid`."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def wait_for_end(pid: int, *, timeout_s: float = 10) -> bool:
    """Wait until the process `pid`, no child of ours perhaps, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def peak_memory_kib(pid: int | str = "self") -> int:
    """Return the largest resident size that the process has ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
