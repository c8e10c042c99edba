"""Runs storms in rounds, each with a seed of its own, and adds a line about each to a file, so that sums grow.

    python -m tests.faults.rounds --campaign server --kills 40 --until 600 --append bench/results/faults.jsonl

A run that was stopped goes on with the next seed. What a round with a violation left is kept, and named in its line.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

import anyio

from tests.faults import campaign, cluster_campaign, figures
from tests.faults.crowd import Crowd
from tests.faults.history import History
from tests.faults.invariants import violations
from tests.faults.results import BROKEN_OFF, RESULTS, Line, add, commit, known, now, summary, total
from tests.faults.strikes import Weather


async def storm(kind: str, *, seed: int, kills: int, folder: Path) -> History:
    """Run one round."""
    if kind == "server":
        return await campaign.run(campaign.Plan(kills=kills, seed=seed, crowd=Crowd(seed=seed)), folder)
    weather = Weather(strikes=kills, empties=seed % 2 == 0)
    plan = cluster_campaign.Plan(weather=weather, seed=seed, crowd=Crowd(asking=16, seed=seed))
    return await cluster_campaign.run(plan, folder)


def one_round(kind: str, *, seed: int, kills: int) -> Line:
    """Run one round and return its line. Its folder stays where something was broken."""
    folder = Path(tempfile.mkdtemp(prefix=f"chatbackend-storm-{kind}-{seed}-"))
    began, history = time.monotonic(), History()
    line: Line = {"at": now(), "commit": commit(), "campaign": kind, "seed": seed}
    try:
        history = anyio.run(partial(storm, kind, seed=seed, kills=kills, folder=folder))
        line |= figures_of(history, servers=1 if kind == "server" else 3)
    except Exception:
        line |= {"violations": [f"{BROKEN_OFF}: {traceback.format_exc()}"]}
    line |= {"seconds": round(time.monotonic() - began), "load": round(os.getloadavg()[0], 1)}
    if line["violations"]:
        _keep(folder, line, history)
        return line | {"kept": str(folder)}
    shutil.rmtree(folder)
    return line


def _keep(folder: Path, line: Line, history: History) -> None:
    """Write down all that was seen and held, beside what the servers left."""
    (folder / "line.json").write_text(json.dumps(line, indent=1))
    seen = [*history.watches, *history.held.items(), *history.outages, *history.ledger, history.upstream, history.files]
    (folder / "history.txt").write_text("\n".join(map(repr, seen)))


def figures_of(history: History, *, servers: int) -> Line:
    """Return the figures of a round."""
    return {
        "kills": figures.kills(history),
        "faults": dict(figures.faults(history)),
        "responses": len(history.held),
        "events": sum(len(watch.events) for watch in history.watches),
        "files": len(history.files.uploaded),
        "violations": violations(history),
        "resume_ms": figures.counted(figures.resumes_s(history)),
        "orphans_ms": figures.counted(figures.orphans_s(history, servers)),
        "restart_ms": figures.counted(history.restarts_s),
    }


def main() -> int:
    """Run rounds until there are enough kills, or one breaks off; 1 where any round broke something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaign", choices=("server", "cluster"), default="server")
    parser.add_argument("--kills", type=int, default=40, help="in each round (in the cluster: strikes)")
    parser.add_argument("--until", type=int, default=0, help="kills in all, those in the file included; else one round")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; else the next one of the file")
    parser.add_argument("--append", type=Path, default=RESULTS, metavar="FILE")
    options = parser.parse_args()
    lines = known(options.append, options.campaign)
    seed, began = options.seed or max((line["seed"] for line in lines), default=0) + 1, len(lines)
    while len(lines) == began or total(lines, "kills") < options.until:
        lines.append(one_round(options.campaign, seed=seed, kills=options.kills))
        add(options.append, lines[-1])
        seed += 1
        if "kills" not in lines[-1]:
            break
    sys.stdout.write(summary(lines) + "\n")
    return any(line["violations"] for line in lines[began:])


if __name__ == "__main__":
    sys.exit(main())
