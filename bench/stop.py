"""How long after a cancel the upstream is closed: from another connection, on a socket, at another server.

    .venv/bin/python bench/stop.py
    .venv/bin/python bench/stop.py --postgres URL --redis URL      # two servers: cancelled where it does not run, too

The upstream streams without end and notes when its connection has gone. Goal: 250 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from replicas import Ours, replicas
from run import KEY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVERY_S = 0.02
BACKGROUND = 50  # answers that stream meanwhile
Session = aiohttp.ClientSession


class Endless:
    """A model server that talks until it is left; `left` has the moments."""

    def __init__(self) -> None:
        self.left: asyncio.Queue[float] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; tell when the caller has gone, unless it is one of the background."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        watched = b"watched" in await reader.readexactly(length)
        gone = asyncio.create_task(_gone(reader))
        writer.write(HEAD)
        while not gone.done():
            delta = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
            event = b"data: " + json.dumps({**CHUNK, "choices": [delta]}).encode() + b"\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await asyncio.wait([gone], timeout=EVERY_S)
        if watched:
            self.left.put_nowait(time.perf_counter())
        writer.close()


async def _gone(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read()


async def begun(session: Session, server: Ours, words: str) -> str:
    """Start a response in the background; return its id once it streams."""
    asked = {"model": "llama31/m", "input": words, "background": True}
    async with session.post(f"{server.url}/v1/responses", json=asked) as answer:
        response_id: str = (await answer.json())["id"]
    async with session.get(f"{server.url}/v1/responses/{response_id}?stream=true") as events:
        async for line in events.content:
            if line.startswith(b"event: response.output_text.delta"):
                break
    return response_id


async def measure(
    title: str, upstream: Endless, count: int, one: Callable[[], Awaitable[Callable[[], Awaitable[None]]]]
) -> None:
    """Start and stop `count` answers; `one` starts one, and what it returns stops it."""
    took: list[float] = []
    for _ in range(count):
        stop = await one()
        began = time.perf_counter()
        stopping = asyncio.ensure_future(stop())
        took.append((await upstream.left.get() - began) * 1000)
        await stopping
    took.sort()
    p50, p99 = took[count // 2], took[min(count - 1, count * 99 // 100)]
    print(f"{title:<44} upstream closed after p50 {p50:6.1f} ms, p99 {p99:6.1f}, max {took[-1]:6.1f}", flush=True)


async def ways(session: Session, made: list[Ours], upstream: Endless, count: int) -> None:
    """Measure each way to stop an answer."""
    runs, other = made[0], made[-1]

    async def over_http(at: Ours) -> Callable[[], Awaitable[None]]:
        response_id = await begun(session, runs, "watched")

        async def stop() -> None:
            await (await session.post(f"{at.url}/v1/responses/{response_id}/cancel")).read()

        return stop

    async def on_a_socket(at: Ours) -> Callable[[], Awaitable[None]]:
        response_id = await begun(session, runs, "watched")
        socket = await session.ws_connect(f"{at.url}/v1/responses")

        async def stop() -> None:
            await socket.send_json({"type": "chatbackend.cancel", "response_id": response_id})
            await socket.receive()
            await socket.close()

        return stop

    async def relayed() -> Callable[[], Awaitable[None]]:
        asked = {"model": "llama31/m", "messages": [{"role": "user", "content": "watched"}], "stream": True}
        answer = await session.post(f"{runs.url}/v1/chat/completions", json=asked)
        await answer.content.readline()

        async def stop() -> None:
            answer.close()

        return stop

    await measure("POST /cancel", upstream, count, lambda: over_http(runs))
    await measure("chatbackend.cancel", upstream, count, lambda: on_a_socket(runs))
    await measure("a relayed answer that its client leaves", upstream, count, relayed)
    if other is not runs:
        await measure("POST /cancel at the other server", upstream, count, lambda: over_http(other))
        await measure("chatbackend.cancel at the other server", upstream, count, lambda: on_a_socket(other))


async def main(stores: tuple[str, str] | None, count: int) -> None:
    """Run everything."""
    upstream = Endless()
    async with AsyncExitStack() as stack:
        listener = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        endpoint = "http://{}:{}/v1".format(*listener.sockets[0].getsockname())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-stop-")))
        processes = stack.enter_context(ExitStack())
        settings = {"LLAMA31_ENDPOINT": endpoint, "LLAMA31_MODELS": "m", "CHATBACKEND_DRAIN_S": "0"}
        made = await asyncio.to_thread(replicas, processes, folder, stores, settings)
        session = await stack.enter_async_context(Session(headers={"authorization": f"Bearer {KEY}"}))
        for number in range(BACKGROUND):
            await begun(session, made[number % len(made)], "background")
        await ways(session, made, upstream, count)
        await asyncio.to_thread(processes.close)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres")
    parser.add_argument("--redis")
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    asyncio.run(main((given.postgres, given.redis) if given.postgres else None, given.count))
