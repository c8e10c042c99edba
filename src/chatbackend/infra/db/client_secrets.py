"""Client secrets of browsers, kept like keys: by their SHA-256 alone.

Rows, not signed tokens: the key behind a secret is looked up in any case, since revoking it must count at once; so a
signature would save nothing, and would need a signing key that every replica shares and somebody rotates.
"""

import msgspec
from sqlalchemy import bindparam, delete, select

from chatbackend.domain.identity import ClientSecret
from chatbackend.domain.realtime import Terms
from chatbackend.infra.db.tables.keys import API_KEYS, CLIENT_SECRETS
from chatbackend.infra.db.transaction import Database, Transaction, adding, one

_ADD = adding(CLIENT_SECRETS)
_FIND = (
    select(CLIENT_SECRETS)
    .join(API_KEYS, API_KEYS.c.id == CLIENT_SECRETS.c.key_id)
    .where(CLIENT_SECRETS.c.hash == bindparam("hash"), API_KEYS.c.revoked_at.is_(None))
)
_EXPIRE = delete(CLIENT_SECRETS).where(CLIENT_SECRETS.c.expires_at <= bindparam("now"))


class ClientSecrets:
    """Stored client secrets. Times are whole seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, secret: ClientSecret, hashed: str) -> None:
        """Store a secret by its hash."""
        row = {
            "hash": hashed,
            "tenant": secret.tenant,
            "owner": secret.owner,
            "account": secret.account,
            "key_id": secret.key_id,
            "expires_at": secret.expires_at,
            "models": None if secret.models is None else msgspec.json.encode(secret.models),
            "terms": msgspec.json.encode(secret.terms),
        }

        async def work(tx: Transaction) -> None:
            await tx.execute(_ADD, row)

        await self._database.write(work, touching=())

    async def find(self, hashed: str) -> ClientSecret | None:
        """Return the secret with this hash, expired or not, unless the key that made it is revoked."""

        async def work(tx: Transaction) -> ClientSecret | None:
            row = await one(tx, _FIND, {"hash": hashed})
            if row is None:
                return None
            models = None if row["models"] is None else msgspec.json.decode(row["models"], type=tuple[str, ...])
            return ClientSecret(
                row["tenant"],
                row["account"],
                row["owner"],
                row["key_id"],
                expires_at=row["expires_at"],
                models=models,
                terms=Terms() if row["terms"] is None else msgspec.json.decode(row["terms"], type=Terms),
            )

        return await self._database.read(work)


async def expire(tx: Transaction, *, now: int) -> int:
    """Forget what has expired; return how many."""
    return await tx.execute(_EXPIRE, {"now": now})
