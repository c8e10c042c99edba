"""Measures targets in turn, inside every scenario of every round, and keeps the medians. Standard library only.

    python3 bench/rounds.py targets.json --rounds 3 --out result.json

The machine's noise falls on all targets alike, so CPU figures hold and latencies may be compared inside one result.
`targets.example.json` shows the file: `servers` (see servers.Server), `targets` (see scenarios.Target), `upstream` (the
server whose CPU is nobody's but who must run all the time, the mock).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from scenarios import SCENARIOS, LoadFailedError, Scenario, Target, build, load, measure
from servers import Running, Server, ServerFailedError, logged, running

if TYPE_CHECKING:
    from collections.abc import Iterable

STARTS = 3
PROBE = Scenario(stream=True, connections=1, model="mock-n5-d2", seconds=2, extra=("--max-requests", "1"))

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Setup:
    """All that is measured; `upstream` names the server that runs throughout."""

    upstream: str
    servers: dict[str, Server]
    targets: list[Target]


@dataclass(frozen=True, slots=True)
class Options:
    """How much is measured."""

    rounds: int = 3
    scale: float = 1.0
    scenarios: list[str] = field(default_factory=lambda: list(SCENARIOS))


class ServerResult(TypedDict):
    ready_s: float | None
    idle_mb: float | None
    starts: int


class TargetResult(TypedDict):
    server: str
    api: str
    store: bool
    role: str
    offered: bool
    figures: dict[str, Figures]
    runs: dict[str, list[Figures]]


class Result(TypedDict):
    machine: dict[str, str | int | list[float]]
    versions: dict[str, str]
    servers: dict[str, ServerResult]
    targets: dict[str, TargetResult]
    failures: list[str]


class Bench:
    """One whole measurement."""

    def __init__(self, setup: Setup, options: Options) -> None:
        self._setup = setup
        self._options = options
        self._starts: dict[str, list[Running]] = {name: [] for name in setup.servers}
        self._runs: dict[str, dict[str, list[Figures]]] = {target.name: {} for target in setup.targets}
        self._offered: list[Target] = []
        self._failures: list[str] = []

    def run(self) -> Result:
        """Run all phases: starts, memory in fresh processes, then the interleaved rounds."""
        setup, before = self._setup, machine()
        with running(setup.servers[setup.upstream]) as upstream:
            self._starts[setup.upstream].append(upstream)
            for server in self._peers():
                self._start_and_probe(server)
            self._offered += [target for target in setup.targets if target.server == setup.upstream]
            for target in self._offered:
                self._measure_memory(target)
            self._measure_rounds(upstream)
        return self._result(before)

    def _peers(self) -> list[Server]:
        return [server for name, server in self._setup.servers.items() if name != self._setup.upstream]

    def _start_and_probe(self, server: Server) -> None:
        """Start a server a few times for its ready time and idle memory, and ask which of its targets it has."""
        for number in range(STARTS if server.start else 1):
            with running(server) as live:
                self._note_start(live)
                if number == 0:
                    self._offered += [t for t in self._setup.targets if t.server == server.name and offers(server, t)]

    def _note_start(self, live: Running) -> None:
        self._starts[live.server.name].append(live)
        if live.ready_s is not None and live.idle_mb is not None:
            say(f"{live.server.name}: ready in {live.ready_s:.2f} s, idle {live.idle_mb:.1f} MB")

    def _measure_memory(self, target: Target) -> None:
        """Hold many streams open on a process that has only answered one request before."""
        server = self._setup.servers[target.server]
        for name in self._options.scenarios:
            scenario = SCENARIOS[name]
            if target.role == "floor" or not scenario.memory or not scenario.fits(target):
                continue
            with running(server) as live:
                self._note_start(live)
                load(server.url, target, PROBE)
                self._run(name, target, live.pid)

    def _measure_rounds(self, upstream: Running) -> None:
        names = [name for name in self._options.scenarios if not SCENARIOS[name].memory]
        with ExitStack() as stack:
            live = {server.name: stack.enter_context(_Restartable(server)) for server in self._peers()}
            for target in self._offered:
                load(self._setup.servers[target.server].url, target, SCENARIOS["flood"], scale=0.25)  # warms it up
            for number in range(self._options.rounds):
                for name in names:
                    for target in self._offered if number % 2 == 0 else reversed(self._offered):
                        if SCENARIOS[name].fits(target):
                            self._run_on(live.get(target.server), name, target, upstream.pid)

    def _run_on(self, server: _Restartable | None, name: str, target: Target, upstream: int | None) -> None:
        """Measure once; a server that does not answer any more afterwards is started anew, and the result says so."""
        measured = self._run(name, target, upstream if server is None else server.pid)
        if measured or server is None or server.answers(target):
            return
        self._failures.append(f"{name}: {target.server} answered nothing any more and was started anew; it said last:")
        self._failures += [f"  {line}" for line in server.last_lines()]
        server.restart()
        load(server.url, target, SCENARIOS["flood"], scale=0.25)

    def _run(self, name: str, target: Target, pid: int | None) -> bool:
        """Measure once. A load without one good answer is a failure of the result, not the end of a long run."""
        url = self._setup.servers[target.server].url
        try:
            figures = measure(url, pid, target, SCENARIOS[name], scale=self._options.scale)
        except LoadFailedError as error:
            self._failures.append(f"{name}: {error}")
            say(self._failures[-1])
            return False
        self._runs[target.name].setdefault(name, []).append(figures)
        say(f"{name:9} {target.name:22} {' '.join(f'{k}={v:.4g}' for k, v in figures.items())}")
        return True

    def _result(self, before: dict[str, str | int | list[float]]) -> Result:
        setup = self._setup
        return {
            "machine": before,
            "versions": {},
            "servers": {name: _server_result(starts) for name, starts in self._starts.items()},
            "targets": {target.name: self._target_result(target) for target in setup.targets},
            "failures": self._failures,
        }

    def _target_result(self, target: Target) -> TargetResult:
        runs = self._runs[target.name]
        return {
            "server": target.server,
            "api": target.api,
            "store": target.store,
            "role": target.role,
            "offered": target in self._offered,
            "figures": {name: medians(figures) for name, figures in runs.items()},
            "runs": runs,
        }


class _Restartable:
    """A server that runs for a block, or several of them one after the other."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._server = server
        self._stack = ExitStack()

    @property
    def pid(self) -> int | None:
        return self._live.pid

    def answers(self, target: Target) -> bool:
        """Tell whether it still gives one answer."""
        return load(self.url, target, PROBE)["ok"] > 0

    def last_lines(self, count: int = 5) -> list[str]:
        """Return what it logged last."""
        return logged(self._live)[-count:]

    def restart(self) -> None:
        """Start it in a new process and a new folder."""
        self._stack.close()
        self._live = self._stack.enter_context(running(self._server))
        say(f"{self._server.name}: started anew")

    def __enter__(self) -> _Restartable:
        self._live = self._stack.enter_context(running(self._server))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def offers(server: Server, target: Target) -> bool:
    """Ask for one answer; False when the server does not have the route.

    Raises:
        LoadFailedError: when it has the route and answers badly.
    """
    answer = load(server.url, target, PROBE)
    if answer["ok"]:
        return True
    if answer["last_status"] not in {404, 405}:
        raise LoadFailedError(f"{target.name}: {answer['fault'] or 'no answer'}")
    say(f"{target.name}: not offered ({answer['fault']})")
    return False


def medians(runs: list[Figures]) -> Figures:
    """Take the median of each figure over the runs that have it."""
    names = sorted({name for run in runs for name in run})
    return {name: round(statistics.median(run[name] for run in runs if name in run), 4) for name in names}


def machine() -> dict[str, str | int | list[float]]:
    """Say on what this is measured, when, and how busy it was before; the host is not named."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count() or 0,
        "load_average": list(os.getloadavg()),
        "day": time.strftime("%Y-%m-%d"),
    }


def read_setup(path: Path) -> Setup:
    """Read a targets file.

    Raises:
        TypeError: when it has a field that a server or a target does not have.
    """
    document = cast("dict[str, object]", json.loads(path.read_text()))
    servers = [Server(**fields) for fields in cast("Iterable[dict[str, str]]", document["servers"])]  # pyright: ignore[reportArgumentType]  # the operator's own file
    targets = [Target(**fields) for fields in cast("Iterable[dict[str, str]]", document["targets"])]  # pyright: ignore[reportArgumentType]  # the same
    return Setup(str(document["upstream"]), {server.name: server for server in servers}, targets)


def only(targets: list[Target], arguments: argparse.Namespace) -> list[Target]:
    """Keep the targets that `--only` names, or all."""
    names = cast("str | None", arguments.only)
    return [target for target in targets if target.name in _known(names, [target.name for target in targets])]


def run(setup: Setup, options: Options) -> Result:
    """Measure, or end the program with what a server or target said when it could not be measured at all."""
    try:
        return Bench(setup, options).run()
    except (ServerFailedError, LoadFailedError) as error:
        raise SystemExit(str(error)) from error


def save(result: Result, path: Path) -> None:
    path.write_text(json.dumps(result, indent=1) + "\n")


def say(line: str) -> None:
    print(f"# {line}", file=sys.stderr, flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how much is measured."""
    parser.add_argument("--only", help="names of targets, by commas")
    parser.add_argument("--scenarios", help=f"names by commas, of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the length of every run")
    parser.add_argument("--out", type=Path, default=Path("result.json"))


def options_of(arguments: argparse.Namespace) -> Options:
    return Options(
        rounds=cast("int", arguments.rounds),
        scale=cast("float", arguments.scale),
        scenarios=_known(cast("str | None", arguments.scenarios), list(SCENARIOS)),
    )


def _known(words: str | None, names: list[str]) -> list[str]:
    """Split names by commas; all of them when none is given."""
    chosen = words.split(",") if words else names
    unknown = [word for word in chosen if word not in names]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    return chosen


def _server_result(starts: list[Running]) -> ServerResult:
    ready = [live.ready_s for live in starts if live.ready_s is not None]
    idle = [live.idle_mb for live in starts if live.idle_mb is not None]
    return {
        "ready_s": round(statistics.median(ready), 3) if ready else None,
        "idle_mb": round(statistics.median(idle), 1) if idle else None,
        "starts": len(starts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", type=Path)
    add_options(parser)
    arguments = parser.parse_args()
    build("mock_upstream")
    setup = read_setup(cast("Path", arguments.targets))
    wanted = only(setup.targets, arguments)
    used = {setup.upstream, *(target.server for target in wanted)}
    servers = {name: server for name, server in setup.servers.items() if name in used}
    result = run(Setup(setup.upstream, servers, wanted), options_of(arguments))
    save(result, cast("Path", arguments.out))
    sys.exit(1 if result["failures"] else 0)


if __name__ == "__main__":
    main()
