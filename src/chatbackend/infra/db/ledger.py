"""The ledger rows of relayed calls: begun while the upstream is dialled, settled behind the answer.

Rows of many calls share a write: one is under way at a time, and what comes meanwhile goes with the next. Most calls
have ended by then, and go as one whole row. Rows go as one JSON array in one statement: a statement a row hands the
interpreter's lock between the threads twice a row, which cost more than all of the writing.

With a spool nobody waits for the write: the row is kept there at once, and written with many others a little later.
That is for a database on the same disk. Without a spool each call waits until its row is committed.
"""

import asyncio
from collections.abc import Awaitable, Iterable

import anyio
import msgspec
from sqlalchemy import ColumnElement, exists, insert, literal, select, update

from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.domain.pricing import Prices
from chatbackend.domain.usage import Settlement
from chatbackend.infra.db.json_rows import field, given
from chatbackend.infra.db.ledger_rows import BEGUN, SETTLED, Settling, begun
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.tables.responses import IS_OPEN, LEDGER
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.usecases.ports import Call, Clock, Report, Spawn

_ROWS = given("rows")


def _fields(names: Iterable[str], first: int = 0) -> dict[str, ColumnElement[object]]:
    """Return the columns `names` as they stand in a row, from place `first` on."""
    return {name: field(_ROWS, at, LEDGER.c[name].type) for at, name in enumerate(names, first)}


_BEGUN, _SETTLED = _fields(BEGUN), _fields(SETTLED)
_WHOLE = {**_BEGUN, **_fields(SETTLED, len(BEGUN)), "status": literal("settled"), "id": _BEGUN["id"]}
_ADD = insert(LEDGER).from_select([*_BEGUN], select(*_BEGUN.values()))
_ADD_WHOLE = insert(LEDGER).from_select([*_WHOLE], select(*_WHOLE.values()))
_ADD_MISSING = insert(LEDGER).from_select(
    [*_BEGUN], select(*_BEGUN.values()).where(~exists().where(LEDGER.c.id == _BEGUN["id"]))
)
_SETTLE = (
    update(LEDGER)
    .where(LEDGER.c.id == _SETTLED["id"], IS_OPEN)
    .values(status="settled", **{name: value for name, value in _SETTLED.items() if name != "id"})
)
_encode = msgspec.json.Encoder().encode
_A_BEGINNING, _A_SETTLEMENT = b"b", b"s"  # what a row in the spool is
RETRY_S = 0.5
LINGER_S = 0.1  # what nobody waits for waits for company
STOP_S = 2.0


class _Batch:
    """Rows, as JSON, that are written together, and the callers who wait for some of them."""

    __slots__ = ("begun", "callers", "settled", "unkept", "whole")

    def __init__(self) -> None:
        self.begun: dict[str, bytes] = {}
        self.unkept: dict[str, bytes] = {}  # begun, and in no spool
        self.whole: list[bytes] = []
        self.settled: list[bytes] = []
        self.callers: list[asyncio.Future[None]] = []

    def settle(self, call_id: str, row: bytes) -> None:
        """Add a settlement to its beginning, where that is here, too."""
        begun = self.begun.pop(call_id, None)
        if begun is None:
            self.settled.append(row)
        else:
            self.whole.append(begun[:-1] + b"," + row[1:])

    async def save(self, tx: Transaction) -> None:
        """Write the rows."""
        kinds = (
            (_ADD, [*self.begun.values(), *self.unkept.values()]),
            (_ADD_WHOLE, self.whole),
            (_SETTLE, self.settled),
        )
        for statement, rows in kinds:
            if rows:
                await tx.execute(statement, {"rows": _array(rows)})

    def tell(self) -> None:
        """Let the callers go on: their rows are committed."""
        for caller in self.callers:
            if not caller.done():
                caller.set_result(None)

    def refuse(self, error: ChatError) -> None:
        """Refuse the callers that have had nothing yet; all else is kept for another try."""
        for caller in self.callers:
            if not caller.done():
                caller.set_exception(error)
                caller.exception()  # seen: who dialled in vain does not ask
        self.callers = []
        self.unkept.clear()


async def replay(database: Database, spool: Spool, report: Report) -> None:
    """Write down what an earlier process had in its spool, as far as it has not done so itself."""
    kept = spool.rows()
    if spool.damaged:
        error = ValueError(f"{spool.damaged} damaged entries in the spool")
        report("calls that an earlier process kept are lost", error)
    begun, settled = ([row[1:] for row in kept if row[:1] == kind] for kind in (_A_BEGINNING, _A_SETTLEMENT))

    async def work(tx: Transaction) -> None:
        await tx.execute(_ADD_MISSING, {"rows": _array(begun)})
        await tx.execute(_SETTLE, {"rows": _array(settled)})

    if kept:
        await database.write(work)
    spool.clear()


def _array(rows: Iterable[bytes]) -> str:
    return f"[{b','.join(rows).decode()}]"


class Ledger:
    """`RelayLedger` on a database; `fence`: its server's. A settlement that a kill loses becomes an estimate."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        prices: Prices | None = None,
        *,
        report: Report,
        spawn: Spawn,
        spool: Spool | None = None,
        fence: int = 0,
    ) -> None:
        self._database = database
        self._fence = fence
        self._settling = Settling(prices or Prices())
        self._clock = clock
        self._report = report
        self._spawn = spawn
        self._spool = spool
        self._waiting: _Batch | None = None
        self._writing = False
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        """See `RelayLedger.started`."""
        batch = self._batch()
        # A relayed call belongs to no response: its own id stands in.
        row = _encode(begun(principal, call, response_id=call.id, fence=self._fence, now=self._micros()))
        caller: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._spool is not None and self._spool.add(_A_BEGINNING + row):
            batch.begun[call.id] = row
            caller.set_result(None)
            self._linger()
        else:
            batch.unkept[call.id] = row
            batch.callers.append(caller)
            self._due.set()
        return caller

    def settled(self, call: Call, settlement: Settlement) -> None:
        """See `RelayLedger.settled`."""
        row = _encode(self._settling.fields(call.id, call.model, settlement, now=self._micros()))
        if self._spool is not None:
            self._spool.add(_A_SETTLEMENT + row)  # without room, a kill makes an estimate of it
        self._batch().settle(call.id, row)
        self._linger()

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)

    def _batch(self) -> _Batch:
        """Return the batch that waits, with a writer on its way to it."""
        if self._waiting is None:
            self._waiting = _Batch()
            if not self._writing:
                self._writing = True
                self._spawn(self._write, name="relay ledger")
        return self._waiting

    def _linger(self) -> None:
        """Have what waits written soon, unless a row that somebody waits for takes it along before."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._lingered)

    def _lingered(self) -> None:
        self._timer = None
        self._due.set()

    async def _write(self) -> None:
        """Write batch after batch; at the end of the process what still waits."""
        try:
            while True:
                await self._due.wait()
                await self._next()
        finally:
            self._writing = False
            with anyio.move_on_after(STOP_S, shield=True):
                await self._next()

    async def _next(self) -> None:
        self._due.clear()
        batch, self._waiting = self._waiting, None
        if batch is None:
            return
        half = self._spool.turn() if self._spool is not None else None
        await self._save(batch)
        if self._spool is not None and half is not None:
            self._spool.free(half)

    async def _save(self, batch: _Batch) -> None:
        while True:
            try:
                with anyio.CancelScope(shield=True):  # a write that nobody waits for any more is left out
                    await self._database.write(batch.save, touching=())
            except ChatError as error:
                self._report("relayed calls could not be written down yet", error)
                for refused in (batch, self._waiting):
                    if refused is not None:
                        refused.refuse(error)
            else:
                batch.tell()
                return
            await asyncio.sleep(RETRY_S)
