"""Realtime sessions in which nobody says anything, with nginx on both legs: do they live on, and answer then?

    timeout 900 .venv/bin/python bench/idle_voice.py --minutes 10 --read-timeout 60s

Clients reach the server through nginx, and the server its provider through another; both are configured as
`docs/cluster.md` shows, but for `proxy_read_timeout`, here nginx's own default. Relayed sessions and such in text.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.front import front
from tests.support.realtime_client import RealtimeClient, realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server
from tests.support.upstream import Upstream

RELAYED, IN_TEXT = "/v1/realtime?model=openai/realtime-n3", "/v1/realtime?model=llama31/scripted-n3"


async def outlived(client: RealtimeClient, idle_s: float) -> str:
    """Say nothing for so long, then ask; return what came of it."""
    await client.recv()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(idle_s):
            await client.connection.wait_closed()
    if client.connection.close_code is not None:
        return f"closed with {client.connection.close_code} {client.connection.close_reason}"
    return str((await client.ask())[-1]["response"]["status"])


async def measure(folder: Path, options: argparse.Namespace) -> None:
    """Run the sessions and print what came of them."""
    async with AsyncExitStack() as stack:
        talking = await stack.enter_async_context(RealtimeUpstream())
        chatting = await stack.enter_async_context(Upstream())
        proxies = stack.enter_context(ExitStack())
        behind = proxies.enter_context(front(folder / "behind", [talking.port] * 2, read_timeout=options.read_timeout))
        settings = {"OPENAI_ENDPOINT": f"http://127.0.0.1:{behind}", "LLAMA31_ENDPOINT": chatting.url}
        server = Server(folder / "server", {**settings, "CHATBACKEND_PING_S": str(options.ping_s)})
        server.folder.mkdir()
        await asyncio.to_thread(server.start)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        own = server.port
        server.port = proxies.enter_context(front(folder / "before", [own, own], read_timeout=options.read_timeout))
        began = time.monotonic()
        clients = [
            await stack.enter_async_context(realtime(server, path))
            for path in (RELAYED, IN_TEXT)
            for _ in range(options.sessions)
        ]
        told = await asyncio.gather(*(outlived(client, options.minutes * 60) for client in clients))
        server.port = own
        relayed, in_text = Counter(told[: options.sessions]), Counter(told[options.sessions :])
        print(f"after {time.monotonic() - began:.0f} s of silence: relayed {dict(relayed)}, in text {dict(in_text)}")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sessions", type=int, default=5, help="of each kind")
    parser.add_argument("--read-timeout", default="60s", help="of both proxies")
    parser.add_argument("--ping-s", type=float, default=20, help="CHATBACKEND_PING_S")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), options))


if __name__ == "__main__":
    main()
