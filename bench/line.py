"""A line between two programs of this machine: a relay of TCP with a delay and a rate each way, as far away has.

What it has not: lost packets, and a window that grows only with acknowledgements. So a first burst is a little faster
here than on a line.
"""

import argparse
import asyncio
import time
from collections import deque

CHUNK = 4096
MOST = 2**20  # bytes on their way; then the sender is held back


async def one_way(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, delay_s: float, bytes_a_s: float
) -> None:
    """Pass on what comes, each piece when it would have arrived."""
    waiting: deque[tuple[float, bytes]] = deque()
    filled, taken = asyncio.Event(), asyncio.Event()
    held = 0

    async def send() -> None:
        nonlocal held
        while True:
            filled.clear()
            while waiting:
                due, piece = waiting.popleft()
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                held -= len(piece)
                taken.set()
                if not piece:
                    return
                writer.write(piece)
                await writer.drain()
            await filled.wait()

    sending = asyncio.create_task(send())
    free = 0.0  # when the last piece has left
    piece = b"-"
    while piece:
        piece = await reader.read(CHUNK)
        free = max(free, time.perf_counter()) + len(piece) / bytes_a_s
        waiting.append((free + delay_s, piece))
        held += len(piece)
        filled.set()
        while held > MOST:
            taken.clear()
            await taken.wait()
    await sending
    writer.close()


async def run(options: argparse.Namespace) -> None:
    """Serve for ever."""
    delay_s, bytes_a_s = options.ms / 1000, options.mbit * 1e6 / 8

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection("127.0.0.1", options.to)
        both = ((reader, back), (onward, writer))
        legs = [one_way(one, other, delay_s=delay_s, bytes_a_s=bytes_a_s) for one, other in both]
        await asyncio.gather(*legs, return_exceptions=True)

    async with await asyncio.start_server(connected, "127.0.0.1", options.port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="to listen on")
    parser.add_argument("--to", type=int, required=True, help="the port that is far away")
    parser.add_argument("--ms", type=float, required=True, help="one way")
    parser.add_argument("--mbit", type=float, required=True, help="a second, each way")
    asyncio.run(run(parser.parse_args()))
