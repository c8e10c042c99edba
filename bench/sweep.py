"""Shows how a running server's cost grows: with open streams, length of input, connections, turns of a conversation.

    python3 bench/sweep.py --url http://127.0.0.1:8000 --pid PID --key sk-test --api responses-ws --kinds streams,turns

The kind "turns" chains turns by previous_response_id: the cost of a chunk must not grow with the conversation.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from scenarios import Scenario, Target, measure

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = (1, 10, 30, 100, 300, 1000)
SHOWN = ("ok", "errors", "rps", "added_ms_p50", "added_ms_p99", "chunk_ms_p50", "chunk_ms_p99")
COST = ("cpu_ms_per_request", "cpu_us_per_chunk", "cpu_cores")


class Arguments(argparse.Namespace):
    url: str
    pid: int
    key: str
    api: str
    store: int
    model: str
    kinds: str
    seconds: float


def streams(seconds: float, count: int) -> Scenario:
    return Scenario(True, count, "mock-n50-d20", seconds, ("--ramp-ms", "1000"))


def length(seconds: float, count: int) -> Scenario:
    return Scenario(True, 1, "mock-n1-d0", seconds, ("--messages", str(count), "--bytes", "480"))


def connections(seconds: float, count: int) -> Scenario:
    return Scenario(True, count, "mock-n1-d0", seconds)


def turns(seconds: float, count: int) -> Scenario:
    return Scenario(True, 4, "mock-n50-d0", seconds, ("--chain", str(count)))


KINDS: dict[str, Callable[[float, int], Scenario]] = {
    "streams": streams,
    "length": length,
    "connections": connections,
    "turns": turns,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="without /v1")
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--key", default="sk-none")
    parser.add_argument("--api", default="chat", choices=["chat", "responses", "responses-ws"])
    parser.add_argument("--store", type=int, default=1)
    parser.add_argument("--model", default="", help="what to put before the mock's model names")
    parser.add_argument("--kinds", default="streams,length,connections", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seconds", type=float, default=2.5)
    arguments = parser.parse_args(namespace=Arguments())
    target = Target(
        "it", "it", api=arguments.api, store=bool(arguments.store), key=arguments.key, model=arguments.model
    )
    for kind in arguments.kinds.split(","):
        for count in COUNTS:
            figures = measure(arguments.url, arguments.pid, target, KINDS[kind](arguments.seconds, count))
            shown = [f"{name}={figures[name]:.4g}" for name in (*SHOWN, *COST) if name in figures]
            print(f"{kind}={count:<5} {' '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
