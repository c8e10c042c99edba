"""Prints the tables and ratios of a result:  python3 bench/report.py result.json"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from rounds import Result, TargetResult


class Column(NamedTuple):
    """One figure of one scenario, and how a table shows it."""

    title: str
    scenario: str
    figure: str
    digits: int


COST = [
    Column("CPU ms/plain request", "max64", "cpu_ms_per_request", 3),
    Column("CPU ms/streamed turn of 1 chunk", "turn64", "cpu_ms_per_request", 3),
    Column("CPU us/chunk, 100 x 50/s", "ttft100", "cpu_us_per_chunk", 1),
    Column("CPU us/chunk, flood", "flood", "cpu_us_per_chunk", 1),
]
TURNS = ("first1", "first100", "hundredth1", "hundredth100")
MEMORY = [
    Column("KB/open stream of 200", "hold200", "kb_per_stream", 1),
    Column("of 1,000", "hold1000", "kb_per_stream", 1),
    Column("cores at 1,000", "hold1000", "cpu_cores", 2),
]
RELAY = [
    *COST,
    Column("added plain p50 ms", "seq", "added_ms_p50", 2),
    Column("p99", "seq", "added_ms_p99", 2),
    Column("added TTFT p50 ms, 1 stream", "ttft1", "added_ms_p50", 2),
    Column("100 streams", "ttft100", "added_ms_p50", 2),
    Column("CPU ms/100 KB request", "long100k", "cpu_ms_per_request", 3),
    Column("requests/s of 64", "max64", "rps", 0),
    Column("chunks/s, flood", "flood", "chunks_per_s", 0),
    *MEMORY,
]
FLAGSHIP = [
    *COST,
    Column("latency a token p50 ms, 1 stream", "ttft1", "chunk_ms_p50", 2),
    Column("p99", "ttft1", "chunk_ms_p99", 2),
    Column("p50 ms, 100 streams", "ttft100", "chunk_ms_p50", 2),
    Column("p99", "ttft100", "chunk_ms_p99", 2),
    Column("added TTFT p50 ms, 1 stream", "ttft1", "added_ms_p50", 2),
    Column("100 streams", "ttft100", "added_ms_p50", 2),
    *MEMORY,
]


def write(result: Result, emit: Callable[[str], None]) -> None:
    """Emit the report line by line, as Markdown."""
    by_role = {role: _targets(result, role) for role in ("floor", "peer", "relay", "flagship")}
    relayed = next(iter(by_role["relay"]), None)
    emit(
        f"Measured on {result['machine']['day']}: {result['machine']['cpus']} CPUs, {result['machine']['system']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    )
    _servers(result, emit)
    emit("\n### Relay\n")
    _table(result, [*by_role["floor"], *by_role["peer"], *by_role["relay"]], RELAY, emit)
    emit("\n### Flagship: stored Responses\n")
    _table(result, [*by_role["floor"], *by_role["peer"], *by_role["relay"][:1], *by_role["flagship"]], FLAGSHIP, emit)
    emit("\n### Ratios (medians of this run; a cost of ours over the cost named)\n")
    for name in [*by_role["relay"], *by_role["flagship"]]:
        others = [*by_role["peer"], *([relayed] if relayed and relayed != name else [])]
        for other in others:
            _ratios(result, name, other, emit)
    _turns(result, emit)
    _failures(result, emit)


def _turns(result: Result, emit: Callable[[str], None]) -> None:
    """Compare what 99 further chunks cost in a hundredth turn and in a first one: the request is in neither."""
    for name, target in result["targets"].items():
        cost = [target["figures"].get(turn, {}).get("cpu_ms_per_request") for turn in TURNS]
        if all(cost):
            first1, first100, hundredth1, hundredth100 = cast("list[float]", cost)
            ratio = (hundredth100 - hundredth1) / (first100 - first1)
            emit(f"- {name}: the hundredth turn of a conversation costs {ratio:.2f} of the first, its request aside")


def _targets(result: Result, role: str) -> list[str]:
    return [name for name, target in result["targets"].items() if target["role"] == role and target["figures"]]


def _servers(result: Result, emit: Callable[[str], None]) -> None:
    emit("\n| server | ready s | idle MB (PSS) | starts |\n|---|---|---|---|")
    for name, server in result["servers"].items():
        emit(f"| {name} | {_cell(server['ready_s'], 2)} | {_cell(server['idle_mb'], 1)} | {server['starts']} |")


def _table(result: Result, names: list[str], columns: list[Column], emit: Callable[[str], None]) -> None:
    emit("| target | " + " | ".join(column.title for column in columns) + " |")
    emit("|---" * (len(columns) + 1) + "|")
    for name in names:
        cells = [_cell(_figure(result["targets"][name], column), column.digits) for column in columns]
        emit(f"| {name} | " + " | ".join(cells) + " |")


def _ratios(result: Result, name: str, other: str, emit: Callable[[str], None]) -> None:
    """Compare like with like, except that a turn is compared with what a relay's request costs."""
    target, base = result["targets"][name], result["targets"][other]
    parts: list[str] = []
    for column in [*COST, *MEMORY[:2]]:
        parts += _ratio(column.title, _figure(target, column), _figure(base, column))
    if target["role"] == "flagship":
        parts += _ratio("a streamed turn / a plain request", _figure(target, COST[1]), _figure(base, COST[0]))
    emit(f"- {name} / {other}: " + "; ".join(parts))


def _ratio(title: str, ours: float | None, theirs: float | None) -> list[str]:
    if not ours or not theirs:
        return []
    return [f"{title} {ours / theirs:.2f}" if ours >= theirs else f"{title} 1/{theirs / ours:.1f}"]


def _failures(result: Result, emit: Callable[[str], None]) -> None:
    for failure in result["failures"]:
        emit(f"- FAILED {failure}")
    for name, target in result["targets"].items():
        if not target["offered"]:
            emit(f"- {name}: not offered by {target['server']}, so not measured")
        for scenario, runs in target["runs"].items():
            errors = sum(run["errors"] for run in runs)
            if errors:
                emit(f"- {name}, {scenario}: {errors:.0f} of {errors + sum(run['ok'] for run in runs):.0f} failed")


def _figure(target: TargetResult, column: Column) -> float | None:
    return target["figures"].get(column.scenario, {}).get(column.figure)


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


if __name__ == "__main__":
    write(cast("Result", json.loads(Path(sys.argv[1]).read_text())), print)
