"""What listens on a subscribed connection: orders and pings go out, whatever comes in is taken, until it is lost."""

from collections.abc import Awaitable, Callable, Sequence

import anyio

from chatbackend.infra.log.redis.links import LOST, Link, Words

PING: Words = ("PING",)
BACKOFF_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)  # before each further attempt to connect; the last again and again


async def listen(
    link: Link,
    orders: Callable[[], Awaitable[Sequence[Words]]],
    take: Callable[[object], object],
    *,
    timeout_s: float,
    beat_s: float,
) -> None:
    """Send what `orders` says again and again, a ping in it at least every `beat_s`, and `take` what comes.

    A connection that says nothing for two beats is given up. Raises: LOST, also where Redis refuses an order.
    """
    failures: list[Exception] = []

    async def write() -> None:
        while True:
            commands = await orders()
            with anyio.fail_after(timeout_s):
                await link.send(commands)

    async def read() -> None:
        while True:
            with anyio.fail_after(2 * beat_s):
                message = await link.receive()
            if isinstance(message, Exception):
                raise ConnectionError(str(message)) from message
            take(message)

    async def guarded(loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except LOST as error:
            failures.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(guarded, write)
        group.start_soon(guarded, read)
    if failures:
        raise failures[0]
