"""The ports of the file use cases, in memory."""

import hashlib
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from chatbackend.domain.documents import Document
from chatbackend.domain.errors import ChatError, NotFound, Unavailable
from chatbackend.domain.files import FileRejected, Format
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import AUTO, Chunking, ChunkSet, IndexedChunk
from chatbackend.domain.jobs import Job
from chatbackend.domain.passages import Passage
from chatbackend.domain.uploads import File, Reason, Stage
from chatbackend.domain.vector_stores import Attachment, FileBatch, StoreFile, VectorStore
from chatbackend.usecases.file_ports import FileChecks, Found, Query, Rank, Scope, StoredBlob
from chatbackend.usecases.ports import Once

ME = Principal("t", "a", "a", "key")
FOREIGN = Principal("t2", "a", "a", "key2")
TEXT = Format("text", ("text/plain",), "text")
IMAGE = Format("png", ("image/png",), "image", "vision")
PURGE = Job(7, "purge", "t", "a", "3")
ERASE = Job(8, "erase", "t", "a", "blob_1")


def stored(file_id: str = "file_1", *, searchable: bool = True) -> File:
    """Return a file of ME."""
    kind = TEXT if searchable else IMAGE
    return File(
        file_id, "t", "a", "a.txt", "assistants", 5, "", kind.media_types[0], kind.name, searchable, "blob_1", 0
    )


class Numbered:
    """`NewId`: the prefix and a running number."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}_{self._number}"


class FakeClock:
    """`Clock` that stands still."""

    def now(self) -> float:
        """Return a second."""
        return 1_000.5


class FakeWriter:
    """`BlobWriter` into a dictionary."""

    def __init__(self, blobs: "FakeBlobs", key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._content = b""
        self.discarded = False

    async def write(self, data: bytes) -> None:
        if self._blobs.full:
            raise Unavailable("full")
        self._content += data

    async def commit(self) -> StoredBlob:
        self._blobs.contents[self._key] = self._content
        return StoredBlob(self._key, len(self._content), hashlib.sha256(self._content).hexdigest())

    async def discard(self) -> None:
        self.discarded = True


class FakeBlobs:
    """`Blobs` in a dictionary; `full` refuses writes."""

    def __init__(self, contents: dict[str, bytes] | None = None) -> None:
        self.contents = dict(contents or {})
        self.writers: list[FakeWriter] = []
        self.full = False

    async def create(self) -> FakeWriter:
        self.writers.append(FakeWriter(self, f"blob_{len(self.writers) + 1}"))
        return self.writers[-1]

    @asynccontextmanager
    async def as_file(self, key: str) -> AsyncGenerator[Path, None]:
        yield Path(key)

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        content = self.contents[key]
        for start in range(0, len(content), 2):
            yield content[start : start + 2]

    async def delete(self, key: str) -> None:
        self.contents.pop(key, None)

    async def keys(self) -> list[str]:
        return list(self.contents)


class FakeFiles:
    """`Files` in a dictionary; `failure` is raised by `add`, `earlier` is what its request had made before."""

    def __init__(self, *files: File) -> None:
        self.rows = {file.id: file for file in files}
        self.texts: dict[str, str] = {}
        self.failure: ChatError | None = None
        self.earlier: File | None = None
        self.onces: list[Once | None] = []
        self.looked: Callable[[], None] = lambda: None

    async def add(self, principal: Principal, file: File, once: Once | None) -> File:
        self.onces.append(once)
        if self.failure is not None:
            raise self.failure
        if self.earlier is not None:
            return self.earlier
        self.rows[file.id] = file
        return file

    async def get(self, principal: Principal, file_id: str) -> File | None:
        found = self.rows.get(file_id)
        return found if found and (found.tenant, found.owner) == (principal.tenant, principal.owner) else None

    async def text(self, principal: Principal, file_id: str) -> str | None:
        found = self.texts.get(file_id)
        self.looked()
        return found

    async def delete(self, principal: Principal, file_id: str) -> list[Job] | None:
        found = await self.get(principal, file_id)
        if found is None:
            return None
        del self.rows[file_id]
        return [PURGE, ERASE]

    async def known_blobs(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if key in {file.blob_key for file in self.rows.values()}}


class FakeIndexing:
    """`Indexing` of one set of one file; `gone_after` batches the set vanishes, `cut_after` batches `add` raises."""

    def __init__(self, file: File | None = None, chunking: Chunking = AUTO) -> None:
        self.file = file or stored()
        self.set: ChunkSet | None = ChunkSet(3, self.file.id, "t", "a", chunking)
        self.kept: Document | None = None
        self.chunks: list[IndexedChunk] = []
        self.shown: list[tuple[Stage, int]] = []
        self.failed: tuple[Reason, bool] | None = None
        self.purged: list[int] = []
        self.gone_after: int | None = None
        self.cut_after: int | None = None
        self.batches = 0

    async def target(self, chunk_set_id: int) -> tuple[ChunkSet, File] | None:
        return None if self.set is None else (self.set, self.file)

    async def progress(self, file: File, stage: Stage, percent: int) -> None:
        self.shown.append((stage, percent))

    async def document(self, file: File) -> Document | None:
        return self.kept

    async def save_document(self, file: File, document: Document) -> bool:
        if self.set is None:
            return False
        self.kept = document
        return True

    async def begin(self, chunk_set: ChunkSet, *, fingerprint: str, embedder: str | None) -> bool:
        if self.set is None:
            return False
        self.set = replace(self.set, fingerprint=fingerprint, embedder=embedder, done=0)
        return True

    async def add(self, chunk_set: ChunkSet, batch: Sequence[IndexedChunk], *, percent: int) -> bool:
        if self.batches == self.cut_after:
            self.cut_after = None
            raise Unavailable("cut")
        if self.set is None or self.batches == self.gone_after or self.set.done != batch[0].chunk.index:
            return False
        self.batches += 1
        self.chunks += batch
        self.shown.append(("indexing", percent))
        self.set = replace(self.set, done=self.set.done + len(batch))
        return True

    async def complete(self, chunk_set: ChunkSet) -> None:
        self.set = self.set and replace(self.set, status="completed")

    async def fail(self, chunk_set: ChunkSet, reason: Reason, *, whole_file: bool) -> None:
        self.set = replace(chunk_set, status="failed")
        self.failed = (reason, whole_file)

    async def purge(self, chunk_set_id: int) -> None:
        self.purged.append(chunk_set_id)
        self.chunks = []


@dataclass
class FakeParser:
    """`Parser` that answers with one document, or fails once with `failure`."""

    document: Document
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list[str])

    async def parse(self, path: Path, format_name: str) -> Document:
        self.asked.append(format_name)
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return self.document


class FakeEmbedder:
    """`Embedder` by length: texts of like length are alike; `failure` is raised instead."""

    def __init__(self, name: str = "lengths") -> None:
        self.name = name
        self.failure: Exception | None = None
        self.asked: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        if self.failure is not None:
            raise self.failure
        self.asked += texts
        return [struct.pack("<2f", *_unit(len(text))) for text in texts]


def _unit(length: int) -> tuple[float, float]:
    share = min(length, 1000) / 1000
    return share, (1 - share**2) ** 0.5


class FakeJobs:
    """`Jobs` that remembers."""

    def __init__(self) -> None:
        self.finished: list[Job] = []
        self.woken = 0

    async def finish(self, job: Job) -> None:
        self.finished.append(job)

    def wake(self) -> None:
        self.woken += 1


class FakePassages:
    """`Passages` over what a test says is found; the ranking runs on `found`, texts come from `passages` by key."""

    def __init__(self, found: Found | None = None, passages: dict[tuple[int, int], Passage] | None = None) -> None:
        self.found = found or Found({}, 0, 0, {})
        self.passages = passages or {}
        self.asked: list[tuple[Scope, Query]] = []
        self.forgotten: list[int] = []

    async def search(self, scope: Scope, query: Query, rank: Rank) -> list[Passage]:
        self.asked.append((scope, query))
        return [replace(self.passages[key], score=score) for key, score in rank(self.found)]

    def forget(self, chunk_set_id: int) -> None:
        self.forgotten.append(chunk_set_id)


class FakeStores:
    """`VectorStores` and `StoreFiles` that leave one job behind."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def add(
        self, principal: Principal, store: VectorStore, attachments: Sequence[Attachment], once: Once | None
    ) -> VectorStore:
        self.calls.append("add")
        return store

    async def touch(self, principal: Principal, store_ids: Sequence[str]) -> None:
        self.calls += [f"touch {each}" for each in store_ids]

    async def delete(self, principal: Principal, store_id: str) -> list[Job]:
        self.calls.append("delete")
        return [PURGE]


class FakeStoreFiles:
    """`StoreFiles` that leave one job behind."""

    def __init__(self) -> None:
        self.attached: list[Attachment] = []

    async def attach(
        self, principal: Principal, store_id: str, attachment: Attachment, once: Once | None = None
    ) -> list[Job]:
        self.attached.append(attachment)
        return [PURGE]

    async def detach(self, principal: Principal, store_id: str, file_id: str) -> list[Job]:
        if file_id not in {each.file_id for each in self.attached}:
            raise NotFound(file_id)
        return [PURGE]

    async def get(self, principal: Principal, store_id: str, file_id: str) -> StoreFile:
        return StoreFile(file_id, store_id, 0, "in_progress")

    async def add_batch(
        self, principal: Principal, batch: FileBatch, attachments: Sequence[Attachment], once: Once | None = None
    ) -> tuple[FileBatch, list[Job]]:
        self.attached += attachments
        return batch, [PURGE]


class FakeSize:
    """`SizeCheck`."""

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes

    def feed(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise FileRejected("file_too_large", "too large")

    def close(self) -> int:
        return 0


def check_head(filename: str, declared: str | None, head: bytes) -> Format:
    """Take text, and names that end in png as images."""
    if filename.endswith(".exe"):
        raise FileRejected("unsupported_file", "no programs")
    if not head:
        raise FileRejected("empty_file", "empty")
    if head.startswith(b"\x7fELF") or declared == "text/html":
        raise FileRejected("type_mismatch", "a lie")
    return IMAGE if filename.endswith(".png") else TEXT


def check_tail(known: Format, tail: bytes) -> None:
    """Refuse what ends in PK."""
    if tail.endswith(b"PK"):
        raise FileRejected("type_mismatch", "two formats at once")


CHECKS = FileChecks(check_head, check_tail, FakeSize, head_bytes=4, tail_bytes=3)
