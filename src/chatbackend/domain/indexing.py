"""A chunk set: one file cut one way, with its terms and vectors; immutable once it is completed."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from chatbackend.domain.documents import Chunk
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.uploads import Reason

SetStatus = Literal["in_progress", "completed", "failed"]
LastErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]

BATCH_CHUNKS: Final = 32  # chunks that are embedded and committed together
PARSED_PERCENT: Final = 20  # how far a file is once its text is known

_UNSUPPORTED: Final = frozenset(("unsupported_file", "no_text"))


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a file is cut: ours (`auto`, both None), or the API's `static` strategy."""

    max_tokens: int | None = None
    overlap_tokens: int | None = None

    @property
    def key(self) -> str:
        """What tells this strategy from others of the same file."""
        return "auto" if self.max_tokens is None else f"static:{self.max_tokens}:{self.overlap_tokens}"


AUTO: Final = Chunking()


def static(max_tokens: int, overlap_tokens: int) -> Chunking:
    """Return the static strategy. Raises: InvalidRequest outside the API's bounds."""
    if not 100 <= max_tokens <= 4096:
        raise InvalidRequest("max_chunk_size_tokens must be from 100 to 4096.", param="chunking_strategy")
    if not 0 <= overlap_tokens <= max_tokens // 2:
        message = "chunk_overlap_tokens must not exceed half of max_chunk_size_tokens."
        raise InvalidRequest(message, param="chunking_strategy")
    return Chunking(max_tokens, overlap_tokens)


def chunking_of(key: str) -> Chunking:
    """Return the strategy whose `key` this is."""
    if key == AUTO.key:
        return AUTO
    _, max_tokens, overlap_tokens = key.split(":")
    return Chunking(int(max_tokens), int(overlap_tokens))


@dataclass(frozen=True, slots=True)
class ChunkSet:
    """One row of work: `done` of its chunks are committed. `embedder` is None for terms without vectors."""

    id: int
    file_id: str
    tenant: str
    owner: str
    chunking: Chunking
    status: SetStatus = "in_progress"
    done: int = 0
    fingerprint: str | None = None
    embedder: str | None = None
    usage_bytes: int = 0
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk as it is stored: how often each term counts, and its vector (little-endian float32, unit length)."""

    chunk: Chunk
    terms: dict[str, int]
    vector: bytes | None


def fingerprint(chunks: Sequence[Chunk], embedder: str | None) -> str:
    """Return what must be the same for an interrupted indexing to go on where it stopped."""
    digest = hashlib.sha256(repr(embedder).encode())
    for chunk in chunks:
        digest.update(f"{chunk.start}:{chunk.end}:{chunk.page}:{chunk.header}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def batches(chunks: Sequence[Chunk], *, done: int) -> Iterable[Sequence[Chunk]]:
    """Return what is left after the first `done` chunks, in batches."""
    return (chunks[start : start + BATCH_CHUNKS] for start in range(done, len(chunks), BATCH_CHUNKS))


def percent(done: int, total: int) -> int:
    """Return how far a file is with `done` of `total` chunks committed; 100 is kept for the end itself."""
    return min(99, PARSED_PERCENT + (100 - PARSED_PERCENT) * done // max(total, 1))


def last_error_code(reason: Reason) -> LastErrorCode:
    """Return the API's word for a reason."""
    if reason.code == "server_error":
        return "server_error"
    return "unsupported_file" if reason.code in _UNSUPPORTED else "invalid_file"
