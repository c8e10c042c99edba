"""The event log of stored responses on SQLite, in a file of its own.

`synchronous=NORMAL`: what was appended survives the death of the process, not the loss of power.
An append keeps its events (`Unwritten`) and the file gets them a little later. Readers in this process are served from
a bounded tail in memory, filled only with what is kept; older events come from the file.
"""

from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

import anyio
from sqlalchemy import bindparam, delete, func, select, update

from chatbackend.domain.errors import Gone
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.tables.events import EVENTS, STREAMS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.infra.log.unwritten import Unwritten
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Behind, Extent, Fenced, LogEvent, Report

TAIL_EVENTS = 4_096  # a stream's events kept in memory while it runs
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
    """The newest events of one stream whose owner is here, and what its next append must bring.

    Everything below `written` is in the database, the rest is kept for it, unless it is `lost`.
    """

    __slots__ = ("ended", "events", "fence", "lost", "next", "written")

    def __init__(self, fence: int, following: int) -> None:
        self.fence = fence
        self.next = self.written = following
        self.ended = self.lost = False
        self.events: list[LogEvent] = []


class SqliteEventLog:
    """`LastingLog` over a `Database` that holds the log's tables, and a spool. `now` gives seconds since the epoch.

    `async with` it: what an earlier process left in the spool is written first. It is the only one that writes.
    `boot` changes when the machine starts anew: what was not on the disk then is lost. "": that is not known.
    """

    prompt = True

    def __init__(
        self, database: Database, spool: Spool, now: Callable[[], float], report: Report, *, boot: str = ""
    ) -> None:
        self._database = database
        self._unwritten = Unwritten(database, spool, report, written=self._written, lost=self._lost)
        self._now = now
        self._boot = boot or uuid4().hex
        self._tails: dict[str, _Tail] = {}
        self._ended: deque[str] = deque()
        self._wakeups = Wakeups()
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._unwritten.replay()
        await self._group.__aenter__()
        self._group.start_soon(self._unwritten.run)
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._group.cancel_scope.cancel()
        await self._group.__aexit__(None, None, None)  # what else went wrong is not for a group to wrap

    async def settle(self) -> None:
        """Return once everything that was appended is in the database. Raises: Unavailable."""
        await self._unwritten.settle()

    async def open(self, response_id: str, *, fence: int, fresh: bool = False) -> int:
        """See `EventLog.open`."""
        if fresh and self._unwritten.begin(response_id, fence):
            self._tails[response_id] = _Tail(fence, 0)
            return 0
        tail = self._tails.get(response_id)
        if tail is not None:
            if tail.fence > fence:
                raise Fenced
            tail.fence = fence  # the earlier owner adds nothing more from here on
            await self._unwritten.settle()

        async def work(tx: Transaction) -> Row:
            row = await one(tx, _STREAM, {"id": response_id})
            if row is None:
                await tx.execute(_ADD_STREAM, {"response_id": response_id, "fence": fence, "next": 0})
                return {"next": 0, "ended_at": None}
            if not await tx.execute(_TAKE_OVER, {"id_": response_id, "fence_": fence}):
                raise Fenced
            return row

        row = await self._database.write(work)
        tail = self._tails[response_id] = _Tail(fence, row["next"])
        tail.ended = row["ended_at"] is not None
        return tail.next

    async def append(
        self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent], ended: bool
    ) -> None:
        """See `EventLog.append`."""
        ended_at = int(self._now()) if ended else None
        if self._kept(response_id, fence, expected, events=events, ended_at=ended_at):
            return
        await self._unwritten.settle()
        tail = self._tails.get(response_id)
        if tail is not None and tail.lost and tail.fence == fence:
            raise Behind(tail.written)
        if not self._kept(response_id, fence, expected, events=events, ended_at=ended_at):
            await self._write(response_id, fence, expected, events=events, ended_at=ended_at)

    def take(self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent]) -> bool:
        """See `EventLog.take`."""
        return self._kept(response_id, fence, expected, events=events, ended_at=None)

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

        found = await self._database.read(work)
        tail = self._tails.get(response_id)
        if tail is not None and tail.events and len(found) < limit:
            following = found[-1].number + 1 if found else after + 1
            if tail.events[0].number <= following:
                skip = following - tail.events[0].number
                found += tail.events[skip : skip + limit - len(found)]
        return found

    async def extent(self, response_id: str) -> Extent | None:
        """See `EventLog.extent`."""

        async def work(tx: Transaction) -> Extent | None:
            row = await one(tx, _STREAM, {"id": response_id})
            if row is None:
                return None
            lowest = await one(tx, _FLOOR, {"id": response_id})
            floor = row["next"] if lowest is None or lowest["floor"] is None else lowest["floor"]
            return Extent(floor, row["next"], row["ended_at"] is not None)

        held, tail = await self._database.read(work), self._tails.get(response_id)
        if tail is None or (held is not None and tail.next <= held.next):
            return held
        return Extent(0 if held is None else held.floor, tail.next, tail.ended)

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        """See `EventLog.moved`. A stream without a tail has no owner here: looking again is all there is."""
        tail = self._tails.get(response_id)
        if tail is not None and tail.next > after + 1:
            return True
        return await self._wakeups.wait(response_id, timeout_s)

    async def delete(self, response_id: str) -> None:
        """See `EventLog.delete`."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_DELETE_EVENTS, {"id": response_id})
            await tx.execute(_DELETE_STREAM, {"id": response_id})

        await self._unwritten.settle()  # its beginning, written later, would bring it back
        with anyio.CancelScope(shield=True):  # readers hold on to it until it is deleted, and no longer
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

        expired = await self._database.write(work)
        for response_id in expired:
            self._tails.pop(response_id, None)
        return len(expired)

    def _kept(
        self, response_id: str, fence: int, expected: int, *, events: Sequence[LogEvent], ended_at: int | None
    ) -> bool:
        """Keep and show events, where they follow on what is here; False: they do not, or there is no room."""
        tail = self._tails.get(response_id)
        if (
            tail is None
            or tail.ended
            or tail.lost
            or tail.fence != fence
            or not tail.next == expected == events[0].number
        ):
            return False
        if not self._unwritten.keep(response_id, events, ended_at):
            return False
        self._show(response_id, tail, events, ended=ended_at is not None)
        return True

    async def _write(
        self, response_id: str, fence: int, expected: int, *, events: Sequence[LogEvent], ended_at: int | None
    ) -> None:
        """Write events by themselves, behind all that was kept: too large ones, an end that skips numbers."""
        following = events[-1].number + 1
        step = {"id_": response_id, "fence_": fence, "expected_": expected, "next_": following, "ended_at_": ended_at}
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
        tail = self._tails.get(response_id)
        if tail is not None and events[0].number == tail.next:
            tail.written = following
            self._show(response_id, tail, events, ended=ended_at is not None)
            return
        self._tails.pop(response_id, None)  # an end behind a gap
        self._wakeups.wake(response_id)

    def _show(self, response_id: str, tail: _Tail, events: Sequence[LogEvent], *, ended: bool) -> None:
        """Let readers see events, and keep the newest ones at hand."""
        tail.events.extend(events)
        tail.next = events[-1].number + 1
        if len(tail.events) > TAIL_EVENTS:
            del tail.events[: min(TAIL_EVENTS // 2, tail.written - tail.events[0].number)]
        if ended:
            tail.ended = True
            self._ended.append(response_id)
        self._wakeups.wake(response_id)

    def _lost(self, response_id: str) -> None:
        """Note that the database will lack events which were kept: the stream gets nothing more but its end."""
        tail = self._tails.get(response_id)
        if tail is None:
            return
        tail.lost = True
        if tail.ended:
            self._tails.pop(response_id)
            self._wakeups.wake(response_id)

    def _written(self, response_id: str, following: int) -> None:
        """Note what is in the database now; the oldest tails of streams that have ended go."""
        tail = self._tails.get(response_id)
        if tail is not None:
            tail.written = following
        while len(self._ended) > ENDED_TAILS:
            oldest = self._tails.get(self._ended[0])
            if oldest is not None and oldest.written < oldest.next:
                return
            self._tails.pop(self._ended.popleft(), None)
