"""The event log of stored responses on SQLite, in a file of its own.

`synchronous=NORMAL`: what was appended survives the death of the process, not the loss of power.
Readers in this process are served from a bounded tail in memory, filled only after the commit; older events
come from the file.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from uuid import uuid4

import anyio
from sqlalchemy import bindparam, delete, func, select, update

from chatbackend.domain.errors import Gone
from chatbackend.infra.db.tables.events import EVENTS, STREAMS
from chatbackend.infra.db.transaction import Database, Transaction, adding, one
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Extent, Fenced, LogEvent

TAIL_EVENTS = 4_096  # a stream's events kept in memory while it runs
TAIL_STREAMS = 2_048  # streams with a tail; the least recently appended loses its own
ENDED_TAILS = 64  # of these streams that have ended: their readers are about to read the end

_ADD_STREAM = adding(STREAMS, omit=("ended_at",))
_TAKE_OVER = (
    update(STREAMS)
    .where(STREAMS.c.response_id == bindparam("id_"), STREAMS.c.fence <= bindparam("fence_"))
    .values(fence=bindparam("fence_"))
)
_ADVANCE = (
    update(STREAMS)
    .where(
        STREAMS.c.response_id == bindparam("id_"),
        STREAMS.c.fence == bindparam("fence_"),
        STREAMS.c.next == bindparam("expected_"),
    )
    .values(next=bindparam("next_"), ended_at=bindparam("ended_at_"))
)
_STREAM = select(STREAMS).where(STREAMS.c.response_id == bindparam("id"))
_ADD_EVENT = adding(EVENTS)
_FLOOR = select(func.min(EVENTS.c.number).label("floor")).where(EVENTS.c.response_id == bindparam("id"))
_READ = (
    select(EVENTS.c.number, EVENTS.c.type, EVENTS.c.data)
    .where(EVENTS.c.response_id == bindparam("id"), EVENTS.c.number > bindparam("after"))
    .order_by(EVENTS.c.number)
    .limit(bindparam("limit"))
)
_DELETE_EVENTS = delete(EVENTS).where(EVENTS.c.response_id == bindparam("id"))
_DELETE_STREAM = delete(STREAMS).where(STREAMS.c.response_id == bindparam("id"))
_EXPIRED = select(STREAMS.c.response_id).where(STREAMS.c.ended_at < bindparam("before")).limit(bindparam("limit"))
_UNENDED = select(STREAMS.c.response_id).where(STREAMS.c.ended_at.is_(None))


class _Tail:
    """The newest events of one running stream, and its fence; what is here is committed."""

    __slots__ = ("events", "fence", "next")

    def __init__(self, fence: int, following: int) -> None:
        self.fence = fence
        self.next = following
        self.events: list[LogEvent] = []


class SqliteEventLog:
    """`LastingLog` over a `Database` that holds the log's tables. `now` gives seconds since the epoch.

    `boot` changes when the machine starts anew: what was not on the disk then is lost. "": that is not known.
    """

    def __init__(self, database: Database, now: Callable[[], float], *, boot: str = "") -> None:
        self._database = database
        self._now = now
        self._boot = boot or uuid4().hex
        self._tails: OrderedDict[str, _Tail] = OrderedDict()
        self._ended: deque[str] = deque()
        self._wakeups = Wakeups()

    async def open(self, response_id: str, *, fence: int) -> int:
        """See `EventLog.open`."""

        async def work(tx: Transaction) -> int:
            row = await one(tx, _STREAM, {"id": response_id})
            if row is None:
                await tx.execute(_ADD_STREAM, {"response_id": response_id, "fence": fence, "next": 0})
                return 0
            if not await tx.execute(_TAKE_OVER, {"id_": response_id, "fence_": fence}):
                raise Fenced
            return row["next"]

        following = await self._database.write(work)
        self._tails[response_id] = _Tail(fence, following)
        while len(self._tails) > TAIL_STREAMS:
            self._tails.popitem(last=False)
        return following

    async def append(
        self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent], ended: bool
    ) -> None:
        """See `EventLog.append`."""
        following = events[-1].number + 1
        step = {
            "id_": response_id,
            "fence_": fence,
            "expected_": expected,
            "next_": following,
            "ended_at_": int(self._now()) if ended else None,
        }
        rows = [
            {"response_id": response_id, "number": event.number, "type": event.type, "data": event.data}
            for event in events
        ]

        async def work(tx: Transaction) -> None:
            if not await tx.execute(_ADVANCE, step):
                if await one(tx, _STREAM, {"id": response_id}) is None:
                    raise Gone("This response was deleted.")
                raise Fenced
            await tx.execute_many(_ADD_EVENT, rows)

        with anyio.CancelScope(shield=True):  # once written it must be seen: the tail and the wake-up follow
            await self._database.write(work)
        self._remember(response_id, events, following, ended=ended)
        self._wakeups.wake(response_id)

    async def read(self, response_id: str, *, after: int, limit: int) -> Sequence[LogEvent]:
        """See `EventLog.read`."""
        tail = self._tails.get(response_id)
        if tail is not None:
            if after + 1 >= tail.next:
                return ()
            first = tail.events[0].number if tail.events else tail.next
            if after + 1 >= first:
                skip = after + 1 - first
                return tail.events[skip : skip + limit]

        async def work(tx: Transaction) -> list[LogEvent]:
            rows = await tx.rows(_READ, {"id": response_id, "after": after, "limit": limit})
            return [LogEvent(row["number"], row["type"], row["data"]) for row in rows]

        return await self._database.read(work)

    async def extent(self, response_id: str) -> Extent | None:
        """See `EventLog.extent`."""

        async def work(tx: Transaction) -> Extent | None:
            row = await one(tx, _STREAM, {"id": response_id})
            if row is None:
                return None
            lowest = await one(tx, _FLOOR, {"id": response_id})
            floor = row["next"] if lowest is None or lowest["floor"] is None else lowest["floor"]
            return Extent(floor, row["next"], row["ended_at"] is not None)

        return await self._database.read(work)

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        """See `EventLog.moved`. A stream without a tail has no owner here: looking again is all there is."""
        event = self._wakeups.event(response_id)
        tail = self._tails.get(response_id)
        if tail is not None and tail.next > after + 1:
            return True
        with anyio.move_on_after(timeout_s) as scope:
            await event.wait()
        return not scope.cancelled_caught

    async def delete(self, response_id: str) -> None:
        """See `EventLog.delete`."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_DELETE_EVENTS, {"id": response_id})
            await tx.execute(_DELETE_STREAM, {"id": response_id})

        await self._database.write(work)
        self._tails.pop(response_id, None)
        self._wakeups.wake(response_id)

    async def unended(self) -> list[str]:
        """Return the ids of streams that lack their terminal event."""

        async def work(tx: Transaction) -> list[str]:
            return [row["response_id"] for row in await tx.rows(_UNENDED)]

        return await self._database.read(work)

    async def identity(self) -> str:
        """See `LastingLog.identity`."""
        return self._boot

    async def expire(self, *, before: int, limit: int = 500) -> int:
        """Forget up to `limit` streams that ended before second `before`; return how many."""

        async def work(tx: Transaction) -> list[str]:
            old = [row["response_id"] for row in await tx.rows(_EXPIRED, {"before": before, "limit": limit})]
            for response_id in old:
                await tx.execute(_DELETE_EVENTS, {"id": response_id})
                await tx.execute(_DELETE_STREAM, {"id": response_id})
            return old

        return len(await self._database.write(work))

    def _remember(self, response_id: str, events: Sequence[LogEvent], following: int, *, ended: bool) -> None:
        """Keep the newest events at hand. A gap (before a terminal event) drops the tail."""
        tail = self._tails.get(response_id)
        if tail is None:
            return
        if events[0].number != tail.next:
            del self._tails[response_id]
            return
        tail.events.extend(events)
        tail.next = following
        self._tails.move_to_end(response_id)
        if len(tail.events) > TAIL_EVENTS:
            del tail.events[: TAIL_EVENTS // 2]
        if ended:
            self._ended.append(response_id)
            while len(self._ended) > ENDED_TAILS:
                self._tails.pop(self._ended.popleft(), None)
