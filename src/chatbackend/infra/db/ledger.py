"""The ledger rows of relayed calls: begun while the upstream is dialled, settled behind the answer.

Rows of many calls share a write: one is under way at a time, and what comes meanwhile goes with the next. A settlement
waits a little for a row that is begun, since a commit of its own is most of what a call costs where calls are few.
Rows go as one JSON array in one statement: a statement a row hands the interpreter's lock between the threads twice a
row, which cost more than all of the writing.
"""

import asyncio
from collections.abc import Awaitable

import anyio
import msgspec
from sqlalchemy import insert, select, update

from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.domain.pricing import Prices
from chatbackend.domain.usage import Settlement
from chatbackend.infra.db.json_rows import field, given
from chatbackend.infra.db.ledger_rows import BEGUN, SETTLED, Fields, Settling, begun
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.usecases.ports import Call, Clock, Report, Spawn

_ROWS = given("rows")
_BEGUN, _SETTLED = (
    [field(_ROWS, at, LEDGER.c[name].type) for at, name in enumerate(names)] for names in (BEGUN, SETTLED)
)
_ADD = insert(LEDGER).from_select(BEGUN, select(*_BEGUN))
_SETTLE = (
    update(LEDGER)
    .where(LEDGER.c.id == _SETTLED[0], LEDGER.c.status == "started")
    .values(status="settled", **dict(zip(SETTLED[1:], _SETTLED[1:], strict=True)))
)
_encode = msgspec.json.Encoder().encode
TRIES = 20
RETRY_S = 0.5
LINGER_S = 0.1  # nobody waits for a settlement: it waits for company
STOP_S = 2.0


class _Batch:
    """Rows that are written together, and the callers who wait for them."""

    __slots__ = ("begun", "callers", "settled")

    def __init__(self) -> None:
        self.begun: list[Fields] = []
        self.settled: list[Fields] = []
        self.callers: list[asyncio.Future[None]] = []

    async def save(self, tx: Transaction) -> None:
        """Write the rows."""
        if self.begun:
            await tx.execute(_ADD, {"rows": _encode(self.begun).decode()})
        if self.settled:
            await tx.execute(_SETTLE, {"rows": _encode(self.settled).decode()})

    def tell(self) -> None:
        """Let the callers go on: their rows are committed."""
        for caller in self.callers:
            if not caller.done():
                caller.set_result(None)

    def refuse(self, error: ChatError) -> None:
        """Refuse the callers that have had nothing yet; settlements are kept for another try."""
        for caller in self.callers:
            if not caller.done():
                caller.set_exception(error)
                caller.exception()  # seen: who dialled in vain does not ask
        self.begun, self.callers = [], []


class Ledger:
    """`RelayLedger` on a database. A settlement that a kill loses becomes an estimate at the next start."""

    def __init__(
        self, database: Database, clock: Clock, prices: Prices | None = None, *, report: Report, spawn: Spawn
    ) -> None:
        self._database = database
        self._settling = Settling(prices or Prices())
        self._clock = clock
        self._report = report
        self._spawn = spawn
        self._waiting: _Batch | None = None
        self._writing = False
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        """See `RelayLedger.started`."""
        batch = self._batch()
        # A relayed call belongs to no response: its own id stands in.
        batch.begun.append(begun(principal, call, response_id=call.id, now=self._micros()))
        caller: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        batch.callers.append(caller)
        self._due.set()
        return caller

    def settled(self, call: Call, settlement: Settlement) -> None:
        """See `RelayLedger.settled`."""
        row = self._settling.fields(call.id, call.model, settlement, now=self._micros())
        self._batch().settled.append(row)
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
        if batch is not None:
            await self._save(batch)

    async def _save(self, batch: _Batch) -> None:
        for _ in range(TRIES):
            try:
                with anyio.CancelScope(shield=True):  # a write that nobody waits for any more is left out
                    await self._database.write(batch.save, touching=())
            except ChatError as error:
                self._report("relayed calls could not be written down yet", error)
                batch.refuse(error)
            else:
                batch.tell()
                return
            await asyncio.sleep(RETRY_S)
