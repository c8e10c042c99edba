"""The ledger rows of relayed calls: begun while the upstream is dialled, settled behind the answer.

Rows of many calls share a write: one is under way at a time, and what comes meanwhile goes with the next.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from sqlalchemy import bindparam, insert, update

from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.domain.usage import Usage
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.usecases.ports import Call, Clock, Report, Spawn

_BEGUN = ("id", "tenant", "owner", "key_id", "response_id", "attempt", "model", "status", "started_at")
_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens", "estimated")
_ADD = insert(LEDGER).values({name: bindparam(name) for name in _BEGUN})
_SETTLE = (
    update(LEDGER)
    .where(LEDGER.c.id == bindparam("id_"), LEDGER.c.status == "started")
    .values(status="settled", settled_at=bindparam("settled_at"), **{name: bindparam(name) for name in _TOKENS})
)
TRIES = 20
RETRY_S = 0.5


class _Batch:
    """Rows that are written together, and what their callers wait for."""

    __slots__ = ("begun", "committed", "settled")

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.settled: list[dict[str, Any]] = []
        self.committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(self) -> None:
        """Let the callers go on: their rows are committed."""
        if not self.committed.done():
            self.committed.set_result(None)

    def refuse(self, error: ChatError) -> None:
        """Refuse the callers that have had nothing yet; settlements are kept for another try."""
        self.begun = []
        if not self.committed.done():
            self.committed.set_exception(error)
            self.committed.exception()  # seen: there may be no caller


class Ledger:
    """`RelayLedger` on a database. A settlement that a kill loses becomes an estimate at the next start."""

    def __init__(self, database: Database, clock: Clock, *, report: Report, spawn: Spawn) -> None:
        self._database = database
        self._clock = clock
        self._report = report
        self._spawn = spawn
        self._waiting: _Batch | None = None
        self._writing = False

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        """See `RelayLedger.started`."""
        batch = self._batch()
        batch.begun.append(
            {
                "id": call.id,
                "tenant": principal.tenant,
                "owner": principal.owner,
                "key_id": principal.key_id,
                "response_id": call.id,  # a relayed call belongs to no response
                "attempt": call.attempt,
                "model": call.model,
                "status": "started",
                "started_at": int(self._clock.now() * MICROS),
            }
        )
        return asyncio.shield(batch.committed)  # one caller that gives up must not take the others along

    def settled(self, call: Call, usage: Usage) -> None:
        """See `RelayLedger.settled`."""
        tokens = {name: int(getattr(usage, name)) for name in _TOKENS}
        self._batch().settled.append({"id_": call.id, "settled_at": int(self._clock.now() * MICROS), **tokens})

    def _batch(self) -> _Batch:
        """Return the batch that waits, with a writer on its way to it."""
        if self._waiting is None:
            self._waiting = _Batch()
            if not self._writing:
                self._writing = True
                self._spawn(self._write, name="relay ledger")
        return self._waiting

    async def _write(self) -> None:
        try:
            while (batch := self._waiting) is not None:
                self._waiting = None
                await self._save(batch)
        finally:
            self._writing = False

    async def _save(self, batch: _Batch) -> None:
        async def work(tx: Transaction) -> None:
            await tx.execute_many(_ADD, batch.begun)
            await tx.execute_many(_SETTLE, batch.settled)

        for _ in range(TRIES):
            try:
                await self._database.write(work)
            except ChatError as error:
                self._report("relayed calls could not be written down yet", error)
                batch.refuse(error)
            else:
                batch.tell()
                return
            await asyncio.sleep(RETRY_S)
