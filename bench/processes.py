"""What a process and its descendants use: CPU seconds and memory, read from /proc (Linux).

Source: proc(5).
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """List a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    pending = [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children.get(pid, [])
    return found


def cpu_s(pids: list[int]) -> float:
    """Add up user and system time, that of ended threads included, to a hundredth of a second a process."""
    ticks = sum(int(fields[11]) + int(fields[12]) for pid in pids if (fields := _stat(pid)))
    return ticks / TICKS_PER_S


def pss_mb(pids: list[int]) -> float:
    """Add up the proportional set sizes in MiB, so that a page which two processes share counts once."""
    return sum(_pss_kb(pid) for pid in pids) / 1024


class Peak:
    """The largest memory seen so far."""

    def __init__(self) -> None:
        self.mb = 0.0


@contextmanager
def watch_peak(root: int | None, *, every_s: float = 0.25) -> Generator[Peak]:
    """Sample the memory of a process tree in a thread while the block runs; no process: a peak of 0."""
    peak, ended = Peak(), threading.Event()

    def sample() -> None:
        while root is not None and not ended.wait(every_s):
            peak.mb = max(peak.mb, pss_mb(tree(root)))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _stat(pid: int) -> list[str] | None:
    """Read the fields behind the command's name, from the state on; None once the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def _pss_kb(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
