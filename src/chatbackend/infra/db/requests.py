"""Requests that make something: by Idempotency-Key, and by body for clients that retry without one."""

from sqlalchemy import bindparam, delete, select

from chatbackend.domain.errors import Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.infra.db.tables.responses import REQUESTS
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Transaction, adding, one
from chatbackend.usecases.ports import Begun, Clock, Once

RETRY_WINDOW_S = 120
KEEP_S = 24 * 3600

_BY_KEY = select(REQUESTS.c.pk, REQUESTS.c.object_id, REQUESTS.c.body_hash, REQUESTS.c.created_at).where(
    REQUESTS.c.tenant == bindparam("tenant"),
    REQUESTS.c.owner == bindparam("owner"),
    REQUESTS.c.path == bindparam("path"),
    REQUESTS.c.key_hash == bindparam("key_hash"),
)
_BY_BODY = (
    select(REQUESTS.c.object_id)
    .where(
        REQUESTS.c.key_id == bindparam("key_id"),
        REQUESTS.c.owner == bindparam("owner"),
        REQUESTS.c.path == bindparam("path"),
        REQUESTS.c.body_hash == bindparam("body_hash"),
        REQUESTS.c.created_at >= bindparam("since"),
    )
    .order_by(REQUESTS.c.created_at.desc(), REQUESTS.c.pk.desc())
    .limit(1)
)
_ADD = adding(REQUESTS)
_FORGET_KEY = delete(REQUESTS).where(REQUESTS.c.pk == bindparam("pk"))
_FORGET = delete(REQUESTS).where(
    REQUESTS.c.tenant == bindparam("tenant"),
    REQUESTS.c.owner == bindparam("owner"),
    REQUESTS.c.path == bindparam("path"),
    REQUESTS.c.key_hash == bindparam("key_hash"),
    REQUESTS.c.object_id == bindparam("object_id"),
)
_EXPIRE = delete(REQUESTS).where(REQUESTS.c.created_at < bindparam("before"))


class Requests:
    """`Requests` of answers that are kept, over any `Database`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, principal: Principal, once: Once, object_id: str) -> Begun:
        """See `Requests.begin`."""
        now = int(self._clock.now() * MICROS)

        async def work(tx: Transaction) -> Begun:
            earlier = await find(tx, principal, once, now=now)
            if earlier is not None:
                return Begun(earlier, fresh=False)
            await add(tx, principal, once, object_id=object_id, now=now)
            return Begun(object_id, fresh=True)

        return await self._database.write(work, touching=(_touched(once),))

    async def forget(self, principal: Principal, once: Once, object_id: str) -> None:
        """See `Requests.forget`."""
        place = {"tenant": principal.tenant, "owner": principal.owner, "path": once.path, "key_hash": once.key}

        async def work(tx: Transaction) -> None:
            await tx.execute(_FORGET, {**place, "object_id": object_id})

        await self._database.write(work, touching=(_touched(once),))


def _touched(once: Once) -> str:
    """Return what it is decided by whether a request came before."""
    return f"{once.path} {once.key}"


async def find(tx: Transaction, principal: Principal, once: Once | None, *, now: int) -> str | None:
    """Return the id of the object that this very request has made before. `now` is in microseconds.

    Raises: Unprocessable for the same key with another body.
    """
    if once is None:
        return None
    scope = {"owner": principal.owner, "path": once.path}
    if once.key is not None:
        row = await one(tx, _BY_KEY, {**scope, "tenant": principal.tenant, "key_hash": once.key})
        if row is not None and row["created_at"] < now - KEEP_S * MICROS:
            await tx.execute(_FORGET_KEY, {"pk": row["pk"]})
            row = None
        if row is not None and row["body_hash"] != once.body_hash:
            message = "This Idempotency-Key was used with another body."
            raise Unprocessable(message, code="idempotency_key_reused")
        return None if row is None else row["object_id"]
    if not once.retry:
        return None
    since = now - RETRY_WINDOW_S * MICROS
    known = {**scope, "key_id": principal.key_id, "body_hash": once.body_hash, "since": since}
    row = await one(tx, _BY_BODY, known)
    return None if row is None else row["object_id"]


async def add(tx: Transaction, principal: Principal, once: Once | None, *, object_id: str, now: int) -> None:
    """Remember what a request made. `now` is in microseconds."""
    if once is not None:
        row = {
            "tenant": principal.tenant,
            "owner": principal.owner,
            "key_id": principal.key_id,
            "path": once.path,
            "key_hash": once.key,
            "body_hash": once.body_hash,
            "object_id": object_id,
            "created_at": now,
        }
        await tx.execute(_ADD, row)


async def expire(tx: Transaction, *, now: int) -> int:
    """Forget requests older than 24 h; return how many."""
    return await tx.execute(_EXPIRE, {"before": now - KEEP_S * MICROS})
