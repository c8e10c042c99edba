"""The loads that are put on a target, and one run of the load generator under one of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, cast

from processes import cpu_s, pss_mb, tree, watch_peak

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
GRACE_S = 150.0
SETTLE_S = 0.3  # work behind the last answer (a write, a checkpoint) still counts as this load's


@dataclass(frozen=True, slots=True)
class Target:
    """One API of one server. `api` is "chat", "responses" or "responses-ws"; `store` only matters to Responses.

    `role` says where the report puts it: "floor" (nothing between), "peer", "relay" or "flagship".
    """

    name: str
    server: str
    api: str = "chat"
    role: str = "relay"
    store: bool = False
    key: str = "sk-none"
    model: str = ""  # put before the mock's model name, "llama31/" for example
    path: str | None = None  # behind the server's URL and /v1
    headers: list[str] = field(default_factory=list[str])
    most_streams: int = 1000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One closed-loop load. `mock-n<chunks>-d<ms between them>` is what the mock answers."""

    stream: bool
    connections: int
    model: str
    seconds: float
    extra: tuple[str, ...] = ()
    memory: bool = False  # wants a fresh process, and its memory watched
    roles: tuple[str, ...] = ("floor", "peer", "relay", "flagship")

    def fits(self, target: Target) -> bool:
        """Tell whether the target's API has this kind of answer and the target bears the load."""
        return (
            target.role in self.roles
            and (self.stream or target.api != "responses-ws")
            and self.connections <= target.most_streams
        )


def _turn(number: int, chunks: int) -> Scenario:
    """One turn of a conversation by its number: everything that was said before is in its request."""
    extra = ("--messages", str(2 * number - 1), "--bytes", "480")
    return Scenario(stream=True, connections=16, model=f"mock-n{chunks}-d5", seconds=5, extra=extra, roles=("relay",))


SCENARIOS = {
    "seq": Scenario(stream=False, connections=1, model="mock-n1-d0", seconds=3),
    "max64": Scenario(stream=False, connections=64, model="mock-n1-d0", seconds=4),
    "turn64": Scenario(stream=True, connections=64, model="mock-n1-d0", seconds=4),
    "long100k": Scenario(
        stream=False, connections=8, model="mock-n1-d0", seconds=3, extra=("--messages", "200", "--bytes", "480")
    ),
    "ttft1": Scenario(stream=True, connections=1, model="mock-n5-d2", seconds=3),
    "ttft100": Scenario(stream=True, connections=100, model="mock-n50-d20", seconds=5, extra=("--ramp-ms", "1000")),
    "flood": Scenario(stream=True, connections=16, model="mock-n1000-d0", seconds=4),
    "first1": _turn(1, 1),
    "first100": _turn(1, 100),
    "hundredth1": _turn(100, 1),
    "hundredth100": _turn(100, 100),
    "hold200": Scenario(
        stream=True,
        connections=200,
        model="mock-n30-d500",
        seconds=10,
        memory=True,
        extra=("--max-requests", "200", "--ramp-ms", "6000"),
    ),
    "hold1000": Scenario(
        stream=True,
        connections=1000,
        model="mock-n30-d500",
        seconds=12,
        memory=True,
        extra=("--max-requests", "1000", "--ramp-ms", "3000"),
    ),
}
MODELS = sorted({scenario.model for scenario in SCENARIOS.values()})


class Spread(TypedDict):
    n: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class Answer(TypedDict):
    """What loadgen prints; a spread is null where nothing was seen."""

    seconds: float
    ok: int
    errors: int
    last_status: int
    fault: str
    rps: float
    chunks: int
    chunks_per_s: float
    max_open: int
    added_ms: Spread | None
    inward_ms: Spread | None
    chunk_ms: Spread | None
    ttft_ms: Spread | None
    total_ms: Spread | None


class LoadFailedError(Exception):
    """No request of a load was answered well."""


def build(name: str) -> Path:
    """Compile a program of this kit when it is older than its source; warnings are shown."""
    folder = HERE / name
    sources = sorted(folder.glob("*.[ch]")) if folder.is_dir() else [HERE / f"{name}.c"]
    program = BUILD / name
    if shutil.which("cc") is None:
        raise SystemExit("the load generator and the mock are C: install a compiler (Debian: gcc, libc6-dev)")
    BUILD.mkdir(exist_ok=True)
    if not program.exists() or any(program.stat().st_mtime < source.stat().st_mtime for source in sources):
        units = [str(source) for source in sources if source.suffix == ".c"]
        subprocess.run(["cc", *FLAGS, "-o", str(program), *units, "-pthread"], check=True)  # noqa: S603, S607  # the host's own compiler
    return program


def load(url: str, target: Target, scenario: Scenario, *, scale: float = 1.0) -> Answer:
    """Run the load generator once; `scale` multiplies its length, except where the load has a length of its own."""
    seconds = scenario.seconds if scenario.memory else scenario.seconds * scale
    words = [
        str(build("loadgen")),
        "--url",
        f"{url}/v1",
        "--api",
        target.api,
        "--key",
        target.key,
        "--model",
        target.model + scenario.model,
        "--stream",
        str(int(scenario.stream)),
        "--store",
        str(int(target.store)),
        "--connections",
        str(scenario.connections),
        "--seconds",
        str(seconds),
        *scenario.extra,
    ]
    for header in target.headers:
        words += ["--header", header]
    if target.path is not None:
        words += ["--path", target.path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + GRACE_S, check=True)  # noqa: S603  # our own program
    return cast("Answer", json.loads(done.stdout))  # our own program's output, its shape is in results.c


def measure(url: str, pid: int | None, target: Target, scenario: Scenario, *, scale: float = 1.0) -> dict[str, float]:
    """Run a load and read what it cost the server's processes.

    Raises:
        LoadFailedError: when no request succeeded.
    """
    before_mb = pss_mb(tree(pid)) if pid else 0.0
    before_s = cpu_s(tree(pid)) if pid else 0.0
    with watch_peak(pid if scenario.memory else None) as peak:
        answer = load(url, target, scenario, scale=scale)
    time.sleep(SETTLE_S)
    if not answer["ok"]:
        raise LoadFailedError(f"{target.name}: no request succeeded: {answer['fault'] or answer['last_status']}")
    figures = _figures(answer)
    if pid:
        figures |= _cpu_figures(answer, cpu_s(tree(pid)) - before_s)
    if pid and scenario.memory:
        figures |= {"peak_mb": peak.mb, "kb_per_stream": (peak.mb - before_mb) * 1024 / answer["max_open"]}
    return figures


def _figures(answer: Answer) -> dict[str, float]:
    figures = {name: float(answer[name]) for name in ("ok", "errors", "rps", "chunks_per_s", "max_open")}
    for name in ("added_ms", "inward_ms", "chunk_ms", "ttft_ms", "total_ms"):
        spread = answer[name]
        if spread:
            figures |= {f"{name}_p50": spread["p50"], f"{name}_p99": spread["p99"]}
    return figures


def _cpu_figures(answer: Answer, cpu: float) -> dict[str, float]:
    return {
        "cpu_ms_per_request": cpu / answer["ok"] * 1e3,
        "cpu_us_per_chunk": cpu / answer["chunks"] * 1e6,
        "cpu_cores": cpu / answer["seconds"],
    }
