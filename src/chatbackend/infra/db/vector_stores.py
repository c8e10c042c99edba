"""Vector stores on a database; what is shown of a store is counted from its files."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, delete, func, select, update

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.errors import Conflict
from chatbackend.domain.identity import Principal
from chatbackend.domain.jobs import Job
from chatbackend.domain.vector_stores import Attachment, VectorStore
from chatbackend.infra.db import requests, store_files
from chatbackend.infra.db.paging import Listing
from chatbackend.infra.db.readers import may_read, reader
from chatbackend.infra.db.store_files import STATUS, store_not_found
from chatbackend.infra.db.tables.files import ATTRIBUTES, CHUNK_SETS, FILE_BATCHES, STORE_FILES, VECTOR_STORES
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.ports import Clock, Once

TOUCH_EVERY_S = 60  # the time of the last use is kept about so exactly

_encode = msgspec.json.Encoder().encode
_decode_metadata = msgspec.json.Decoder(dict[str, str]).decode
_OWN = and_(VECTOR_STORES.c.tenant == bindparam("tenant"), VECTOR_STORES.c.owner == bindparam("owner"))
_ADD = adding(VECTOR_STORES)
_GET = select(VECTOR_STORES).where(VECTOR_STORES.c.id == bindparam("id"), may_read(VECTOR_STORES))
_GET_OWN = select(VECTOR_STORES).where(_OWN, VECTOR_STORES.c.id == bindparam("id"))
_LOCK_OWN = _GET_OWN.with_for_update()
_ALL = Listing(select(VECTOR_STORES), VECTOR_STORES.c.created_at, VECTOR_STORES.c.id, _OWN)
_COUNTS = (
    select(STATUS, func.count().label("count"), func.sum(CHUNK_SETS.c.usage_bytes).label("usage"))
    .join_from(STORE_FILES, CHUNK_SETS, CHUNK_SETS.c.id == STORE_FILES.c.chunk_set_id)
    .where(STORE_FILES.c.vector_store_id == bindparam("id"), STORE_FILES.c.tenant == bindparam("tenant"))
    .group_by(STATUS)
)
_UPDATE = (
    update(VECTOR_STORES)
    .where(VECTOR_STORES.c.id == bindparam("id_"))
    .values(
        name=bindparam("name_"),
        metadata=bindparam("metadata_"),
        expires_days=bindparam("expires_days_"),
        last_active_at=bindparam("at_"),
    )
)
_STALE = select(VECTOR_STORES.c.id).where(
    VECTOR_STORES.c.id == bindparam("id"),
    VECTOR_STORES.c.tenant == bindparam("tenant"),
    VECTOR_STORES.c.expires_days.is_not(None),
    VECTOR_STORES.c.last_active_at < bindparam("before"),
)
_TOUCH = update(VECTOR_STORES).where(VECTOR_STORES.c.id == bindparam("id_")).values(last_active_at=bindparam("at_"))
_DELETE = delete(VECTOR_STORES).where(_OWN, VECTOR_STORES.c.id == bindparam("id"))
_SETS = select(STORE_FILES.c.chunk_set_id).where(STORE_FILES.c.vector_store_id == bindparam("id")).distinct()
_DROP = tuple(
    delete(table).where(table.c.vector_store_id == bindparam("id_"))
    for table in (STORE_FILES, ATTRIBUTES, FILE_BATCHES)
)


class VectorStores:
    """Stores: written and listed by their owner, read by whoever may."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(
        self, principal: Principal, store: VectorStore, attachments: Sequence[Attachment], once: Once | None
    ) -> VectorStore:
        """Commit a store with its files; or return the one that this very request had made before.

        Raises: NotFound (a file), Unprocessable (same key, other body), Conflict `idempotent_result_gone`.
        """
        now = self._micros()

        async def work(tx: Transaction) -> VectorStore:
            earlier = await requests.find(tx, principal, once, now=now)
            if earlier is not None:
                row = await one(tx, _GET_OWN, {"id": earlier, **reader(principal)})
                if row is None:
                    message = "The vector store that this request made has been deleted."
                    raise Conflict(message, code="idempotent_result_gone")
                return await _store(tx, row)
            row = _row(store, now)
            await tx.execute(_ADD, row)
            await store_files.attach(tx, principal, store.id, attachments, batch_id=None, now=now)
            await requests.add(tx, principal, once, object_id=store.id, now=now)
            return await _store(tx, row)

        return await self._database.write(work)

    async def get(self, principal: Principal, store_id: str) -> VectorStore:
        """Return a store that this caller may read. Raises: NotFound."""

        async def work(tx: Transaction) -> VectorStore:
            row = await one(tx, _GET, {"id": store_id, **reader(principal)})
            if row is None:
                raise store_not_found(store_id)
            return await _store(tx, row)

        return await self._database.read(work)

    async def page(self, principal: Principal, window: Window) -> tuple[list[VectorStore], bool]:
        """Return a page of a caller's own stores, and whether there are more. Raises: InvalidRequest."""

        async def work(tx: Transaction) -> tuple[list[VectorStore], bool]:
            rows, more = await _ALL.page(tx, window, {"tenant": principal.tenant, "owner": principal.owner})
            return [await _store(tx, row) for row in rows], more

        return await self._database.read(work)

    async def update(
        self, principal: Principal, store_id: str, change: Callable[[VectorStore], VectorStore]
    ) -> VectorStore:
        """Change name, metadata or expiry of a caller's own store; that is a use of it. Raises: NotFound."""
        now = self._micros()

        async def work(tx: Transaction) -> VectorStore:
            row = await one(tx, _LOCK_OWN, {"id": store_id, **reader(principal)})
            if row is None:
                raise store_not_found(store_id)
            changed = replace(change(await _store(tx, row)), last_active_at=now // MICROS)
            await tx.execute(
                _UPDATE,
                {
                    "id_": store_id,
                    "name_": changed.name,
                    "metadata_": _encode(changed.metadata),
                    "expires_days_": changed.expires_days,
                    "at_": now,
                },
            )
            return changed

        return await self._database.write(work)

    async def touch(self, principal: Principal, store_ids: Sequence[str]) -> None:
        """Note that stores which expire are in use; written about once a minute, not at every search."""
        now = self._micros()
        stale = {"tenant": principal.tenant, "before": now - TOUCH_EVERY_S * MICROS}

        async def look(tx: Transaction) -> list[str]:
            return [each for each in store_ids if await one(tx, _STALE, {"id": each, **stale}) is not None]

        async def work(tx: Transaction) -> None:
            await tx.execute_many(_TOUCH, [{"id_": each, "at_": now} for each in due])

        due = await self._database.read(look)
        if due:
            await self._database.write(work)

    async def delete(self, principal: Principal, store_id: str) -> list[Job]:
        """Delete a caller's own store, not its files: once this returns no search finds it. Raises: NotFound.

        Returns the jobs that clear away what is left, already committed.
        """
        now = self._micros()
        own = {"id": store_id, "tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> list[Job]:
            if not await tx.execute(_DELETE, own):
                raise store_not_found(store_id)
            sets = [row["chunk_set_id"] for row in await tx.rows(_SETS, {"id": store_id})]
            for statement in _DROP:
                await tx.execute(statement, {"id_": store_id})
            return [job for each in sets for job in await store_files.drop_unused(tx, each, now=now)]

        return await self._database.write(work)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


def _row(store: VectorStore, now: int) -> dict[str, Any]:
    return {
        "id": store.id,
        "tenant": store.tenant,
        "owner": store.owner,
        "name": store.name,
        "description": store.description,
        "metadata": _encode(store.metadata),
        "created_at": now,
        "last_active_at": now,
        "expires_days": store.expires_days,
    }


async def _store(tx: Transaction, row: Row) -> VectorStore:
    """Return a row with what its files add up to."""
    counted = await tx.rows(_COUNTS, {"id": row["id"], "tenant": row["tenant"]})
    return VectorStore(
        id=row["id"],
        tenant=row["tenant"],
        owner=row["owner"],
        name=row["name"],
        created_at=row["created_at"] // MICROS,
        last_active_at=row["last_active_at"] // MICROS,
        description=row["description"],
        metadata=_decode_metadata(row["metadata"]),
        expires_days=row["expires_days"],
        counts=store_files.counts_of(counted),
        usage_bytes=sum(int(each["usage"]) for each in counted),
    )
