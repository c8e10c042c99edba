"""Kills a server before each system call of its commits, one run a call, and has the checker look at all of them.

    python -m tests.faults.crash_points ask relay --append bench/results/faults.jsonl

A first run of each kind of work counts the calls from before the request to after its end; then one is cut at each.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio

from tests.faults import figures
from tests.faults.ground import SERVER, ground
from tests.faults.history import History
from tests.faults.invariants import violations
from tests.faults.results import RESULTS, Line, add, commit, now
from tests.faults.system_calls import Point


@dataclass(slots=True)
class Cuts:
    """What was done: how many points there are, and at how many of those that were tried the server was killed."""

    known: int = 0
    tried: int = 0
    killed: int = 0


async def cut_all(
    folder: Path, names: Sequence[str], part: Callable[[list[Point]], Sequence[Point]], program: Sequence[str] = SERVER
) -> tuple[History, Cuts]:
    """Kill at a part of the points of each of these kinds of work."""
    history, cuts = History(), Cuts()
    async with ground(folder, history, program) as on:
        for name in names:
            found = await on.count(name)
            cuts.known += len(found)
            for point in part(found):
                cuts.tried += 1
                cuts.killed += await on.cut(name, point)
    return history, cuts


def spread(most: int) -> Callable[[list[Point]], Sequence[Point]]:
    """Choose about so many points, evenly spread."""
    return lambda found: found[:: max(len(found) // most, 1)]


def main() -> int:
    """Kill at every point; 1 where anything was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="+", choices=("ask", "talk", "cancel", "delete", "steer", "relay", "upload"))
    parser.add_argument("--part", default="1/1", help="of the points: 2/3 is the second third of them")
    parser.add_argument("--append", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    lines = [_line(name, options.part) for name in options.works]
    for line in lines:
        add(options.append, line)
    return any(line["violations"] for line in lines)


def _line(name: str, part: str) -> Line:
    number, of = map(int, part.split("/"))
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix=f"chatbackend-cuts-{name}-"))
    history, cuts = anyio.run(partial(cut_all, folder, [name], lambda found: found[number - 1 :: of]))
    broken = violations(history)
    line: Line = {
        "at": now(),
        "commit": commit(),
        "campaign": f"calls of {name}",
        "part": part,
        "points": cuts.known,
        "tried": cuts.tried,
        "kills": cuts.killed,
        "violations": broken,
        "restart_ms": figures.counted(history.restarts_s),
        "seconds": round(time.monotonic() - began),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    if broken:
        return line | {"kept": str(folder)}
    shutil.rmtree(folder)
    return line


if __name__ == "__main__":
    sys.exit(main())
