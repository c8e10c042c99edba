"""One connection to Redis: whole rounds of commands and replies, or it is thrown away.

redis-py packs, parses and shakes hands; it retries nothing here: who retries has to know what it sends.
"""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import cast

import anyio
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    ConnectionError,  # redis-py's own, no subclass of Python's
    InvalidResponse,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import TimeoutError as RedisTimeout

Word = bytes | str | int
Words = tuple[Word, ...]

# No reply, or none to rely on: the connection is given up, and whether anything was done is not known.
LOST = (ConnectionError, RedisTimeout, InvalidResponse, OSError, TimeoutError)
# Replies of a Redis that will not do it now and has not done it: loading, a full disk, a replica, no memory.
_NOT_NOW = (ClusterDownError, MasterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)
_NOT_NOW_WORDS = ("MISCONF", "NOREPLICAS", "BUSY ", "UNKILLABLE", "OOM ")


def not_now(error: BaseException) -> bool:
    """Return whether Redis refused a command that it may take later."""
    return isinstance(error, _NOT_NOW) or (isinstance(error, ResponseError) and str(error).startswith(_NOT_NOW_WORDS))


class Link:
    """A connection that is up. Not for two tasks at once, but for one that sends and one that receives."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def send(self, commands: Sequence[Words]) -> None:
        """Send commands. Raises: LOST."""
        await self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)

    async def receive(self) -> object:
        """Return the next reply; one that refuses is returned, too. Raises: LOST."""
        try:
            return cast("object", await self._connection.read_response(timeout=math.inf))
        except ResponseError as refusal:
            return refusal

    async def exchange(self, commands: Sequence[Words]) -> list[object]:
        """Send commands and return their replies, refusals among them. Raises: LOST."""
        await self.send(commands)
        return [await self.receive() for _ in commands]


class Links:
    """Makes connections to one address."""

    def __init__(self, url: str) -> None:
        # RESP2 does all we need. Retry is the asynchronous one, told to do nothing. The time limits are ours. Without
        # `driver_info` nothing is read from the disk at every connection.
        options = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "driver_info": None}
        options |= {"socket_timeout": None, "socket_connect_timeout": None}
        self._pool = ConnectionPool.from_url(url, **options)  # pyright: ignore[reportUnknownMemberType] - untyped there

    @asynccontextmanager
    async def link(self, *, timeout_s: float) -> AsyncGenerator[Link, None]:
        """Connect within `timeout_s`; close at the end, without a word and without a wait. Raises: LOST."""
        connection = self._pool.make_connection()
        try:
            with anyio.fail_after(timeout_s):
                try:
                    await connection.connect()
                except RedisError as error:  # wrong password, wrong database: an operator may mend it meanwhile
                    raise ConnectionError(str(error)) from error
            yield Link(connection)
        finally:
            with anyio.CancelScope(shield=True):
                await connection.disconnect(nowait=True)
