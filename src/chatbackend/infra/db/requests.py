"""Requests that make something: by Idempotency-Key, and by body for clients that retry without one."""

from collections.abc import Collection

from sqlalchemy import Update, bindparam, delete, exists, null, select, update

from chatbackend.domain.errors import Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.infra.db.servers import living, may_judge, ownerless
from chatbackend.infra.db.tables.responses import IS_OWNED, REQUESTS
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.tables.servers import SERVERS
from chatbackend.infra.db.transaction import Database, Params, Transaction, adding, one
from chatbackend.usecases.ports import Begun, Clock, Fenced, Once
from chatbackend.usecases.record_answer import Unended

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
_OBJECT = (REQUESTS.c.object_id == bindparam("object_id_"), IS_OWNED)
_OWN = (*_OBJECT, REQUESTS.c.fence == bindparam("fence_"))
_UNDER_WAY = select(REQUESTS.c.fence).where(*_OBJECT)
_FREE = update(REQUESTS).where(*_OWN).values(key_hash=null())
_END = update(REQUESTS).where(*_OWN).values(fence=0)
_UNENDED = select(
    REQUESTS.c.object_id,
    REQUESTS.c.fence,
    exists(living().where(SERVERS.c.fence == REQUESTS.c.fence).correlate(REQUESTS)).label("owned"),
).where(IS_OWNED)
_LEFT = (REQUESTS.c.fence == bindparam("fence_")) & ownerless(REQUESTS.c.fence) & may_judge()
_TAKE = update(REQUESTS).where(*_OBJECT, _LEFT | (REQUESTS.c.fence == bindparam("to_"))).values(fence=bindparam("to_"))
_EXPIRE = delete(REQUESTS).where(REQUESTS.c.created_at < bindparam("before"))


class Requests:
    """`Requests` of answers that are kept, over any `Database`. `judge`: as `Responses` has it."""

    def __init__(self, database: Database, clock: Clock, *, judge: int = 0) -> None:
        self._database = database
        self._clock = clock
        self._judge = judge

    async def begin(self, principal: Principal, once: Once, answer_id: str, *, fence: int) -> Begun:
        """See `Requests.begin`."""
        now = int(self._clock.now() * MICROS)

        async def work(tx: Transaction) -> Begun:
            earlier = await find(tx, principal, once, now=now)
            if earlier is not None:
                return Begun(earlier, fresh=False)
            await add(tx, principal, once, object_id=answer_id, now=now, fence=fence)
            return Begun(answer_id, fresh=True)

        return await self._database.write(work, touching=(_touched(once),))

    async def under_way(self, answer_id: str) -> int | None:
        """See `Requests.under_way`."""

        async def work(tx: Transaction) -> int | None:
            row = await one(tx, _UNDER_WAY, {"object_id_": answer_id})
            return None if row is None else row["fence"]

        return await self._database.read(work)

    async def forget(self, answer_id: str, *, fence: int) -> None:
        """See `Requests.forget`."""
        if not await self._write(_FREE, {"object_id_": answer_id, "fence_": fence}):
            raise Fenced

    async def end(self, answer_id: str, *, fence: int) -> None:
        """See `Requests.end`."""
        own = {"object_id_": answer_id, "fence_": fence}
        await self._write(_END, own, touching=(answer_id,))  # nobody decides by it whether a request came before

    async def unended(self) -> list[Unended]:
        """See `Requests.unended`."""

        async def work(tx: Transaction) -> list[Unended]:
            rows = await tx.rows(_UNENDED)
            return [Unended(row["object_id"], row["fence"], bool(row["owned"])) for row in rows]

        return await self._database.read(work)

    async def take(self, answer_id: str, *, fence: int, to: int) -> bool:
        """See `Requests.take`."""
        taken = {"object_id_": answer_id, "fence_": fence, "to_": to, "judge": self._judge}
        return bool(await self._write(_TAKE, taken))

    async def _write(self, statement: Update, params: Params, *, touching: Collection[str] | None = None) -> int:
        async def work(tx: Transaction) -> int:
            return await tx.execute(statement, params)

        return await self._database.write(work, touching=touching)


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


async def add(
    tx: Transaction, principal: Principal, once: Once | None, *, object_id: str, now: int, fence: int = 0
) -> None:
    """Remember what a request made, or what the owner of `fence` is about to make. `now` is in microseconds."""
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
            "fence": fence,
        }
        await tx.execute(_ADD, row)


async def expire(tx: Transaction, *, now: int) -> int:
    """Forget requests older than 24 h; return how many."""
    return await tx.execute(_EXPIRE, {"before": now - KEEP_S * MICROS})
