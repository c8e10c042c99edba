"""API keys of service accounts; only the SHA-256 of a key is kept."""

from sqlalchemy import bindparam, select, update

from chatbackend.domain.identity import ApiKey
from chatbackend.infra.db.tables.keys import API_KEYS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one

_ADD = adding(API_KEYS, omit=("revoked_at",))
_FIND = select(API_KEYS).where(API_KEYS.c.hash == bindparam("hash"), API_KEYS.c.revoked_at.is_(None))
_KNOWN = select(API_KEYS.c.id).where(API_KEYS.c.hash == bindparam("hash"))
_ALIVE = select(API_KEYS.c.id).where(API_KEYS.c.id == bindparam("id"), API_KEYS.c.revoked_at.is_(None))
_ALL = select(API_KEYS).order_by(API_KEYS.c.created_at)
_REVOKE = (
    update(API_KEYS)
    .where(API_KEYS.c.id == bindparam("id_"), API_KEYS.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("revoked_at_"))
)


class Keys:
    """Stored keys. Times are whole seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, hashed: str) -> None:
        """Store a key by the hash of its secret; a secret that is known, revoked ones too, is left as it is."""

        async def work(tx: Transaction) -> None:
            if await one(tx, _KNOWN, {"hash": hashed}) is None:
                await tx.execute(
                    _ADD,
                    {
                        "id": key.id,
                        "tenant": key.tenant,
                        "account": key.account,
                        "name": key.name,
                        "hash": hashed,
                        "created_at": key.created_at,
                    },
                )

        await self._database.write(work)

    async def find(self, hashed: str) -> ApiKey | None:
        """Return the key with this hash, unless it is revoked."""

        async def work(tx: Transaction) -> ApiKey | None:
            row = await one(tx, _FIND, {"hash": hashed})
            return None if row is None else _key(row)

        return await self._database.read(work)

    async def alive(self, key_id: str) -> bool:
        """Return whether a key exists and is not revoked."""

        async def work(tx: Transaction) -> bool:
            return await one(tx, _ALIVE, {"id": key_id}) is not None

        return await self._database.read(work)

    async def all(self) -> list[ApiKey]:
        """Return every key, revoked ones too, oldest first."""

        async def work(tx: Transaction) -> list[ApiKey]:
            return [_key(row) for row in await tx.rows(_ALL)]

        return await self._database.read(work)

    async def revoke(self, key_id: str, *, at: int) -> bool:
        """Revoke a key; False when there is none of that id that was not revoked."""

        async def work(tx: Transaction) -> bool:
            return bool(await tx.execute(_REVOKE, {"id_": key_id, "revoked_at_": at}))

        return await self._database.write(work)


def _key(row: Row) -> ApiKey:
    return ApiKey(
        row["id"], row["tenant"], row["account"], row["name"], row["created_at"], revoked_at=row["revoked_at"]
    )
