"""`EventLog` on Redis Streams: owners append by scripts, readers page by XRANGE, heads come by pub/sub."""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, cast

import anyio

from chatbackend.infra.log.redis.heads import DELETED, Heads
from chatbackend.infra.log.redis.keys import Keys
from chatbackend.infra.log.redis.links import Links
from chatbackend.infra.log.redis.pipe import Pipe
from chatbackend.infra.log.redis.replies import events as read_events
from chatbackend.infra.log.redis.replies import failure, read
from chatbackend.infra.log.redis.scripts import APPEND, DELETE, EXTENT, OPEN
from chatbackend.usecases.ports import Extent, LogEvent

KEEP_S = 25 * 3_600  # after the end; clients are promised a day
UNENDED_KEEP_S = 7 * 86_400  # far beyond any deadline: nothing is left behind for ever
PAGE_EVENTS = 1_000  # read at once, however much is asked for
PAGES_A_ROUND = 8  # parsed at once: others of this process want to go on


class RedisEventLog:
    """`LastingLog`, while it is entered. Everybody's commands share two connections, and heads a third.

    `timeout_s` bounds a round trip, `patience_s` a read while Redis is away, `owner_patience_s` an append: no stream is
    given up for a freeze. An append whose reply was lost is sent again and recognised.
    """

    prompt = False

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "cb",
        timeout_s: float = 2.0,
        patience_s: float = 10.0,
        owner_patience_s: float = 30.0,
        poll_s: float = 1.0,
    ) -> None:
        self._keys = Keys(prefix)
        links = Links(url)
        self._owners = Pipe(links, timeout_s=timeout_s, patience_s=owner_patience_s)
        self._readers = Pipe(links, timeout_s=timeout_s, patience_s=patience_s, round_commands=PAGES_A_ROUND)
        self._heads = Heads(links, self._next, self._keys.channel, timeout_s=timeout_s, poll_s=poll_s)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            for loop in (self._owners.run, self._readers.run, self._heads.run):
                group.start_soon(loop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def open(self, response_id: str, *, fence: int, fresh: bool = False) -> int:
        """See `EventLog.open`."""
        self._owners.post("SADD", self._keys.unended, response_id)  # before it is there: it must not be missed
        reply = read(await self._owners.script(OPEN, self._keys.both(response_id), fence, UNENDED_KEEP_S))
        match reply:
            case b"ok", following, ended:
                if ended:
                    self._owners.post("SREM", self._keys.unended, response_id)
                return following
            case _:
                raise failure(reply)

    async def append(
        self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent], ended: bool
    ) -> None:
        """See `EventLog.append`."""
        words: list[bytes | str | int] = [fence, expected, self._keys.channel(response_id)]
        words += [UNENDED_KEEP_S, KEEP_S if ended else ""]
        for event in events:
            words += [event.number, event.type, event.data]
        reply = read(await self._owners.script(APPEND, self._keys.both(response_id), *words))
        if reply[0] != b"ok":
            raise failure(reply)
        if ended:
            self._owners.post("SREM", self._keys.unended, response_id)

    def take(self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent]) -> bool:
        """See `EventLog.take`: it takes a message there and back."""
        return False

    async def read(self, response_id: str, *, after: int, limit: int) -> Sequence[LogEvent]:
        """See `EventLog.read`; pages may be shorter than asked for."""
        key, first = self._keys.events(response_id), f"{after + 2}-0"
        found = read_events(await self._readers.call("XRANGE", key, first, "+", "COUNT", min(limit, PAGE_EVENTS)))
        if not found:
            self._heads.doubt(response_id, after=after)
        return found

    async def extent(self, response_id: str) -> Extent | None:
        """See `EventLog.extent`. Asked where owners write, so that an owner finds what it sent before."""
        word, *numbers = read(await self._owners.script(EXTENT, self._keys.both(response_id)))
        return Extent(numbers[0], numbers[1], ended=bool(numbers[2])) if word == b"ok" else None

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        """See `EventLog.moved`."""
        return await self._heads.moved(response_id, after=after, timeout_s=timeout_s)

    async def delete(self, response_id: str) -> None:
        """See `EventLog.delete`."""
        await self._owners.script(DELETE, self._keys.both(response_id), self._keys.channel(response_id), KEEP_S)
        self._owners.post("SREM", self._keys.unended, response_id)

    async def unended(self) -> list[str]:
        """See `LastingLog.unended`: also streams that were announced and never opened, or have been lost."""
        members = cast("list[bytes]", await self._readers.call("SMEMBERS", self._keys.unended))
        return sorted(member.decode() for member in members)

    async def identity(self) -> str:
        """See `LastingLog.identity`: the run of this Redis, and a mark in it that is lost with everything else."""
        fresh = secrets.token_hex(8)
        info, mark = await asyncio.gather(
            self._readers.call("INFO", "server"), self._readers.call("SET", self._keys.mark, fresh, "NX", "GET")
        )
        run = cast("bytes", info).partition(b"run_id:")[2].split()[0].decode()
        return f"{run}.{cast('bytes', mark).decode() if mark else fresh}"

    async def _next(self, response_id: str) -> int:
        state = await self._readers.call("HMGET", self._keys.both(response_id)[0], "next", "deleted")
        following, deleted = cast("tuple[bytes | None, bytes | None]", state)
        return DELETED if deleted else int(following or 0)
