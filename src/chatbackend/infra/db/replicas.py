"""What processes on one database ask it of each other: wishes to cancel, and the turns that have not ended."""

from collections.abc import Collection

from sqlalchemy import bindparam, func, select, update

from chatbackend.domain.identity import Principal
from chatbackend.infra.db.tables.responses import IS_ALIVE, RESPONSES, WISHED
from chatbackend.infra.db.transaction import Database, Transaction, one

_WISH = (
    update(RESPONSES)
    .where(
        RESPONSES.c.id == bindparam("id_"),
        RESPONSES.c.tenant == bindparam("tenant_"),
        RESPONSES.c.owner == bindparam("owner_"),
        IS_ALIVE,
    )
    .values(cancel_requested=1)
)
_WISHED = select(RESPONSES.c.id).where(WISHED)  # word for word what its index says: bound values would not match it
_LOWEST = select(func.min(RESPONSES.c.turn).label("turn")).where(
    RESPONSES.c.conversation_id == bindparam("conversation_id"), IS_ALIVE
)


class StoredWishes:
    """`Wishes` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def wish(self, principal: Principal, response_id: str) -> bool:
        """See `Wishes.wish`."""
        own = {"id_": response_id, "tenant_": principal.tenant, "owner_": principal.owner}

        async def work(tx: Transaction) -> bool:
            return bool(await tx.execute(_WISH, own))

        return await self._database.write(work, touching=(response_id,))

    async def wished(self) -> Collection[str]:
        """See `Wishes.wished`."""

        async def work(tx: Transaction) -> list[str]:
            return [row["id"] for row in await tx.rows(_WISHED)]

        return await self._database.read(work)


class StoredTurns:
    """`TurnsAlive` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def lowest(self, conversation_id: str) -> int | None:
        """See `TurnsAlive.lowest`."""

        async def work(tx: Transaction) -> int | None:
            row = await one(tx, _LOWEST, {"conversation_id": conversation_id})
            return None if row is None else row["turn"]

        return await self._database.read(work)
