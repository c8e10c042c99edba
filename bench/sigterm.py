"""What SIGTERM does to 200 streams: who ends in time is whole, who does not ends `incomplete`, and when it is over.

    .venv/bin/python bench/sigterm.py

160 answers take 4 s, 40 a minute, each on a socket of its own; the server has 8 s to drain.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from crowd import Client, Crowd
from replicas import replicas
from run import KEY, mock_server
from servers import running

SHORT, LONG = "mock-n80-d50", "mock-n1200-d50"
DRAIN_S = 8
STREAMS, LONG_ONES = 200, 40
SPOKEN = 6  # the number of an event behind the first words


def main() -> None:
    """Start the streams, stop the server, say how each ended."""
    crowd = Crowd(wanting=lambda _: False)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-sigterm-")))
        mock = stack.enter_context(running(mock_server())).server
        settings = {
            "LLAMA31_ENDPOINT": f"{mock.url}/v1",
            "LLAMA31_MODELS": f"{SHORT},{LONG}",
            "CHATBACKEND_DRAIN_S": str(DRAIN_S),
        }
        [server] = replicas(stack, folder, None, settings)
        sockets = [Client("ws", server.port, KEY) for _ in range(STREAMS)]
        for client in sockets:
            crowd.dial(client)
        assert crowd.run(lambda: crowd.opened == STREAMS, within_s=20), "not all were taken"
        for number, client in enumerate(sockets):
            model = LONG if number < LONG_ONES else SHORT
            crowd.say(client, {"type": "response.create", "model": f"llama31/{model}", "input": "Hello"})
        assert crowd.run(lambda: all(client.number >= SPOKEN for client in sockets), within_s=20), "not all speak"
        began = time.monotonic()
        process = server.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        assert crowd.run(lambda: process.poll() is not None, within_s=25), "the server does not end"
        took = time.monotonic() - began
        crowd.run(lambda: crowd.lost == STREAMS, within_s=2)
        ends = Counter(
            (client.end or "cut", "long" if client in sockets[:LONG_ONES] else "short") for client in sockets
        )
        faults = sum(bool(client.faults) for client in sockets)
        print(
            f"{STREAMS} streams; gone {took:.1f} s after SIGTERM (drain {DRAIN_S} s, promise 20); faults {faults}; ",
            end="",
        )
        print(", ".join(f"{count} {length} {end}" for (end, length), count in ends.items()))


if __name__ == "__main__":
    main()
