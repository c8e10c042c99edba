"""What the ledger adds up to, over all tenants: the operator's view."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import BigInteger, ColumnElement, Executable, bindparam, case, func, select
from sqlalchemy import cast as sql_cast

from chatbackend.infra.db.tables.keys import API_KEYS
from chatbackend.infra.db.tables.responses import LEDGER
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction

By = Literal["model", "key", "account", "day"]
KINDS: tuple[By, ...] = get_args(By)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Totals:
    """The calls of one model, key, account or day (UTC). `estimated` and `unpriced` are numbers of calls.

    `cost_nano_usd` is of the calls whose price was known, None where none was.
    """

    name: str
    calls: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    estimated: int
    unpriced: int
    cost_nano_usd: int | None


def _sum(what: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a sum as a whole number: PostgreSQL's own sums of these are decimal."""
    return sql_cast(func.sum(what), BigInteger)


def _sums(what: ColumnElement[Any]) -> Executable:
    """Return the query that groups by an expression."""
    ledger = LEDGER.c
    tokens = (ledger.input_tokens, ledger.cached_tokens, ledger.output_tokens, ledger.estimated)
    return (
        select(
            what.label("what"),
            func.count().label("calls"),
            _sum(case((ledger.outcome == "failed", 1), else_=0)).label("failed"),
            *(_sum(column).label(column.name) for column in tokens),
            _sum(case((ledger.cost_nano_usd.is_(None), 1), else_=0)).label("unpriced"),
            _sum(ledger.cost_nano_usd).label("cost_nano_usd"),
        )
        .select_from(LEDGER.outerjoin(API_KEYS, API_KEYS.c.id == ledger.key_id))
        .where(ledger.started_at >= bindparam("since"))
        .group_by("what")  # by its label: drivers would not see that two parameters are one
    )


_STATEMENTS: Mapping[By, Executable] = {
    "model": _sums(LEDGER.c.model),
    "key": _sums(LEDGER.c.key_id),
    "account": _sums(func.coalesce(API_KEYS.c.account, LEDGER.c.owner)),  # an owner: of no key that we keep
    "day": _sums(LEDGER.c.started_at // (_DAY_S * MICROS)),
}


class UsageTotals:
    """Reads the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, by: By, *, since: datetime) -> list[Totals]:
        """Return the totals of calls begun at `since` or later: days in order, all else the dearest first."""

        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(_STATEMENTS[by], {"since": int(since.timestamp() * MICROS)})

        rows = [dict(row) for row in await self._database.read(work)]
        found = [Totals(_name(row.pop("what")), **row) for row in rows]
        if by == "day":
            return sorted(found, key=lambda totals: totals.name)
        return sorted(found, key=lambda totals: (-(totals.cost_nano_usd or 0), -totals.calls, totals.name))


def _name(given: str | int) -> str:
    """Return a name as it is, a number of days as its date."""
    return given if isinstance(given, str) else datetime.fromtimestamp(given * _DAY_S, UTC).date().isoformat()
