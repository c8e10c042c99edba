"""The file that fault runs add their lines to; `python -m tests.faults.results [FILE]` prints the sums."""

import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.faults.figures import percentile
from tests.support.requires import ROOT

RESULTS = ROOT / "bench" / "results" / "faults.jsonl"
INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6", "I7")
BROKEN_OFF = "the round broke off"

Line = dict[str, Any]


def known(path: Path, kind: str) -> list[Line]:
    """Return the lines of a campaign that are there already."""
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["campaign"] == kind]


def add(path: Path, line: Line) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def total(lines: list[Line], name: str) -> int:
    """Return the sum of a figure."""
    return sum(line.get(name, 0) for line in lines)


def now() -> str:
    """Return the time, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def commit() -> str:
    """Return the commit under test, with a plus where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def summary(lines: list[Line]) -> str:
    """Return the sums of all rounds."""
    broken = [problem for line in lines for problem in line["violations"]]
    counts = {name: sum(problem.startswith(name) for problem in broken) for name in (*INVARIANTS, BROKEN_OFF)}
    return "\n".join(
        [
            f"{len(lines)} rounds: {total(lines, 'kills')} kills, {total(lines, 'responses')} responses, "
            f"{total(lines, 'events')} events received, {total(lines, 'files')} files",
            "faults: " + ", ".join(f"{count} {name}" for name, count in sorted(_counts(lines, "faults").items())),
            "violations: " + ", ".join(f"{name} {count}" for name, count in counts.items()),
            *(f"{name}: {_spread(_counts(lines, f'{name}_ms'))}" for name in ("resume", "orphans", "restart")),
        ]
    )


def _counts(lines: list[Line], name: str) -> Counter[str]:
    found = Counter[str]()
    for line in lines:
        found.update(line.get(name, {}))
    return found


def _spread(measured: dict[str, int]) -> str:
    p50, p99, most = (percentile(measured, share) for share in (0.5, 0.99, 1.0))
    return f"p50 {p50} ms, p99 {p99} ms, max {most} ms, of {sum(measured.values())}"


def main() -> None:
    """Print the sums of each storm, and what was cut before system calls."""
    path = Path(sys.argv[1]) if sys.argv[1:] else RESULTS
    for kind in ("server", "cluster"):
        sys.stdout.write(f"{kind}: {summary(known(path, kind))}\n\n")
    for name in ("ask", "talk", "cancel", "delete", "steer", "relay", "upload"):
        lines = known(path, f"calls of {name}")
        broken = sum(len(line["violations"]) for line in lines)
        sys.stdout.write(
            f"calls of {name}: {total(lines, 'tried')} tried, {total(lines, 'kills')} kills, {broken} violations\n"
        )


if __name__ == "__main__":
    main()
