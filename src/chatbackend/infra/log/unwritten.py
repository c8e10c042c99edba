"""Events that are kept and shown already, on their way to the log's database, where many are written at a time.

Kept means: in a `Spool`, which outlives the process as the database's own log does. So an append takes a copy and no
commit, and the database sees one statement for what came in a quarter of a second, of all streams together: a commit an
append cost more than everything else that was done for a token. The fewer of them, the fewer pages are written twice.

What the database refuses for good is left out, with all that its stream still has here, and nothing else is: the
streams of a batch that is refused are written one by one. A stream that lacks events gets no others, but its end.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio
import msgspec
from sqlalchemy import Text, bindparam, exists, func, insert, literal, select, update

from chatbackend.domain.errors import ChatError
from chatbackend.infra.db.json_rows import field, given
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.tables.events import EVENTS, STREAMS
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.usecases.ports import LogEvent, Report

LINGER_S = 0.25
RETRY_S = 0.5
STOP_S = 2.0
HALF_BYTES = 4 << 20

# A stream, its fence where it begins, when it ended; number, type and data of each event.
Row = tuple[str, int | None, int | None, Sequence[tuple[int, str, bytes]]]
_Write = Callable[[Sequence[Row]], Awaitable[None]]
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Row).decode
_json = msgspec.json.Encoder().encode

_ROWS = given("rows")
_ID, _NUMBER, _TYPE = (
    field(_ROWS, at, EVENTS.c[name].type) for at, name in enumerate(("response_id", "number", "type"))
)
_FROM, _LENGTH = (field(_ROWS, at, EVENTS.c.number.type) for at in (3, 4))
_DATA = func.substr(bindparam("data"), _FROM, _LENGTH)
_STREAM_ID, _FENCE = field(_ROWS, 0, Text()), field(_ROWS, 1, STREAMS.c.fence.type)
_BEGIN = insert(STREAMS).from_select(
    ["response_id", "fence", "next"],
    select(_STREAM_ID, _FENCE, literal(0)).where(~exists().where(STREAMS.c.response_id == _STREAM_ID)),
)
# What is of a deleted stream is left out, and what is there already.
_ADD = insert(EVENTS).from_select(
    ["response_id", "number", "type", "data"],
    select(_ID, _NUMBER, _TYPE, _DATA)
    .join_from(_ROWS, STREAMS, STREAMS.c.response_id == _ID)
    .where(STREAMS.c.next <= _NUMBER),
)
_NEXT, _ENDED_AT = field(_ROWS, 1, STREAMS.c.next.type), field(_ROWS, 2, STREAMS.c.ended_at.type)
_ADVANCE = (
    update(STREAMS)
    .where(STREAMS.c.response_id == _STREAM_ID, STREAMS.c.next < _NEXT)
    .values(next=_NEXT, ended_at=_ENDED_AT)
)
_NEXTS = select(STREAMS.c.response_id, STREAMS.c.next).where(
    STREAMS.c.response_id.in_(select(_STREAM_ID).select_from(_ROWS))
)


class _Batch:
    """Rows that are written together, the half of the spool that they lie in, and those who wait for it."""

    __slots__ = ("half", "rows", "waiters")

    def __init__(self) -> None:
        self.half: int | None = None
        self.rows: list[Row] = []
        self.waiters: list[asyncio.Future[None]] = []

    def tell(self, error: ChatError | None = None) -> None:
        """Let those who wait go on: what they wait for is written, or cannot be now."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class Unwritten:
    """Keeps events and has them written.

    `written(stream, n)` is told that all numbers below n are in the database, `lost(stream)` that some never will be.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        report: Report,
        *,
        written: Callable[[str, int], None],
        lost: Callable[[str], None],
    ) -> None:
        self._database = database
        self._spool = spool
        self._report = report
        self._written = written
        self._lost = lost
        self._waiting = _Batch()
        self._writing: _Batch | None = None
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, stream: str, fence: int) -> bool:
        """Keep that a stream begins; see `keep`."""
        return self._keep((stream, fence, None, ()))

    def keep(self, stream: str, events: Sequence[LogEvent], ended_at: int | None) -> bool:
        """Keep events of a stream; False, and nothing is kept, while there is no room."""
        return self._keep((stream, None, ended_at, [(event.number, event.type, event.data) for event in events]))

    def _keep(self, row: Row) -> bool:
        if not self._spool.add(_pack(row)):
            return False
        self._waiting.rows.append(row)
        if self._spool.crowded:
            self._due.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._lingered)
        return True

    async def settle(self) -> None:
        """Return once everything that is kept is in the database. Raises: Unavailable."""
        batch = self._waiting if self._waiting.rows else self._writing
        if batch is None:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch.waiters.append(waiter)
        self._due.set()
        await waiter

    async def replay(self) -> None:
        """Write what an earlier process has left, unless the machine lost a part. Raises: Unavailable."""
        rows, found_all = self._left()
        if rows:
            known = await self._database.read(lambda tx: tx.rows(_NEXTS, {"rows": _text([[row[0]] for row in rows])}))
            unbroken = list(_unbroken(rows, {each["response_id"]: each["next"] for each in known}))
            written = await self._all(unbroken, self._write)
            if not found_all or len(written) < len(unbroken):
                await self._use_up(rows)
        self._spool.clear()

    def _left(self) -> tuple[list[Row], bool]:
        """Return what is in the spool, and whether all of it could be read."""
        rows, kept = list[Row](), self._spool.rows()
        if self._spool.damaged:
            error = ValueError(f"{self._spool.damaged} damaged entries in the spool")
            self._report("events that an earlier process kept are lost", error)
        for row in kept:
            try:
                rows.append(_unpack(row))
            except msgspec.MsgspecError as error:
                self._report("events that an earlier process kept cannot be read", error)
        return rows, len(rows) == len(kept) and not self._spool.damaged

    async def _use_up(self, rows: Sequence[Row]) -> None:
        """Have nobody use the numbers of these events again: somebody may have seen what is left out."""
        used = defaultdict[str, int](int)
        for stream, _, _, events in rows:  # the later half of a spool may stand first in its file
            if events:
                used[stream] = max(used[stream], events[-1][0] + 1)
        for stream, following in used.items():
            error = await self._taken([(stream, following, None, ())], self._advance)
            if error is not None:
                self._report(f"numbers of {stream} that were seen may be used again", error)

    async def _advance(self, rows: Sequence[Row]) -> None:
        nexts = _text([(stream, following, ended_at) for stream, following, ended_at, _ in rows])
        await self._database.write(lambda tx: tx.execute(_ADVANCE, {"rows": nexts}))

    async def run(self) -> None:
        """Write batch after batch until cancelled; then what still waits, unless that is refused: it stays kept."""
        try:
            while True:
                await self._due.wait()
                await self._next()
        finally:
            with anyio.move_on_after(STOP_S, shield=True):
                while self._writing is not None or self._waiting.rows:
                    await self._next()

    def _lingered(self) -> None:
        self._timer = None
        self._due.set()

    async def _next(self) -> None:
        """Write the batch that was cut short, or else what waits: what came later must not pass for all there was."""
        self._due.clear()
        batch = self._writing or self._turn()
        if batch is None:
            return
        await self._save(batch)
        if batch.half is not None:
            self._spool.free(batch.half)
        self._writing = None
        for stream, _, _, events in batch.rows:
            if events:
                self._written(stream, events[-1][0] + 1)
        batch.tell()

    def _turn(self) -> _Batch | None:
        """Take what waits, None where nothing does; what comes from here on waits for the next time."""
        if not self._waiting.rows:
            return None
        batch, self._waiting = self._waiting, _Batch()
        batch.half = self._spool.turn()
        self._writing = batch
        return batch

    async def _save(self, batch: _Batch) -> None:
        """Write a batch, however long that is refused for now."""

        async def patiently(rows: Sequence[Row]) -> None:
            while True:
                try:
                    return await self._write(rows)
                except ChatError as error:
                    self._report("events could not be written down yet", error)
                    batch.tell(error)
                    self._waiting.tell(error)
                await asyncio.sleep(RETRY_S)

        batch.rows = await self._all(batch.rows, patiently)

    async def _write(self, rows: Sequence[Row]) -> None:
        with anyio.CancelScope(shield=True):  # a write that nobody waits for any more is left out
            await self._database.write(lambda tx: _save(tx, rows))

    async def _all(self, rows: list[Row], write: _Write) -> list[Row]:
        """Write rows; return those that are written. What is refused for good costs its own stream alone."""
        if await self._taken(rows, write) is None:
            return rows
        streams = defaultdict[str, list[Row]](list)
        for row in rows:
            streams[row[0]].append(row)
        written: list[Row] = []
        for stream, own in streams.items():
            error = await self._taken(own, write)
            if error is None:
                written += own
            else:
                await self._leave_out(stream, own, error, write)
        return written

    async def _taken(self, rows: Sequence[Row], write: _Write) -> Exception | None:
        """Write rows; return the error of a database that will never take them. Raises: Unavailable."""
        try:
            await write(rows)
        except ChatError:
            raise
        except Exception as error:  # whatever it is, it must not stop what other streams wait for
            return error
        return None

    async def _leave_out(self, stream: str, own: Sequence[Row], error: Exception, write: _Write) -> None:
        """Give up what is kept of a stream, but for its end: that says all, and a gap before it can be seen."""
        self._report(f"events of {stream} are refused by the database: its log goes on with its end only", error)
        ends = [row for row in (*own, *self._waiting.rows) if row[0] == stream and row[2] is not None]
        self._waiting.rows = [row for row in self._waiting.rows if row[0] != stream]
        for _, _, ended_at, events in ends:
            await self._taken([(stream, None, ended_at, events[-1:])], write)
        self._lost(stream)


async def _save(tx: Transaction, rows: Sequence[Row]) -> None:
    """Write events, in the order of their numbers in each stream; what is written already is passed over."""
    index: list[tuple[str, int, str, int, int]] = []
    data: list[bytes] = []
    heads: dict[str, tuple[str, int, int | None]] = {}
    begun = [(stream, fence) for stream, fence, _, _ in rows if fence is not None]
    at = 1  # as SQL counts
    for stream, _, ended_at, events in rows:
        for number, kind, piece in events:
            index.append((stream, number, kind, at, len(piece)))
            data.append(piece)
            at += len(piece)
        if events:
            heads[stream] = stream, events[-1][0] + 1, ended_at
    await tx.execute(_BEGIN, {"rows": _text(begun)})
    await tx.execute(_ADD, {"rows": _text(index), "data": b"".join(data)})
    await tx.execute(_ADVANCE, {"rows": _text(list(heads.values()))})


def _unbroken(rows: Sequence[Row], nexts: dict[str, int]) -> Iterable[Row]:
    """Yield what follows without a gap on what the database holds of each stream; an end may stand behind a gap.

    Gaps come from a machine that went down with a part of the file in its memory only.
    """
    streams = defaultdict[str, list[Row]](list)
    for row in rows:
        if row[3]:
            streams[row[0]].append(row)
        else:
            yield row
            nexts.setdefault(row[0], 0)
    for stream, parts in streams.items():
        following = nexts.get(stream)
        for part in sorted(parts, key=lambda row: row[3][0][0]):
            first, last = part[3][0][0], part[3][-1][0]
            if following is not None and last >= following and (first <= following or part[2] is not None):
                yield part
                following = last + 1


def _text(rows: Sequence[object]) -> str:
    return _json(rows).decode()
