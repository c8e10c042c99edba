"""The system calls of a running server, counted or cut short by SIGKILL, with strace."""

import re
import subprocess
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.requires import require, require_program

_CALL = re.compile(r"(?m)^(\d+) +(\w+)\(")


@dataclass(frozen=True, slots=True)
class Site:
    """Calls by name; where `files` are given, those on them alone."""

    name: str
    calls: tuple[str, ...]
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """The `n`-th call of a name at a site, in the thread that makes most of them. A kill comes before it is made."""

    site: Site
    call: str
    n: int

    def __str__(self) -> str:
        return f"{self.site.name}-{self.call}-{self.n}"


@contextmanager
def traced(pid: int, site: Site, folder: Path, *, kill_at: Point | None = None) -> Generator[Path]:
    """Attach to a process, and yield the file in which its calls are written; at `kill_at` it is killed.

    Skips the test where there is no strace, or where it may not attach.
    """
    out = folder / "calls.txt"
    files = [word for name in site.files for word in ("-P", str(folder / "data" / name))]
    kill = [] if kill_at is None else ["-e", f"inject={kill_at.call}:signal=KILL:when={kill_at.n}"]
    strace = require_program("strace", "strace")
    command = [strace, "-f", "-p", str(pid), "-o", str(out), "-e", f"trace={','.join(site.calls)}", *files, *kill]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            while "Requested path" in said:  # how strace says that one is a link, or short for another
                said = process.stderr.readline()
            if "attached" not in said:
                require("strace", f"it must be allowed to attach: {said.strip()}")
            yield out
        finally:
            process.terminate()


def counted(out: Path) -> Counter[str]:
    """Return how many calls of each name were made by the thread that made most of them."""
    by_thread = Counter(_CALL.findall(out.read_text()))
    most = Counter[str]()
    for (_, call), count in by_thread.items():
        most[call] = max(most[call], count)
    return most


def points(site: Site, counts: Counter[str]) -> Sequence[Point]:
    """Return every point that was counted."""
    return [Point(site, call, n) for call in site.calls for n in range(1, counts[call] + 1)]
