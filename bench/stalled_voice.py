"""What a server holds for voice sessions whose one side takes next to nothing while the other floods it, over time.

    .venv/bin/python bench/stalled_voice.py [--sessions 8] [--seconds 60] [--ping-s 20]

First the clients are slow, then the provider. `slow` takes a frame of 64 KiB each 50 ms, so that nobody is let go;
`stalled` takes nothing at all, is closed for that, and is dialled anew, again and again.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

sys.path.insert(0, str(Path(__file__).parents[1]))

from processes import pss_mb

from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server

FRAME = '{"type":"input_audio_buffer.append","audio":"' + "A" * (2**16 - 50) + '"}'
PAUSE_S = 0.05
PRINTS = 12
Play = Callable[[ClientConnection, Session], Coroutine[Any, Any, None]]


async def flood(send: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Send as much as is taken."""
    with suppress(ConnectionClosed):
        while True:
            await send(FRAME)


async def slow_client(client: ClientConnection, session: Session) -> None:
    """Take a frame now and then of what the provider floods."""
    flooding = asyncio.create_task(flood(session.say))
    with suppress(ConnectionClosed):
        while True:
            await client.recv()
            await asyncio.sleep(PAUSE_S)
    flooding.cancel()


async def stalled_client(client: ClientConnection, session: Session) -> None:
    """Take nothing of what the provider floods, until that is the end of the session."""
    client.transport.pause_reading()
    await flood(session.say)


async def slow_provider(client: ClientConnection, session: Session) -> None:
    """Let the provider take a little now and then of what the client floods."""
    flooding = asyncio.create_task(flood(client.send))
    while not session.ended.is_set() and client.close_code is None:
        session.fall_silent()
        await asyncio.sleep(PAUSE_S * 4)
        session.listen()
        session.received.clear()
        await asyncio.sleep(PAUSE_S / 20)
    flooding.cancel()


async def stalled_provider(client: ClientConnection, session: Session) -> None:
    """Let the provider take nothing of what the client floods, until that is the end of the session."""
    session.fall_silent()
    await flood(client.send)


async def play_on(server: Server, provider: RealtimeUpstream, play: Play, name: str) -> None:
    """Play session after session."""
    key = {"authorization": f"Bearer {server.key}"}
    url = f"{server.ws_url}/v1/realtime?model=openai/realtime-of.{name}"
    while True:
        with suppress(OSError, ConnectionClosed):
            async with connect(
                url, additional_headers=key, compression=None, max_size=None, close_timeout=0.1
            ) as client:
                await client.recv()
                session = next(each for each in reversed(provider.sessions) if each.model == f"realtime-of.{name}")
                await play(client, session)
                client.transport.abort()


async def watch(server: Server, provider: RealtimeUpstream, play: Play, options: argparse.Namespace) -> None:
    """Play so many sessions side by side and print what the server holds meanwhile."""
    before, dialled, began = pss_mb([server.pid]), len(provider.sessions), time.monotonic()
    playing = [
        asyncio.create_task(play_on(server, provider, play, f"{play.__name__}.{number}"))
        for number in range(options.sessions)
    ]
    held: list[float] = []
    while time.monotonic() - began < options.seconds:
        await asyncio.sleep(options.seconds / PRINTS)
        held.append(await asyncio.to_thread(pss_mb, [server.pid]) - before)
    for task in playing:
        task.cancel()
    await asyncio.gather(*playing, return_exceptions=True)
    number, shown = len(provider.sessions) - dialled, " ".join(f"{each:.0f}" for each in held)
    print(
        f"{play.__name__:16} {options.sessions} at once, {number} in {options.seconds:g} s; MB held above the "
        f"{before:.0f} before, each {options.seconds / PRINTS:g} s: {shown}",
        flush=True,
    )
    await asyncio.sleep(2)


async def measure(options: argparse.Namespace, folder: Path) -> None:
    """Play all four, each on a server that has done nothing before."""
    for play in (slow_client, stalled_client, slow_provider, stalled_provider):
        async with RealtimeUpstream() as provider:
            settings = {"OPENAI_ENDPOINT": provider.url, "CHATBACKEND_LOG_LEVEL": "error"}
            (folder / play.__name__).mkdir()
            server = Server(folder / play.__name__, {**settings, "CHATBACKEND_PING_S": str(options.ping_s)})
            await asyncio.to_thread(server.start)
            try:
                await watch(server, provider, play, options)
            finally:
                await asyncio.to_thread(server.stop)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60, help="for each of the four")
    parser.add_argument("--ping-s", type=float, default=20, help="CHATBACKEND_PING_S")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
