"""How long thousands of clients take to be back after their server was killed, and what a resume costs without a crowd.

    .venv/bin/python bench/stampede.py --clients 5000                       # killed and started again
    .venv/bin/python bench/stampede.py --clients 5000 --running 1000        # of these, so many while an answer streams
    .venv/bin/python bench/stampede.py --postgres URL --redis URL           # two servers, of which one dies

Every client has a response of its own and lacks its newest event. It dials again at once, spread over .4 s, and again
every .2 s on average while nobody listens; it is back with the first event behind its cursor. After that clients
resume one by one. `URL`: an empty database, and a Redis whose contents do not matter.
"""

from __future__ import annotations

import argparse
import resource
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from crowd import Client, Crowd
from processes import cpu_s
from replicas import Ours, replicas
from run import KEY, mock_server
from servers import running

if TYPE_CHECKING:
    from collections.abc import Sequence

AT_ONCE = 200  # creates under way while the stage is set
FINISHED, RUNNING = "mock-n4-d0", "mock-n1000-d5000"
ONE_BY_ONE, EVERY_S = 1000, 0.01
SAID = 4  # the newest event of a running answer whose model has begun to speak
SETTLE_S = 3.0
ENDS_S = 40.0


def stage(crowd: Crowd, clients: Sequence[Client], *, live: int) -> None:
    """Give every client a response: ended, but for the first `live`."""
    waiting, asked, ready = list(clients)[::-1], set[Client](), set[Client]()
    streams = set(clients[:live])

    def enough() -> bool:
        for client in crowd.news:
            if client not in asked:
                asked.add(client)
                model = f"llama31/{RUNNING if client in streams else FINISHED}"
                crowd.say(client, {"type": "response.create", "model": model, "input": "Hello"})
            elif client.ended or (client in streams and client.number >= SAID):
                ready.add(client)
        crowd.news.clear()
        while waiting and len(clients) - len(waiting) - len(ready) < AT_ONCE:
            crowd.dial(waiting.pop())
        return len(ready) == len(clients)

    assert crowd.run(enough, within_s=240), "the stage could not be set"


def percentile(values: Sequence[float], part: float) -> float:
    """Return a percentile, in milliseconds."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000


def told(name: str, clients: Sequence[Client]) -> str:
    """Say how long resumes took from the dial."""
    took = [client.resumed_at - client.dialled_at for client in clients]
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    return f"{name}: resume p50 {p50:.1f} ms, p99 {p99:.1f}, max {max(took) * 1000:.1f}"


def measure(options: argparse.Namespace) -> None:
    """Set the stage, kill, watch, print."""
    crowd = Crowd(wanting=lambda client: client.resumed_at == 0.0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-stampede-")))
        mock = mock_server()
        stack.enter_context(running(mock))
        settings = {
            "CHATBACKEND_MAX_RUNNING": str(options.clients + 1),
            "CHATBACKEND_DRAIN_S": "0",
            "LLAMA31_ENDPOINT": f"{mock.url}/v1",
            "LLAMA31_MODELS": f"{FINISHED},{RUNNING}",
        }
        made = replicas(stack, folder, (options.postgres, options.redis) if options.postgres else None, settings)
        clients = [Client("ws", made[0].port, KEY) for _ in range(options.clients)]
        stage(crowd, clients, live=options.running)
        crowd.run(lambda: False, within_s=SETTLE_S)
        what = "embedded" if len(made) == 1 else "one of two servers dies"
        print(f"{len(clients)} clients over {options.transport}, {options.running} in a running answer, {what}:")
        for client in clients:
            client.transport, client.port = options.transport, made[-1].port
            client.ended, client.number, client.resumed_at = False, client.number - 1, 0.0
        stampede(crowd, clients, made)
        crowd.run(lambda: crowd.ended >= len(clients), within_s=ENDS_S)
        faults = [client.faults[0] for client in clients if client.faults]
        print(f"  {sum(client.ended for client in clients)} have the end; {len(faults)} faults {faults[:2]}")
        one_by_one(crowd, clients[:ONE_BY_ONE])


def stampede(crowd: Crowd, clients: Sequence[Client], made: Sequence[Ours]) -> None:
    """Kill the first server; start it again where it is the only one; wait until everybody is back."""
    alone, crowd.back, crowd.ended = len(made) == 1, 0, 0
    before, own = 0.0 if alone else cpu_s([made[-1].pid]), time.process_time()
    died = time.monotonic()
    made[0].end(signal.SIGKILL)
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(made[0].start) if alone else None
        back = crowd.run(lambda: crowd.back >= len(clients), within_s=60)
    assert back, "not all came back"
    last = max(client.resumed_at for client in clients) - died
    after = f", {last - started.result():.2f} s after it was ready again" if started else ""
    spent, own = cpu_s([made[-1].pid]) - before, time.process_time() - own
    print(f"  all back {last:.2f} s after the death{after}; {sum(client.refused for client in clients)} refused")
    print(f"  {told('in the crowd', clients)}; CPU of the server {spent:.2f} s, of the clients {own:.2f} s")


def one_by_one(crowd: Crowd, clients: Sequence[Client]) -> None:
    """Let clients come back every 10 ms, while the others stay."""
    crowd.back = 0
    for client in clients:
        crowd.hang_up(client)
        client.number, client.ended, client.resumed_at = client.number - 1, False, 0.0
        crowd.dial(client)
        crowd.run(lambda: False, within_s=EVERY_S)
    assert crowd.run(lambda: crowd.back >= len(clients), within_s=20), "not all came back"
    print(f"  {told('one every 10 ms', clients)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--running", type=int, default=0)
    parser.add_argument("--transport", choices=["ws", "sse"], default="ws")
    parser.add_argument("--postgres")
    parser.add_argument("--redis")
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    measure(given)
