"""Files in vector stores, and batches of them, on a database.

A file in a store is in the state of its chunk set. A set that is cut in a way of its own goes with the last store
that uses it; a file's `auto` set stays as long as the file.
"""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from sqlalchemy import and_, bindparam, case, delete, exists, func, select, update

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.errors import Conflict, NotFound
from chatbackend.domain.filters import Value
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import AUTO, chunking_of
from chatbackend.domain.jobs import Job
from chatbackend.domain.vector_stores import (
    Attachment,
    Attributes,
    FileBatch,
    FileCounts,
    StoreFile,
    StoreFileStatus,
)
from chatbackend.infra.db import chunk_sets, jobs, requests
from chatbackend.infra.db.file_rows import file_of, reason_of
from chatbackend.infra.db.files import CLEAN_UP_S
from chatbackend.infra.db.paging import Listing
from chatbackend.infra.db.readers import may_read, reader
from chatbackend.infra.db.scope import kind_of
from chatbackend.infra.db.tables.files import (
    ATTRIBUTES,
    CHUNK_SETS,
    FILE_BATCHES,
    FILES,
    JOBS,
    STORE_FILES,
    VECTOR_STORES,
)
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, adding, one
from chatbackend.usecases.ports import Clock, Once

_encode = msgspec.json.Encoder().encode
_decode_attributes = msgspec.json.Decoder(dict[str, str | float | bool]).decode

STATUS = case((STORE_FILES.c.cancelled == 1, "cancelled"), else_=CHUNK_SETS.c.status).label("status")
_ROWS = select(
    STORE_FILES.c.file_id,
    STORE_FILES.c.vector_store_id,
    STORE_FILES.c.created_at,
    STORE_FILES.c.attributes,
    CHUNK_SETS.c.chunking,
    CHUNK_SETS.c.usage_bytes,
    CHUNK_SETS.c.reason_code,
    CHUNK_SETS.c.reason_message,
    STATUS,
).join(CHUNK_SETS, CHUNK_SETS.c.id == STORE_FILES.c.chunk_set_id)
_IN_STORE = and_(STORE_FILES.c.vector_store_id == bindparam("store"), STORE_FILES.c.tenant == bindparam("tenant"))
_IN_BATCH = and_(_IN_STORE, STORE_FILES.c.batch_id == bindparam("batch"))
_WITH_STATUS = _ROWS.where(bindparam("status") == STATUS)
_LISTINGS = {
    (batch, filtered): Listing(
        _WITH_STATUS if filtered else _ROWS,
        STORE_FILES.c.created_at,
        STORE_FILES.c.file_id,
        _IN_BATCH if batch else _IN_STORE,
    )
    for batch in (False, True)
    for filtered in (False, True)
}
_ONE = _ROWS.where(_IN_STORE, STORE_FILES.c.file_id == bindparam("file"))
_READABLE_STORE = select(VECTOR_STORES.c.id).where(VECTOR_STORES.c.id == bindparam("store"), may_read(VECTOR_STORES))
_OWN_STORE = (  # locked against its delete, and against another change of the same file in it
    select(VECTOR_STORES.c.id)
    .where(
        VECTOR_STORES.c.id == bindparam("store"),
        VECTOR_STORES.c.tenant == bindparam("tenant"),
        VECTOR_STORES.c.owner == bindparam("owner"),
    )
    .with_for_update()
)
_READABLE_FILE = select(FILES).where(FILES.c.id == bindparam("file"), may_read(FILES)).with_for_update(read=True)
_SET_OF = select(STORE_FILES.c.chunk_set_id, STORE_FILES.c.created_at).where(
    _IN_STORE, STORE_FILES.c.file_id == bindparam("file")
)
_ADD = adding(STORE_FILES)
_ADD_ATTRIBUTE = adding(ATTRIBUTES)
_DROP = tuple(
    delete(table).where(table.c.vector_store_id == bindparam("store_"), table.c.file_id == bindparam("file_"))
    for table in (STORE_FILES, ATTRIBUTES)
)
_DROP_ATTRIBUTES = _DROP[1]
_SET_ATTRIBUTES = (
    update(STORE_FILES)
    .where(STORE_FILES.c.vector_store_id == bindparam("store_"), STORE_FILES.c.file_id == bindparam("file_"))
    .values(attributes=bindparam("attributes_"))
)
_LOCK_SET = select(CHUNK_SETS.c.id).where(CHUNK_SETS.c.id == bindparam("id")).with_for_update()
_DROP_UNUSED_SET = (
    delete(CHUNK_SETS)
    .where(
        CHUNK_SETS.c.id == bindparam("id_"),
        CHUNK_SETS.c.chunking != AUTO.key,
        ~exists(select(STORE_FILES.c.file_id).where(STORE_FILES.c.chunk_set_id == bindparam("id_"))),
    )
    .returning(CHUNK_SETS.c.tenant, CHUNK_SETS.c.owner)
)
_DROP_INDEX_JOB = delete(JOBS).where(JOBS.c.subject == bindparam("subject"), JOBS.c.kind == "index")
_ADD_BATCH = adding(FILE_BATCHES, omit=("cancelled",))
_BATCH = select(FILE_BATCHES).where(
    FILE_BATCHES.c.id == bindparam("batch"),
    FILE_BATCHES.c.vector_store_id == bindparam("store"),
    FILE_BATCHES.c.tenant == bindparam("tenant"),
)
_CANCEL_BATCH = update(FILE_BATCHES).where(FILE_BATCHES.c.id == bindparam("batch_")).values(cancelled=1)
_CANCEL_FILES = (
    update(STORE_FILES)
    .where(
        STORE_FILES.c.batch_id == bindparam("batch_"),
        STORE_FILES.c.chunk_set_id.in_(select(CHUNK_SETS.c.id).where(CHUNK_SETS.c.status == "in_progress")),
    )
    .values(cancelled=1)
)
_BATCH_COUNTS = (
    select(STATUS, func.count().label("count"))
    .join_from(STORE_FILES, CHUNK_SETS, CHUNK_SETS.c.id == STORE_FILES.c.chunk_set_id)
    .where(_IN_BATCH)
    .group_by(STATUS)
)


async def attach(
    tx: Transaction,
    principal: Principal,
    store_id: str,
    attachments: Sequence[Attachment],
    *,
    batch_id: str | None,
    now: int,
) -> list[Job]:
    """Put files into a store of this caller's own; return the jobs that clear away what nothing uses any more.

    A file that is in it already is put in anew. Raises: NotFound for a file that this caller may not read.
    """
    found: list[Job] = []
    for each in attachments:
        row = await one(tx, _READABLE_FILE, {"file": each.file_id, **reader(principal)})
        if row is None:
            raise NotFound(f"No such File object: {each.file_id}", param="file_id", code="file_not_found")
        place = {"store": store_id, "tenant": principal.tenant, "file": each.file_id}
        before = await one(tx, _SET_OF, place)
        made = await chunk_sets.ensure(tx, file_of(row), each.chunking, now=now)
        for statement in _DROP:
            await tx.execute(statement, {"store_": store_id, "file_": each.file_id})
        owned = {"vector_store_id": store_id, "file_id": each.file_id}
        owned |= {"tenant": principal.tenant, "owner": principal.owner}
        await tx.execute(
            _ADD,
            {
                **owned,
                "chunk_set_id": made,
                "batch_id": batch_id,
                "attributes": _encode(each.attributes),
                "cancelled": 0,
                "created_at": before["created_at"] if before else now,
            },
        )
        await tx.execute_many(_ADD_ATTRIBUTE, _attribute_rows(owned, each.attributes))
        if before is not None:
            found += await drop_unused(tx, before["chunk_set_id"], now=now)
    return found


async def drop_unused(tx: Transaction, chunk_set_id: int, *, now: int) -> list[Job]:
    """Delete a set that no store uses, unless it is its file's own; return the job that clears it away."""
    await tx.rows(_LOCK_SET, {"id": chunk_set_id})  # first: a DELETE that waits would not see who uses it by then
    gone = await tx.rows(_DROP_UNUSED_SET, {"id_": chunk_set_id})
    if not gone:
        return []
    subject = str(chunk_set_id)
    await tx.execute(_DROP_INDEX_JOB, {"subject": subject})
    owned = {"tenant": gone[0]["tenant"], "owner": gone[0]["owner"]}
    return [await jobs.add(tx, "purge", **owned, subject=subject, now=now, run_after=now + CLEAN_UP_S * MICROS)]


class StoreFiles:
    """Files in stores: written by the store's owner, read by whoever may read the store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def attach(
        self, principal: Principal, store_id: str, attachment: Attachment, once: Once | None = None
    ) -> list[Job]:
        """Put a file into a caller's own store. Returns as `attach` above, nothing where this very request has done so.

        Raises: NotFound, Unprocessable (same key, other body), Conflict `idempotent_result_gone`.
        """
        now = self._micros()
        place = {"store": store_id, "tenant": principal.tenant, "file": attachment.file_id}

        async def work(tx: Transaction) -> list[Job]:
            await _own_store(tx, principal, store_id)
            if await requests.find(tx, principal, once, now=now) is not None:
                if await one(tx, _SET_OF, place) is None:
                    message = "The file that this request attached has been detached."
                    raise Conflict(message, code="idempotent_result_gone")
                return []
            await requests.add(tx, principal, once, object_id=attachment.file_id, now=now)
            return await attach(tx, principal, store_id, [attachment], batch_id=None, now=now)

        return await self._database.write(work)

    async def get(self, principal: Principal, store_id: str, file_id: str) -> StoreFile:
        """Return a file of a readable store. Raises: NotFound."""

        async def work(tx: Transaction) -> StoreFile:
            await _readable_store(tx, principal, store_id)
            return _store_file(await _file(tx, principal, store_id, file_id))

        return await self._database.read(work)

    async def page(
        self,
        principal: Principal,
        store_id: str,
        window: Window,
        *,
        status: str | None = None,
        batch_id: str | None = None,
    ) -> tuple[list[StoreFile], bool]:
        """Return a page of a readable store's files, or of one batch of it. Raises: NotFound, InvalidRequest."""
        known = {"store": store_id, "tenant": principal.tenant, "status": status, "batch": batch_id}

        async def work(tx: Transaction) -> tuple[list[Row], bool]:
            await _readable_store(tx, principal, store_id)
            if batch_id is not None:
                await _batch(tx, principal, store_id, batch_id)
            listing = _LISTINGS[batch_id is not None, status is not None]
            return await listing.page(tx, window, known)

        rows, more = await self._database.read(work)
        return [_store_file(row) for row in rows], more

    async def set_attributes(
        self, principal: Principal, store_id: str, file_id: str, attributes: Attributes
    ) -> StoreFile:
        """Replace the attributes of a file in a caller's own store. Raises: NotFound."""
        place = {"store_": store_id, "file_": file_id}
        owned = {"vector_store_id": store_id, "file_id": file_id}
        owned |= {"tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> StoreFile:
            await _own_store(tx, principal, store_id)
            await _file(tx, principal, store_id, file_id)
            await tx.execute(_SET_ATTRIBUTES, {**place, "attributes_": _encode(attributes)})
            await tx.execute(_DROP_ATTRIBUTES, place)
            await tx.execute_many(_ADD_ATTRIBUTE, _attribute_rows(owned, attributes))
            return _store_file(await _file(tx, principal, store_id, file_id))

        return await self._database.write(work)

    async def detach(self, principal: Principal, store_id: str, file_id: str) -> list[Job]:
        """Take a file out of a caller's own store: no search of it finds the file any more. Raises: NotFound."""
        now = self._micros()
        place = {"store": store_id, "tenant": principal.tenant, "file": file_id}

        async def work(tx: Transaction) -> list[Job]:
            await _own_store(tx, principal, store_id)
            before = await one(tx, _SET_OF, place)
            if before is None:
                raise store_file_not_found(store_id, file_id)
            for statement in _DROP:
                await tx.execute(statement, {"store_": store_id, "file_": file_id})
            return await drop_unused(tx, before["chunk_set_id"], now=now)

        return await self._database.write(work)

    async def add_batch(
        self, principal: Principal, batch: FileBatch, attachments: Sequence[Attachment], once: Once | None = None
    ) -> tuple[FileBatch, list[Job]]:
        """Put files into a caller's own store together. Returns the batch, or the earlier one, and as `attach`.

        Raises: NotFound, Unprocessable (same key, other body).
        """
        now = self._micros()
        row = {"id": batch.id, "tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> tuple[FileBatch, list[Job]]:
            await _own_store(tx, principal, batch.vector_store_id)
            earlier = await requests.find(tx, principal, once, now=now)
            if earlier is not None:
                return await _batch(tx, principal, batch.vector_store_id, earlier), []
            await requests.add(tx, principal, once, object_id=batch.id, now=now)
            await tx.execute(_ADD_BATCH, {**row, "vector_store_id": batch.vector_store_id, "created_at": now})
            found = await attach(tx, principal, batch.vector_store_id, attachments, batch_id=batch.id, now=now)
            return await _batch(tx, principal, batch.vector_store_id, batch.id), found

        return await self._database.write(work)

    async def batch(self, principal: Principal, store_id: str, batch_id: str) -> FileBatch:
        """Return a batch of a readable store. Raises: NotFound."""

        async def work(tx: Transaction) -> FileBatch:
            await _readable_store(tx, principal, store_id)
            return await _batch(tx, principal, store_id, batch_id)

        return await self._database.read(work)

    async def cancel_batch(self, principal: Principal, store_id: str, batch_id: str) -> FileBatch:
        """Take those files of a batch that are not indexed yet out of every search of the store. Raises: NotFound."""

        async def work(tx: Transaction) -> FileBatch:
            await _own_store(tx, principal, store_id)
            found = await _batch(tx, principal, store_id, batch_id)
            if found.status == "in_progress":
                await tx.execute(_CANCEL_BATCH, {"batch_": batch_id})
                await tx.execute(_CANCEL_FILES, {"batch_": batch_id})
            return await _batch(tx, principal, store_id, batch_id)

        return await self._database.write(work)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


def store_not_found(store_id: str) -> NotFound:
    """Return the error for a vector store that this caller does not have."""
    message = f"Vector store with id '{store_id}' not found."
    return NotFound(message, param="vector_store_id", code="vector_store_not_found")


def store_file_not_found(store_id: str, file_id: str) -> NotFound:
    """Return the error for a file that is not in a store."""
    return NotFound(f"No file '{file_id}' in vector store '{store_id}'.", param="file_id", code="file_not_found")


async def _own_store(tx: Transaction, principal: Principal, store_id: str) -> None:
    if await one(tx, _OWN_STORE, {"store": store_id, **reader(principal)}) is None:
        raise store_not_found(store_id)


async def _readable_store(tx: Transaction, principal: Principal, store_id: str) -> None:
    if await one(tx, _READABLE_STORE, {"store": store_id, **reader(principal)}) is None:
        raise store_not_found(store_id)


async def _file(tx: Transaction, principal: Principal, store_id: str, file_id: str) -> Row:
    row = await one(tx, _ONE, {"store": store_id, "tenant": principal.tenant, "file": file_id})
    if row is None:
        raise store_file_not_found(store_id, file_id)
    return row


async def _batch(tx: Transaction, principal: Principal, store_id: str, batch_id: str) -> FileBatch:
    known = {"batch": batch_id, "store": store_id, "tenant": principal.tenant}
    row = await one(tx, _BATCH, known)
    if row is None:
        raise NotFound(f"No file batch '{batch_id}' in vector store '{store_id}'.", param="batch_id")
    counts = counts_of(await tx.rows(_BATCH_COUNTS, known))
    return FileBatch(batch_id, store_id, row["created_at"] // MICROS, bool(row["cancelled"]), counts)


def counts_of(rows: Sequence[Row]) -> FileCounts:
    """Return counted states, one a row."""
    return FileCounts(**{row["status"]: int(row["count"]) for row in rows})


def _store_file(row: Row) -> StoreFile:
    return StoreFile(
        row["file_id"],
        row["vector_store_id"],
        row["created_at"] // MICROS,
        cast(StoreFileStatus, row["status"]),
        attributes=_decode_attributes(row["attributes"]),
        chunking=chunking_of(row["chunking"]),
        usage_bytes=row["usage_bytes"],
        reason=reason_of(row),
    )


def _attribute_rows(owned: dict[str, str], attributes: Attributes) -> list[dict[str, Any]]:
    return [{**owned, "key": key, **_attribute(value)} for key, value in attributes.items()]


def _attribute(value: Value) -> dict[str, Any]:
    text, number = (value, None) if isinstance(value, str) else (None, float(value))
    return {"kind": kind_of(value), "text": text, "number": number}
