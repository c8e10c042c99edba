"""What servers left that hold no fence any more: responses, ends that nobody may have told, calls.

Whoever takes a response over locks its row and looks once more: what a dead server's last transaction still commits
is seen, and of many that try one gets it. `judge` is the server that judges whether others are dead, by its own fence.
"""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, exists, func, select, update

from chatbackend.infra.db.json_rows import field, given
from chatbackend.infra.db.ledger_rows import OF_A_RESPONSE
from chatbackend.infra.db.servers import forsaken, living
from chatbackend.infra.db.tables.responses import IS_ALIVE, IS_OPEN, LEDGER, RESPONSES
from chatbackend.infra.db.tables.schema import TEXT
from chatbackend.infra.db.tables.servers import SERVERS
from chatbackend.infra.db.transaction import Row, Transaction, one
from chatbackend.usecases.ports import Ended

TAKEN_AT_ONCE = 100
_OTHERS = RESPONSES.c.fence != bindparam("fence")
_COUNT = select(func.count().label("count")).where(IS_ALIVE, forsaken(RESPONSES.c.fence))
_FORSAKEN = (
    select(RESPONSES)
    .where(IS_ALIVE, _OTHERS, forsaken(RESPONSES.c.fence))
    .order_by(RESPONSES.c.created_at, RESPONSES.c.turn)
    .limit(TAKEN_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_LOG = select(SERVERS.c.log).where(SERVERS.c.fence == bindparam("fence"))
_TAKE = (
    update(RESPONSES)
    .where(RESPONSES.c.id == bindparam("id_"))
    .values(fence=bindparam("fence_"), takeovers=RESPONSES.c.takeovers + 1)
)
_OWNED = select(RESPONSES.c.id).where(
    IS_ALIVE, RESPONSES.c.fence == bindparam("fence"), RESPONSES.c.created_at < bindparam("before")
)
_DISOWN = (
    update(RESPONSES)
    .where(RESPONSES.c.id == bindparam("id_"), RESPONSES.c.fence == bindparam("fence_"))
    .values(fence=bindparam("to_"))
)
_AT_END = (
    select(RESPONSES)
    .where(RESPONSES.c.id == bindparam("id"), ~IS_ALIVE)
    .where((RESPONSES.c.fence == bindparam("fence")) | forsaken(RESPONSES.c.fence))
    .with_for_update()
)
_TAKE_END = update(RESPONSES).where(RESPONSES.c.id == bindparam("id_")).values(fence=bindparam("fence_"))
_ASKED = given("rows")
_ID = field(_ASKED, 0, TEXT)
_ENDED = (
    select(
        _ID.label("id"),
        RESPONSES.c.fence,
        exists(living().where(SERVERS.c.fence == RESPONSES.c.fence).correlate(RESPONSES)).label("owned"),
    )
    .select_from(_ASKED.outerjoin(RESPONSES, RESPONSES.c.id == _ID))
    .where(RESPONSES.c.id.is_(None) | ~IS_ALIVE)
)
_ATTEMPTS = select(LEDGER.c.attempt).where(LEDGER.c.response_id == bindparam("id"), OF_A_RESPONSE)
_ABANDONED = select(LEDGER.c.id, LEDGER.c.model, LEDGER.c.input_tokens).where(
    IS_OPEN,
    forsaken(LEDGER.c.fence),
    LEDGER.c.response_id.not_in(select(RESPONSES.c.id).where(IS_ALIVE)),
)
_encode = msgspec.json.Encoder().encode


async def count(tx: Transaction, judge: int) -> int:
    """Return how many responses have not ended and have no owner any more."""
    row = await one(tx, _COUNT, {"judge": judge})
    return 0 if row is None else row["count"]


async def take(tx: Transaction, fence: int, judge: int) -> list[Row]:
    """Take some of these over, oldest first; return their rows, with the log that the dead owner knew."""
    return [await _taken(tx, row, fence) for row in await tx.rows(_FORSAKEN, {"fence": fence, "judge": judge})]


async def _taken(tx: Transaction, row: Row, fence: int) -> Row:
    known = await one(tx, _LOG, {"fence": row["fence"]})
    await tx.execute(_TAKE, {"id_": row["id"], "fence_": fence})
    return {**row, "fence": fence, "takeovers": row["takeovers"] + 1, "log": known and known["log"]}


async def owned(tx: Transaction, fence: int, before: int) -> list[str]:
    """Return a fence's responses that have not ended and began before this microsecond."""
    return [row["id"] for row in await tx.rows(_OWNED, {"fence": fence, "before": before})]


async def disown(tx: Transaction, response_id: str, fence: int, to: int) -> None:
    """Move a response of one fence to another, which nobody holds."""
    await tx.execute(_DISOWN, {"id_": response_id, "fence_": fence, "to_": to})


async def ended(tx: Transaction, response_ids: Sequence[str]) -> list[Ended]:
    """Return which of these have ended or are deleted."""
    asked = _encode([[response_id] for response_id in response_ids]).decode()
    return [Ended(row["id"], row["fence"], bool(row["owned"])) for row in await tx.rows(_ENDED, {"rows": asked})]


async def take_end(tx: Transaction, response_id: str, fence: int, judge: int) -> Row | None:
    """Take a response that has ended from its dead owner, or find it one's own; None where it is neither."""
    row = await one(tx, _AT_END, {"id": response_id, "fence": fence, "judge": judge})
    if row is None:
        return None
    known = await one(tx, _LOG, {"fence": row["fence"]})
    if row["fence"] != fence:
        await tx.execute(_TAKE_END, {"id_": response_id, "fence_": fence})
    return {**row, "fence": fence, "log": known and known["log"]}


async def attempts(tx: Transaction, response_id: str) -> int:
    """Return how many upstream calls of a response were started."""
    return len(await tx.rows(_ATTEMPTS, {"id": response_id}))


async def abandoned_calls(tx: Transaction, judge: int) -> list[Row]:
    """Return the calls that a dead server left open, but for those of responses that somebody takes over."""
    return await tx.rows(_ABANDONED, {"judge": judge})
