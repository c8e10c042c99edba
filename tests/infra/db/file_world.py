"""Repositories of files on a real database, and short ways to fill them."""

import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from chatbackend.domain.documents import Chunk, Document
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import IndexedChunk
from chatbackend.domain.terms import frequencies
from chatbackend.domain.uploads import File
from chatbackend.domain.vector_stores import Attachment, VectorStore
from chatbackend.infra.db.chunk_sets import StoredIndexing
from chatbackend.infra.db.files import StoredFiles
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.passages import StoredPassages
from chatbackend.infra.db.store_files import StoreFiles
from chatbackend.infra.db.tables import METADATA
from chatbackend.infra.db.tables.files import FILES
from chatbackend.infra.db.transaction import Database, Row, Transaction
from chatbackend.infra.db.vector_stores import VectorStores
from tests.support.file_app import TestClock
from tests.support.truths import Kind, truth

ME = Principal("t", "acct", "acct", "k1")
USER = Principal("t", "acct", "acct/ann", "k1")
OTHER_USER = Principal("t", "acct", "acct/bob", "k1")
OTHER_ACCOUNT = Principal("t", "shop", "shop", "k2")
FOREIGN = Principal("t2", "acct", "acct", "k3")
STRANGERS = (OTHER_ACCOUNT, FOREIGN)
assert FILES.metadata is METADATA


def vector(*values: float) -> bytes:
    """Return a stored vector."""
    return struct.pack(f"<{len(values)}f", *values)


@dataclass
class World:
    """The repositories."""

    database: Database
    clock: TestClock
    files: StoredFiles
    indexing: StoredIndexing
    passages: StoredPassages
    stores: VectorStores
    store_files: StoreFiles
    jobs: StoredJobs

    async def file(self, file_id: str, owner: Principal = ME, *, searchable: bool = True) -> File:
        """Add a file; the clock moves on by a second."""
        self.clock.time += 1
        kind = "text" if searchable else "png"
        file = File(
            file_id, owner.tenant, owner.owner, f"{file_id}.txt", "assistants", 5, "sha", f"text/{kind}", kind,
            searchable, f"blob_{file_id}", int(self.clock.time), stage="queued" if searchable else "ready",
        )  # fmt: skip
        return await self.files.add(owner, file, None)

    async def indexed(
        self, file_id: str, *texts: str, owner: Principal = ME, vectors: Sequence[bytes] = (), embedder: str = "e"
    ) -> int:
        """Add a file whose `auto` set is completed, one text a chunk; return the set's id."""
        await self.file(file_id, owner)
        made = await self.set_of(file_id)
        await self.fill(made, *texts, vectors=vectors, embedder=embedder)
        return made

    async def fill(self, set_id: int, *texts: str, vectors: Sequence[bytes] = (), embedder: str = "e") -> None:
        """Complete a set."""
        found = await self.indexing.target(set_id)
        assert found is not None
        await self.indexing.begin(found[0], fingerprint="f", embedder=embedder if vectors else None)
        for number, each in enumerate(texts):
            chunk = Chunk(number, 10 * number, 10 * number + len(each), each, "head", 1)
            given = vectors[number] if vectors else None
            assert await self.indexing.add(
                found[0], [IndexedChunk(chunk, dict(frequencies("", each)), given)], percent=50
            )
        await self.indexing.save_document(found[1], Document(" ".join(texts)))
        await self.indexing.complete(found[0])

    async def store(
        self, store_id: str, *files: str | Attachment, owner: Principal = ME, days: int | None = None
    ) -> None:
        """Add a store with files."""
        self.clock.time += 1
        now = int(self.clock.time)
        store = VectorStore(store_id, owner.tenant, owner.owner, store_id, now, now, expires_days=days)
        attachments = [Attachment(each) if isinstance(each, str) else each for each in files]
        await self.stores.add(owner, store, attachments, None)

    async def set_of(self, file_id: str, chunking: str = "auto") -> int:
        """Return the id of a file's chunk set."""
        rows = await self.rows("SELECT id, file_id, chunking FROM chunk_sets")
        return next(row["id"] for row in rows if (row["file_id"], row["chunking"]) == (file_id, chunking))

    async def rows(self, statement: str) -> list[Row]:
        """Return what a statement reads."""

        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(text(statement))

        return await self.database.read(work)

    async def counts(self) -> dict[str, int]:
        """Return how many rows each table has, jobs aside."""
        tables = [name for name in METADATA.tables if name not in {"jobs", "facts"}]
        found = {name: (await self.rows(f"SELECT count(*) AS n FROM {name}"))[0]["n"] for name in tables}  # noqa: S608 - our own names
        return {name: count for name, count in found.items() if count}


@asynccontextmanager
async def open_world(folder: Path, kind: Kind = "sqlite") -> AsyncGenerator[World, None]:
    """Open everything on a truth of its own."""
    async with truth(kind, folder) as database:
        yield world_on(database)


def world_on(database: Database) -> World:
    """Return everything on an open truth."""
    clock = TestClock()
    return World(
        database,
        clock,
        StoredFiles(database, clock),
        StoredIndexing(database, clock),
        StoredPassages(database, clock, max_cache_bytes=2**20),
        VectorStores(database, clock),
        StoreFiles(database, clock),
        StoredJobs(database, clock),
    )
