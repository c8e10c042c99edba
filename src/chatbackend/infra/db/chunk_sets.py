"""`Indexing` on a database: texts and chunk sets as the indexer writes them.

Every write names the set and checks that it is still there and in progress, so that a worker that lost its file to a
delete leaves nothing behind.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from chatbackend.domain.documents import Document
from chatbackend.domain.indexing import AUTO, Chunking, ChunkSet, IndexedChunk
from chatbackend.domain.uploads import File, Reason, Stage
from chatbackend.infra.db import jobs, layouts
from chatbackend.infra.db.file_rows import file_of, set_of
from chatbackend.infra.db.tables.files import CHUNK_SETS, CHUNKS, FILE_TEXTS, FILES, POSTINGS
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Transaction, adding, one
from chatbackend.usecases.ports import Clock

PURGE_ROWS = 20_000  # postings that one transaction deletes, about; other writes wait that long
PURGE_CHUNKS = 500

_FIND = (  # locked: who clears away unused sets must not take it now
    select(CHUNK_SETS.c.id)
    .where(CHUNK_SETS.c.file_id == bindparam("file_id"), CHUNK_SETS.c.chunking == bindparam("chunking"))
    .with_for_update()
)
_MAKE = (
    insert(CHUNK_SETS)
    .values(
        {
            name: bindparam(name)
            for name in ("tenant", "owner", "file_id", "chunking", "status", "reason_code", "reason_message")
        }
    )
    .values(created_at=bindparam("created_at"))
    .returning(CHUNK_SETS.c.id)
)
_SET = select(CHUNK_SETS).where(CHUNK_SETS.c.id == bindparam("id"))
_FILE = select(FILES).where(FILES.c.id == bindparam("id"))
_LOCK_FILE = _FILE.with_for_update()
_OPEN = (
    select(CHUNK_SETS.c.done, CHUNK_SETS.c.length, CHUNK_SETS.c.usage_bytes)
    .where(CHUNK_SETS.c.id == bindparam("id"), CHUNK_SETS.c.status == "in_progress")
    .with_for_update()
)
_PROGRESS = (
    update(FILES)
    .where(FILES.c.id == bindparam("id_"), FILES.c.stage != "ready", FILES.c.stage != "failed")
    .values(stage=bindparam("stage_"), percent=bindparam("percent_"))
)
_TEXT = select(FILE_TEXTS.c.text, FILE_TEXTS.c.layout).where(FILE_TEXTS.c.file_id == bindparam("id"))
_DROP_TEXT = delete(FILE_TEXTS).where(FILE_TEXTS.c.file_id == bindparam("id_"))
_ADD_TEXT = adding(FILE_TEXTS)
_BEGIN = (
    update(CHUNK_SETS)
    .where(CHUNK_SETS.c.id == bindparam("id_"), CHUNK_SETS.c.status == "in_progress")
    .values(fingerprint=bindparam("fingerprint_"), embedder=bindparam("embedder_"), done=0, length=0, usage_bytes=0)
)
_ADVANCE = (
    update(CHUNK_SETS)
    .where(CHUNK_SETS.c.id == bindparam("id_"))
    .values(done=bindparam("done_"), length=bindparam("length_"), usage_bytes=bindparam("usage_"))
)
_ADD_CHUNK = adding(CHUNKS)
_ADD_POSTING = adding(POSTINGS)
_END = (
    update(CHUNK_SETS)
    .where(CHUNK_SETS.c.id == bindparam("id_"), CHUNK_SETS.c.status == "in_progress")
    .values(status=bindparam("status_"), reason_code=bindparam("code_"), reason_message=bindparam("message_"))
)
_END_ALL = (
    update(CHUNK_SETS)
    .where(CHUNK_SETS.c.file_id == bindparam("file_id_"), CHUNK_SETS.c.status == "in_progress")
    .values(status="failed", reason_code=bindparam("code_"), reason_message=bindparam("message_"))
)
_END_FILE = (
    update(FILES)
    .where(FILES.c.id == bindparam("id_"))
    .values(
        stage=bindparam("stage_"),
        percent=bindparam("percent_"),
        reason_code=bindparam("code_"),
        reason_message=bindparam("message_"),
    )
)
_POSTING_AT = (
    select(POSTINGS.c.term)
    .where(POSTINGS.c.chunk_set_id == bindparam("id"))
    .order_by(POSTINGS.c.term)
    .limit(1)
    .offset(literal_column(str(PURGE_ROWS)))
)
_CHUNK_AT = (
    select(CHUNKS.c.number)
    .where(CHUNKS.c.chunk_set_id == bindparam("id"))
    .order_by(CHUNKS.c.number)
    .limit(1)
    .offset(literal_column(str(PURGE_CHUNKS)))
)
_DROP_POSTINGS = delete(POSTINGS).where(POSTINGS.c.chunk_set_id == bindparam("id_"))
_DROP_POSTINGS_TO = _DROP_POSTINGS.where(POSTINGS.c.term <= bindparam("term_"))
_DROP_CHUNKS = delete(CHUNKS).where(CHUNKS.c.chunk_set_id == bindparam("id_"))
_DROP_CHUNKS_TO = _DROP_CHUNKS.where(CHUNKS.c.number <= bindparam("number_"))


async def ensure(tx: Transaction, file: File, chunking: Chunking, *, now: int) -> int:
    """Return the id of a file's chunk set, made with its job when there is none. `now` is in microseconds.

    A file that has no text, or whose text could not be read, gets a set that has failed for the same reason.
    """
    row = await one(tx, _FIND, {"file_id": file.id, "chunking": chunking.key})
    if row is not None:
        return row["id"]
    reason = _hopeless(file)
    new = {
        "tenant": file.tenant,
        "owner": file.owner,
        "file_id": file.id,
        "chunking": chunking.key,
        "status": "in_progress" if reason is None else "failed",
        "reason_code": reason.code if reason else None,
        "reason_message": reason.message if reason else None,
        "created_at": now,
    }
    made = (await tx.rows(_MAKE, new))[0]["id"]
    if reason is None:
        await jobs.add(tx, "index", tenant=file.tenant, owner=file.owner, subject=str(made), now=now)
    return made


def _hopeless(file: File) -> Reason | None:
    if not file.searchable:
        return Reason("unsupported_file", "An image has no text to search in.")
    failed_by_itself = file.reason is not None and file.reason.code != "server_error"
    return file.reason if failed_by_itself else None


class StoredIndexing:
    """`Indexing` over any `Database`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def target(self, chunk_set_id: int) -> tuple[ChunkSet, File] | None:
        """See `Indexing.target`."""

        async def work(tx: Transaction) -> tuple[ChunkSet, File] | None:
            row = await one(tx, _SET, {"id": chunk_set_id})
            file = row and await one(tx, _FILE, {"id": row["file_id"]})
            return (set_of(row), file_of(file)) if row and file else None

        return await self._database.read(work)

    async def progress(self, file: File, stage: Stage, percent: int) -> None:
        """See `Indexing.progress`."""

        async def work(tx: Transaction) -> None:
            await tx.execute(_PROGRESS, {"id_": file.id, "stage_": stage, "percent_": percent})

        await self._database.write(work)

    async def document(self, file: File) -> Document | None:
        """See `Indexing.document`."""

        async def work(tx: Transaction) -> Document | None:
            row = await one(tx, _TEXT, {"id": file.id})
            return None if row is None else layouts.decode(row["text"], row["layout"])

        return await self._database.read(work)

    async def save_document(self, file: File, document: Document) -> bool:
        """See `Indexing.save_document`."""
        row = {
            "file_id": file.id,
            "tenant": file.tenant,
            "owner": file.owner,
            "text": document.text,
            "layout": layouts.encode(document),
        }

        async def work(tx: Transaction) -> bool:
            if await one(tx, _LOCK_FILE, {"id": file.id}) is None:
                return False
            await tx.execute(_DROP_TEXT, {"id_": file.id})
            await tx.execute(_ADD_TEXT, row)
            return True

        return await self._database.write(work)

    async def begin(self, chunk_set: ChunkSet, *, fingerprint: str, embedder: str | None) -> bool:
        """See `Indexing.begin`."""
        known = {"id_": chunk_set.id, "fingerprint_": fingerprint, "embedder_": embedder}

        async def work(tx: Transaction) -> bool:
            return bool(await tx.execute(_BEGIN, known))

        return await self._database.write(work)

    async def add(self, chunk_set: ChunkSet, batch: Sequence[IndexedChunk], *, percent: int) -> bool:
        """See `Indexing.add`."""
        owned = {"chunk_set_id": chunk_set.id, "tenant": chunk_set.tenant, "owner": chunk_set.owner}
        chunks = [{**owned, **_chunk_row(each)} for each in batch]
        postings = [{**owned, **row} for each in batch for row in _posting_rows(each)]

        async def work(tx: Transaction) -> bool:
            row = await one(tx, _OPEN, {"id": chunk_set.id})
            if row is None or row["done"] != batch[0].chunk.index:
                return False
            await tx.execute_many(_ADD_CHUNK, chunks)
            await tx.execute_many(_ADD_POSTING, postings)
            await tx.execute(
                _ADVANCE,
                {
                    "id_": chunk_set.id,
                    "done_": row["done"] + len(batch),
                    "length_": row["length"] + sum(sum(each.terms.values()) for each in batch),
                    "usage_": row["usage_bytes"] + sum(map(_usage, batch)),
                },
            )
            if chunk_set.chunking == AUTO:
                await tx.execute(_PROGRESS, {"id_": chunk_set.file_id, "stage_": "indexing", "percent_": percent})
            return True

        return await self._database.write(work)

    async def complete(self, chunk_set: ChunkSet) -> None:
        """See `Indexing.complete`."""
        ended = {"id_": chunk_set.id, "status_": "completed", "code_": None, "message_": None}
        ready = {"id_": chunk_set.file_id, "stage_": "ready", "percent_": 100, "code_": None, "message_": None}

        async def work(tx: Transaction) -> None:
            if await tx.execute(_END, ended) and chunk_set.chunking == AUTO:
                await tx.execute(_END_FILE, ready)

        await self._database.write(work)

    async def fail(self, chunk_set: ChunkSet, reason: Reason, *, whole_file: bool) -> None:
        """See `Indexing.fail`."""
        why = {"code_": reason.code, "message_": reason.message}
        failed = {"id_": chunk_set.file_id, "stage_": "failed", "percent_": 100, **why}

        async def work(tx: Transaction) -> None:
            ended = await tx.execute(_END, {"id_": chunk_set.id, "status_": "failed", **why})
            if whole_file:
                await tx.execute(_END_ALL, {"file_id_": chunk_set.file_id, **why})
            if whole_file or (ended and chunk_set.chunking == AUTO):
                await tx.execute(_END_FILE, failed)

        await self._database.write(work)

    async def purge(self, chunk_set_id: int) -> None:
        """See `Indexing.purge`."""
        while await self._database.write(lambda tx: _purge(tx, chunk_set_id)):
            pass

    def _micros(self) -> int:
        return int(self._clock.now() * MICROS)


async def _purge(tx: Transaction, chunk_set_id: int) -> bool:
    """Delete a bounded number of rows; return whether there may be more."""
    posting = await one(tx, _POSTING_AT, {"id": chunk_set_id})
    if posting is not None:
        await tx.execute(_DROP_POSTINGS_TO, {"id_": chunk_set_id, "term_": posting["term"]})
        return True
    await tx.execute(_DROP_POSTINGS, {"id_": chunk_set_id})
    chunk = await one(tx, _CHUNK_AT, {"id": chunk_set_id})
    if chunk is not None:
        await tx.execute(_DROP_CHUNKS_TO, {"id_": chunk_set_id, "number_": chunk["number"]})
        return True
    await tx.execute(_DROP_CHUNKS, {"id_": chunk_set_id})
    return False


def _chunk_row(indexed: IndexedChunk) -> dict[str, Any]:
    chunk = indexed.chunk
    return {
        "number": chunk.index,
        "start": chunk.start,
        "end": chunk.end,
        "page": chunk.page,
        "header": chunk.header,
        "text": chunk.text,
        "vector": indexed.vector,
    }


def _posting_rows(indexed: IndexedChunk) -> list[dict[str, Any]]:
    length = sum(indexed.terms.values())
    return [
        {"number": indexed.chunk.index, "term": term, "tf": tf, "length": length} for term, tf in indexed.terms.items()
    ]


def _usage(indexed: IndexedChunk) -> int:
    return len(indexed.chunk.text.encode()) + len(indexed.vector or b"")
