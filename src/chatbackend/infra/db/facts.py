"""Facts about the installation: the last fence that was given out, and what its event log is called."""

from sqlalchemy import bindparam, select, update

from chatbackend.infra.db.tables.keys import FACTS
from chatbackend.infra.db.transaction import Database, Transaction, adding, one

_GET = select(FACTS.c.value).where(FACTS.c.name == bindparam("name"))
_LOCK = _GET.with_for_update()
_ADD = adding(FACTS)
_SET = update(FACTS).where(FACTS.c.name == bindparam("name_")).values(value=bindparam("value_"))


async def kept(database: Database, name: str, value: str) -> str:
    """Return a fact; it is `value` from now on where it was never set."""

    async def work(tx: Transaction) -> str:
        row = await one(tx, _GET, {"name": name})
        if row is None:
            await tx.execute(_ADD, {"name": name, "value": value})
        return value if row is None else row["value"]

    return await database.write(work)


async def next_epoch(tx: Transaction) -> int:
    """Return a number that no earlier owner had; 1 at first."""
    row = await one(tx, _LOCK, {"name": "epoch"})
    if row is None:
        await tx.execute(_ADD, {"name": "epoch", "value": "1"})
        return 1
    epoch = int(row["value"]) + 1
    await tx.execute(_SET, {"name_": "epoch", "value_": str(epoch)})
    return epoch
