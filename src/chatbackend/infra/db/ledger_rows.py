"""What stands in a row of the ledger: its columns once, for whoever writes them one by one or many at a time.

A row is one upstream call. It is begun, with an estimate of what goes in, before the provider is dialled, and settled
once, with what the call used, how it ended and what it cost by the prices of then.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter

from sqlalchemy import bindparam, insert, select, update

from chatbackend.domain.identity import Principal
from chatbackend.domain.pricing import Prices
from chatbackend.domain.usage import COUNTS, Settlement, Usage
from chatbackend.infra.db.tables.responses import IS_OPEN, LEDGER
from chatbackend.infra.db.transaction import Row, Transaction
from chatbackend.usecases.ports import Call

Fields = tuple[str | int | None, ...]
BEGUN = (
    *("id", "tenant", "owner", "key_id", "response_id", "attempt", "model", "status", "started_at"),
    *("input_tokens", "estimated", "fence"),
)
_counts: Callable[[Usage], tuple[int, ...]] = attrgetter(*COUNTS)
SETTLED = ("id", "settled_at", "outcome", "estimated", "cost_nano_usd", *COUNTS)
LARGEST = 2**53 - 1  # no cost may keep a row from being written, or the sum of a thousand from being made

_ADD = insert(LEDGER).values({name: bindparam(name) for name in BEGUN})
_SETTLE = (
    update(LEDGER)
    .where(LEDGER.c.id == bindparam("id_"), IS_OPEN)
    .values(status="settled", **{name: bindparam(name) for name in SETTLED[1:]})
)
OF_A_RESPONSE = LEDGER.c.response_id != LEDGER.c.id  # needed for the index: calls for no response are not in it
_OPEN = (IS_OPEN, LEDGER.c.response_id == bindparam("response_id"), OF_A_RESPONSE)
_OPEN_OF = select(LEDGER.c.id, LEDGER.c.model, LEDGER.c.input_tokens).where(*_OPEN)


def begun(principal: Principal, call: Call, *, response_id: str, fence: int, now: int) -> Fields:
    """Return the values of `BEGUN`. `now` is in microseconds."""
    who = (principal.tenant, principal.owner, principal.key_id)
    return (call.id, *who, response_id, call.attempt, call.model, "started", now, call.input_tokens, 1, fence)


class Settling:
    """Makes the second half of rows, with their cost."""

    def __init__(self, prices: Prices) -> None:
        self._prices = prices

    def fields(self, call_id: str, deployment: str, settlement: Settlement, *, now: int) -> Fields:
        """Return the values of `SETTLED`. `now` is in microseconds."""
        usage = settlement.usage
        cost = self._prices.cost(deployment, usage)
        return (
            call_id,
            now,
            settlement.outcome,
            int(usage.estimated),
            None if cost is None or cost > LARGEST else cost,
            *_counts(usage),
        )

    async def settle(self, tx: Transaction, call: Call, settlement: Settlement, *, now: int) -> None:
        """Settle one call, unless it is settled."""
        await self._write(tx, [self.fields(call.id, call.model, settlement, now=now)])

    async def settle_open(self, tx: Transaction, response_id: str, settlement: Settlement | None, *, now: int) -> None:
        """Settle what is open of a response: with `settlement`, or else as lost."""
        rows = await tx.rows(_OPEN_OF, {"response_id": response_id})
        await self._write(tx, [self.fields(row["id"], row["model"], settlement or _lost(row), now=now) for row in rows])

    async def settle_lost(self, tx: Transaction, rows: Sequence[Row], *, now: int) -> None:
        """Settle calls of a dead process, of which nobody knows more than what went in."""
        await self._write(tx, [self.fields(row["id"], row["model"], _lost(row), now=now) for row in rows])

    async def _write(self, tx: Transaction, rows: Sequence[Fields]) -> None:
        await tx.execute_many(_SETTLE, [dict(zip(("id_", *SETTLED[1:]), row, strict=True)) for row in rows])


async def add(tx: Transaction, row: Fields) -> None:
    """Write the first half of a row."""
    await tx.execute(_ADD, dict(zip(BEGUN, row, strict=True)))


def _lost(row: Row) -> Settlement:
    return Settlement(Usage(row["input_tokens"], estimated=True), "interrupted")
