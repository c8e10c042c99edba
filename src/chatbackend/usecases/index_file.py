"""Index a file: read its text, cut it, count its terms, embed it; committed batch by batch, so that nothing is redone.

Only a completed set is ever searched. Whatever interrupts this, the next try goes on after the last committed batch,
and the chunks are the same as if nothing had happened: they follow from the file's bytes alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import anyio.to_thread

from chatbackend.domain.chunking import chunk
from chatbackend.domain.documents import Chunk, Document
from chatbackend.domain.files import FileRejected
from chatbackend.domain.indexing import (
    AUTO,
    Chunking,
    ChunkSet,
    IndexedChunk,
    batches,
    fingerprint,
    percent,
)
from chatbackend.domain.terms import frequencies
from chatbackend.domain.uploads import File, Reason
from chatbackend.usecases.file_ports import Blobs, Changes, Embedder, Indexing, Parser

NO_TEXT = Reason("no_text", "The file has no text to search in.")


class IndexFile:
    """Works one chunk set off. Without an embedder its terms alone are searched."""

    def __init__(
        self, indexing: Indexing, blobs: Blobs, parser: Parser, *, embedder: Embedder | None, changes: Changes
    ) -> None:
        self._indexing = indexing
        self._blobs = blobs
        self._parser = parser
        self._embedder = embedder
        self._changes = changes

    async def __call__(self, chunk_set_id: int) -> None:
        """Bring a set to its end; nothing to do when it is gone or has ended. What is raised may be tried again."""
        found = await self._indexing.target(chunk_set_id)
        if found is None or found[0].status != "in_progress":
            return
        chunk_set, file = found
        try:
            document = await self._document(chunk_set, file)
        except FileRejected as error:
            await self._fail(chunk_set, file, Reason(error.code, error.message))
            return
        if document is not None and await self._index(chunk_set, file, document):
            await self._indexing.complete(chunk_set)
            self._changes.wake(file.id)

    async def give_up(self, chunk_set_id: int) -> None:
        """End a set that could not be indexed, for no fault of the file."""
        found = await self._indexing.target(chunk_set_id)
        if found is not None:
            reason = Reason("server_error", "The file could not be indexed.")
            await self._indexing.fail(found[0], reason, whole_file=False)
            await self._indexing.purge(chunk_set_id)
            self._changes.wake(found[1].id)

    async def _fail(self, chunk_set: ChunkSet, file: File, reason: Reason) -> None:
        await self._indexing.fail(chunk_set, reason, whole_file=True)
        self._changes.wake(file.id)

    async def _document(self, chunk_set: ChunkSet, file: File) -> Document | None:
        """Return the parsed document, parsed now if it was not before; None when the file is gone."""
        known = await self._indexing.document(file)
        if known is not None:
            return known
        if chunk_set.chunking == AUTO:
            await self._indexing.progress(file, "parsing", 1)
            self._changes.wake(file.id)
        async with self._blobs.as_file(file.blob_key) as path:
            document = await self._parser.parse(path, file.format)
        kept = await self._indexing.save_document(file, document)
        self._changes.wake(file.id)
        return document if kept else None

    async def _index(self, chunk_set: ChunkSet, file: File, document: Document) -> bool:
        """Commit every chunk; False when the set is gone or has failed."""
        chunks = await anyio.to_thread.run_sync(cut, document, chunk_set.chunking)
        if not chunks:
            await self._fail(chunk_set, file, NO_TEXT)
            return False
        ready = await self._begun(chunk_set, chunks)
        if ready is None:
            return False
        for batch in batches(chunks, done=ready.done):
            indexed = await self._indexed(batch)
            shown = percent(batch[-1].index + 1, len(chunks))
            if not await self._indexing.add(ready, indexed, percent=shown):
                return False
            self._changes.wake(file.id)
        return True

    async def _begun(self, chunk_set: ChunkSet, chunks: Sequence[Chunk]) -> ChunkSet | None:
        """Return the set as far as it can be gone on with; from the start when it was cut or embedded otherwise."""
        embedder = self._embedder.name if self._embedder else None
        mark = await anyio.to_thread.run_sync(fingerprint, chunks, embedder)
        if chunk_set.fingerprint == mark:
            return chunk_set
        if chunk_set.done:
            await self._indexing.purge(chunk_set.id)
        if not await self._indexing.begin(chunk_set, fingerprint=mark, embedder=embedder):
            return None
        return replace(chunk_set, done=0, fingerprint=mark, embedder=embedder)

    async def _indexed(self, batch: Sequence[Chunk]) -> list[IndexedChunk]:
        counted = await anyio.to_thread.run_sync(partial(count_terms, batch))
        vectors: Sequence[bytes | None] = [None] * len(batch)
        if self._embedder is not None:
            vectors = await self._embedder.embed([embedded(each) for each in batch])
        return [IndexedChunk(each, terms, vector) for each, terms, vector in zip(batch, counted, vectors, strict=True)]


def cut(document: Document, chunking: Chunking) -> list[Chunk]:
    """Cut a document by its strategy."""
    if chunking.max_tokens is None:
        return chunk(document)
    return chunk(document, max_tokens=chunking.max_tokens, overlap_tokens=chunking.overlap_tokens)


def count_terms(batch: Sequence[Chunk]) -> list[dict[str, int]]:
    """Return how often each term of each chunk counts."""
    return [dict(frequencies(each.header, each.text)) for each in batch]


def embedded(each: Chunk) -> str:
    """Return what is embedded of a chunk: its context, then its text."""
    return f"{each.header}\n{each.text}" if each.header else each.text
