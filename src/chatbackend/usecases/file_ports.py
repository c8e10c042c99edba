"""What the use cases of files and vector stores need of the world: their Protocols, as `ports.py` has the others."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio

from chatbackend.domain.documents import Document
from chatbackend.domain.files import Format
from chatbackend.domain.filters import Filter
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import ChunkSet, IndexedChunk
from chatbackend.domain.jobs import Job
from chatbackend.domain.passages import Passage
from chatbackend.domain.uploads import File, Reason, Stage
from chatbackend.domain.vector_stores import Attachment, FileBatch, StoreFile, VectorStore
from chatbackend.usecases.ports import Once


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A committed blob: the server's own key, its size, its SHA-256 as hex."""

    key: str
    bytes: int
    sha256: str


class BlobWriter(Protocol):
    """One blob being written. Nothing of it is visible before `commit`."""

    async def write(self, data: bytes) -> None:
        """Add bytes. Raises: Unavailable when they cannot be kept."""
        ...

    async def commit(self) -> StoredBlob:
        """Make the blob durable and visible. Raises: Unavailable."""
        ...

    async def discard(self) -> None:
        """Forget what was written; safe at any time before `commit`, and more than once."""
        ...


class Blobs(Protocol):
    """Contents of files, by keys that the server makes."""

    async def create(self) -> BlobWriter:
        """Begin a blob under a new key. Raises: Unavailable."""
        ...

    def as_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        """Lend the blob as a local file, to be read only. Raises: NotFound."""
        ...

    def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """Return the content in pieces. Raises: NotFound."""
        ...

    async def delete(self, key: str) -> None:
        """Delete a blob; one that is not there is deleted already."""
        ...

    async def keys(self) -> list[str]:
        """Return every key."""
        ...


class SizeCheck(Protocol):
    """Counts one upload. Both methods raise FileRejected."""

    def feed(self, size: int) -> None:
        """Count bytes before they are kept."""
        ...

    def close(self) -> int:
        """Return the size of the whole."""
        ...


@dataclass(frozen=True, slots=True)
class FileChecks:
    """The pure checks of an upload; each raises `FileRejected`.

    `head` takes (filename, declared type, the first `head_bytes`), `tail` the format and the last `tail_bytes`,
    `size` the limit in bytes.
    """

    head: Callable[[str, str | None, bytes], Format]
    tail: Callable[[Format, bytes], None]
    size: Callable[[int], SizeCheck]
    head_bytes: int
    tail_bytes: int


class Files(Protocol):
    """Rows of files. Every method is one transaction."""

    async def add(self, principal: Principal, file: File, once: Once | None) -> File:
        """Commit a file with its jobs; or return the one that this very request had made before.

        Raises: Unprocessable (same key, other body), Conflict `idempotent_result_gone`.
        """
        ...

    async def get(self, principal: Principal, file_id: str) -> File | None:
        """Return a file that this caller may read."""
        ...

    async def text(self, principal: Principal, file_id: str) -> str | None:
        """Return the text of a file that this caller may read, None when there is none (yet)."""
        ...

    async def delete(self, principal: Principal, file_id: str) -> list[Job] | None:
        """Delete a caller's own file: once this returns no search finds it.

        Returns the jobs that clear away what is left, already committed; None when there is no such file.
        """
        ...

    async def known_blobs(self, keys: Sequence[str]) -> set[str]:
        """Return those keys that a file, or a job, still names."""
        ...


class Indexing(Protocol):
    """What the indexer reads and writes; by rows that came out of the store, not by a caller's word."""

    async def target(self, chunk_set_id: int) -> tuple[ChunkSet, File] | None:
        """Return a set and its file, None when either is gone."""
        ...

    async def progress(self, file: File, stage: Stage, percent: int) -> None:
        """Show how far a file is."""
        ...

    async def document(self, file: File) -> Document | None:
        """Return the parsed document, None when it was not parsed yet."""
        ...

    async def save_document(self, file: File, document: Document) -> bool:
        """Keep a parsed document; False when the file is gone."""
        ...

    async def begin(self, chunk_set: ChunkSet, *, fingerprint: str, embedder: str | None) -> bool:
        """Note what is being written, from chunk 0 on; False when the set is gone."""
        ...

    async def add(self, chunk_set: ChunkSet, batch: Sequence[IndexedChunk], *, percent: int) -> bool:
        """Commit the chunks, postings and vectors that follow the committed ones, all or none.

        Returns False when the set is gone, or is no longer where this batch goes on.
        """
        ...

    async def complete(self, chunk_set: ChunkSet) -> None:
        """Make a set searchable."""
        ...

    async def fail(self, chunk_set: ChunkSet, reason: Reason, *, whole_file: bool) -> None:
        """End a set, or with `whole_file` its file and every set of it that is in progress."""
        ...

    async def purge(self, chunk_set_id: int) -> None:
        """Delete every chunk and posting under this id, in bounded transactions."""
        ...


class Parser(Protocol):
    """Reads a file's text, apart from this process."""

    async def parse(self, path: Path, format_name: str) -> Document:
        """Raises: FileRejected for what is wrong with the file; anything else may be tried again."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """The model; vectors of different names are never compared."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        """Return a vector for each text: little-endian float32, of unit length. Raises anything: try again."""
        ...


Key = tuple[int, int]  # a chunk: its set's id and its number


@dataclass(frozen=True, slots=True)
class Scope:
    """What a search may look at; every part of it is a condition of the query itself."""

    principal: Principal
    vector_store_ids: tuple[str, ...]
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: terms, and a vector with the name of its embedder where there is one."""

    terms: Sequence[str]
    vector: bytes | None = None
    embedder: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a ranking needs, all of it within one scope.

    `postings` has (chunk, how often, length of the chunk in terms) for each term; `length` is of all `chunk_count`
    chunks together; `nearest` are the chunks most similar to the query's vector.
    """

    postings: Mapping[str, Sequence[tuple[Key, int, int]]]
    chunk_count: int
    length: int
    nearest: Mapping[Key, float]


Rank = Callable[[Found], Sequence[tuple[Key, float]]]


class Passages(Protocol):
    """The searchable chunks."""

    async def search(self, scope: Scope, query: Query, rank: Rank) -> list[Passage]:
        """Return the passages that `rank` chose, in its order, on one snapshot; `rank` runs off the event loop.

        Only completed sets of the scope are looked at, and only vectors that the query's embedder made.
        Raises: NotFound for a vector store that this caller may not read, InvalidRequest for an expired one.
        """
        ...

    def forget(self, chunk_set_id: int) -> None:
        """Drop what is kept in memory of a set."""
        ...


class VectorStores(Protocol):
    """Rows of vector stores. Every method is one transaction."""

    async def add(
        self, principal: Principal, store: VectorStore, attachments: Sequence[Attachment], once: Once | None
    ) -> VectorStore:
        """Commit a store with its files; or return the one that this very request had made before.

        Raises: NotFound (a file), Unprocessable (same key, other body), Conflict `idempotent_result_gone`.
        """
        ...

    async def touch(self, principal: Principal, store_ids: Sequence[str]) -> None:
        """Note that stores are in use, as far as they expire."""
        ...

    async def delete(self, principal: Principal, store_id: str) -> list[Job]:
        """Delete a caller's own store, not its files: once this returns no search finds it.

        Returns the jobs that clear away what is left, already committed. Raises: NotFound.
        """
        ...


class StoreFiles(Protocol):
    """Files in vector stores. Every method is one transaction and raises NotFound."""

    async def attach(
        self, principal: Principal, store_id: str, attachment: Attachment, once: Once | None = None
    ) -> list[Job]:
        """Put a file that this caller may read into a store of its own; jobs as `VectorStores.delete`.

        Does nothing where this very request has done so. Raises: Unprocessable, Conflict.
        """
        ...

    async def detach(self, principal: Principal, store_id: str, file_id: str) -> list[Job]:
        """Take a file out of a store: once this returns no search of it finds the file."""
        ...

    async def get(self, principal: Principal, store_id: str, file_id: str) -> StoreFile:
        """Return a file of a readable store."""
        ...

    async def add_batch(
        self, principal: Principal, batch: FileBatch, attachments: Sequence[Attachment], once: Once | None = None
    ) -> tuple[FileBatch, list[Job]]:
        """As `attach` for several, remembered as a batch; or the batch that this very request has made."""
        ...


class Changes(Protocol):
    """Wake-ups of those who watch something (a file, a conversation): they carry only "something moved"."""

    def event(self, name: str, /) -> anyio.Event:
        """Return the event that the next `wake` of this name sets. Take it first, then look, then wait."""
        ...

    def wake(self, name: str, /) -> None:
        """Wake whoever watches what has this name, some time soon in other processes. Never waits, never fails."""
        ...


class Jobs(Protocol):
    """The job queue, as far as whoever adds or finishes work needs it."""

    async def finish(self, job: Job) -> None:
        """Forget a job that is done."""
        ...

    def wake(self) -> None:
        """Tell the worker of this process that there may be a new job."""
        ...
