"""`Files` on a database: rows of uploaded files, written and listed by their owner, read by whoever may."""

from collections.abc import Sequence

from sqlalchemy import and_, bindparam, delete, or_, select

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.errors import Conflict
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import AUTO
from chatbackend.domain.jobs import Job
from chatbackend.domain.uploads import File
from chatbackend.infra.db import chunk_sets, jobs, requests
from chatbackend.infra.db.file_rows import file_of, file_row
from chatbackend.infra.db.paging import Listing
from chatbackend.infra.db.readers import may_read, reader
from chatbackend.infra.db.tables.files import ATTRIBUTES, CHUNK_SETS, FILE_TEXTS, FILES, JOBS, STORE_FILES
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Params, Row, Transaction, adding, one
from chatbackend.usecases.ports import Clock, Once

CLEAN_UP_S = 60  # a delete clears away by itself; after this long a worker finishes what it left

_READABLE = and_(FILES.c.id == bindparam("id"), may_read(FILES))
_OWN = and_(FILES.c.tenant == bindparam("tenant"), FILES.c.owner == bindparam("owner"))
_ADD = adding(FILES, omit=("reason_code", "reason_message"))
_GET = select(FILES).where(_READABLE)
_TEXT = select(FILE_TEXTS.c.text).join(FILES, FILES.c.id == FILE_TEXTS.c.file_id).where(_READABLE)
_ALL = Listing(select(FILES), FILES.c.created_at, FILES.c.id, _OWN)
_BY_PURPOSE = Listing(
    select(FILES), FILES.c.created_at, FILES.c.id, and_(_OWN, FILES.c.purpose == bindparam("purpose"))
)
_DELETE = delete(FILES).where(_OWN, FILES.c.id == bindparam("id")).returning(FILES.c.blob_key)
_SETS = select(CHUNK_SETS.c.id).where(CHUNK_SETS.c.file_id == bindparam("file_id"))
_BY_BLOB = select(FILES.c.id).where(FILES.c.blob_key == bindparam("key"))
_JOB_OF_BLOB = select(JOBS.c.id).where(JOBS.c.subject == bindparam("key"))
_DROP_INDEX_JOB = delete(JOBS).where(
    JOBS.c.subject == bindparam("subject"), or_(JOBS.c.kind == "index", JOBS.c.kind == "expire")
)
_DROP = tuple(
    delete(table).where(table.c.file_id == bindparam("file_id_"))
    for table in (STORE_FILES, ATTRIBUTES, CHUNK_SETS, FILE_TEXTS)
)


class StoredFiles:
    """`Files` over any `Database`, and the lists that routes show."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, principal: Principal, file: File, once: Once | None) -> File:
        """See `Files.add`."""
        now = self._micros()

        async def work(tx: Transaction) -> File:
            earlier = await requests.find(tx, principal, once, now=now)
            if earlier is not None:
                return await _earlier(tx, principal, earlier)
            await tx.execute(_ADD, file_row(file, created_at=now))
            await chunk_sets.ensure(tx, file, AUTO, now=now)
            if file.expires_at is not None:
                owned = {"tenant": file.tenant, "owner": file.owner, "subject": file.id}
                await jobs.add(tx, "expire", **owned, now=now, run_after=file.expires_at * MICROS)
            await requests.add(tx, principal, once, object_id=file.id, now=now)
            return file

        return await self._database.write(work)

    async def get(self, principal: Principal, file_id: str) -> File | None:
        """See `Files.get`."""

        async def work(tx: Transaction) -> File | None:
            row = await one(tx, _GET, {"id": file_id, **reader(principal)})
            return None if row is None else file_of(row)

        return await self._database.read(work)

    async def text(self, principal: Principal, file_id: str) -> str | None:
        """See `Files.text`."""

        async def work(tx: Transaction) -> str | None:
            row = await one(tx, _TEXT, {"id": file_id, **reader(principal)})
            return None if row is None else row["text"]

        return await self._database.read(work)

    async def page(self, principal: Principal, window: Window, purpose: str | None = None) -> tuple[list[File], bool]:
        """Return a page of a caller's own files, and whether there are more. Raises: InvalidRequest."""
        own: Params = {"tenant": principal.tenant, "owner": principal.owner}

        async def work(tx: Transaction) -> tuple[list[Row], bool]:
            if purpose is None:
                return await _ALL.page(tx, window, own)
            return await _BY_PURPOSE.page(tx, window, {**own, "purpose": purpose})

        rows, more = await self._database.read(work)
        return [file_of(row) for row in rows], more

    async def delete(self, principal: Principal, file_id: str) -> list[Job] | None:
        """See `Files.delete`."""
        own = {"tenant": principal.tenant, "owner": principal.owner}
        now = self._micros()

        async def work(tx: Transaction) -> list[Job] | None:
            gone = await tx.rows(_DELETE, {**own, "id": file_id})
            if not gone:
                return None
            later = now + CLEAN_UP_S * MICROS
            sets = [str(row["id"]) for row in await tx.rows(_SETS, {"file_id": file_id})]
            for subject in (*sets, file_id):
                await tx.execute(_DROP_INDEX_JOB, {"subject": subject})
            for statement in _DROP:
                await tx.execute(statement, {"file_id_": file_id})
            found = [await jobs.add(tx, "purge", **own, subject=each, now=now, run_after=later) for each in sets]
            blob = await jobs.add(tx, "erase", **own, subject=gone[0]["blob_key"], now=now, run_after=later)
            return [*found, blob]

        return await self._database.write(work)

    async def known_blobs(self, keys: Sequence[str]) -> set[str]:
        """See `Files.known_blobs`."""

        async def work(tx: Transaction) -> set[str]:
            statements = (_BY_BLOB, _JOB_OF_BLOB)
            return {key for key in keys for each in statements if await one(tx, each, {"key": key}) is not None}

        return await self._database.read(work)

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


async def _earlier(tx: Transaction, principal: Principal, file_id: str) -> File:
    row = await one(tx, _GET, {"id": file_id, **reader(principal)})
    if row is None:
        message = "The file that this request made has been deleted."
        raise Conflict(message, code="idempotent_result_gone")
    return file_of(row)
