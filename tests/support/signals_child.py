"""A process of its own on the bus: it waits for `ping`s, and answers each with a `pong` of the same number.

Arguments: the address of a Redis, a prefix. It says "ready" once it hears.
"""

import sys

import anyio

from chatbackend.infra.log.redis.signals import RedisSignals


async def main(url: str, prefix: str) -> None:
    """Answer until killed."""
    async with RedisSignals(url, prefix=prefix, poll_s=60) as signals:
        files = signals.topic("file")
        await files.event("any").wait()  # everybody is woken by the confirmed subscription
        number = 0
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ping = files.event(f"ping{number}")
            files.wake(f"pong{number - 1}")
            await ping.wait()
            number += 1


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
