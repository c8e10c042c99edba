"""Facts about the installation: the epoch of its owner (the fence), the boot it last ran in, its first key."""

from sqlalchemy import bindparam, select, update

from chatbackend.infra.db.tables.keys import FACTS
from chatbackend.infra.db.transaction import Database, Transaction, adding, one

_GET = select(FACTS.c.value).where(FACTS.c.name == bindparam("name"))
_LOCK = _GET.with_for_update()
_ADD = adding(FACTS)
_SET = update(FACTS).where(FACTS.c.name == bindparam("name_")).values(value=bindparam("value_"))


class Facts:
    """Named values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str | None:
        """Return a fact, None when it was never set."""

        async def work(tx: Transaction) -> str | None:
            row = await one(tx, _GET, {"name": name})
            return None if row is None else row["value"]

        return await self._database.read(work)

    async def set(self, name: str, value: str) -> None:
        """Set a fact."""

        async def work(tx: Transaction) -> None:
            if not await tx.execute(_SET, {"name_": name, "value_": value}):
                await tx.execute(_ADD, {"name": name, "value": value})

        await self._database.write(work)

    async def next_epoch(self) -> int:
        """Return a number that no earlier owner had; 1 at first."""

        async def work(tx: Transaction) -> int:
            row = await one(tx, _LOCK, {"name": "epoch"})
            if row is None:
                await tx.execute(_ADD, {"name": "epoch", "value": "1"})
                return 1
            epoch = int(row["value"]) + 1
            await tx.execute(_SET, {"name_": "epoch", "value_": str(epoch)})
            return epoch

        return await self._database.write(work)
