"""Vectors of chunk sets in memory, bounded in bytes, and the exact scan that a search makes over them.

What is kept of a set never goes stale, because a completed set never changes and its id is never used again; which
sets a search may look at is for its query to say.
"""

import heapq
import threading
from collections import OrderedDict

from chatbackend.infra.embedding.scan import dense_scores
from chatbackend.usecases.file_ports import Key


class VectorCache:
    """The vectors of each set, one behind the other. The least recently searched sets go first. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size_bytes(self) -> int:
        """How much is kept."""
        return self._bytes

    def get(self, chunk_set_id: int) -> bytes | None:
        """Return a set's vectors."""
        with self._lock:
            found = self._kept.get(chunk_set_id)
            if found is not None:
                self._kept.move_to_end(chunk_set_id)
            return found

    def put(self, chunk_set_id: int, vectors: bytes) -> None:
        """Keep a set's vectors, if they fit at all."""
        if len(vectors) > self._max_bytes:
            return
        with self._lock:
            self._bytes += len(vectors) - len(self._kept.pop(chunk_set_id, b""))
            self._kept[chunk_set_id] = vectors
            while self._bytes > self._max_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])

    def forget(self, chunk_set_id: int) -> None:
        """Drop a set."""
        with self._lock:
            self._bytes -= len(self._kept.pop(chunk_set_id, b""))


class Nearest:
    """The `count` chunks most similar to a query (cosine) among those scanned."""

    def __init__(self, query: bytes, count: int) -> None:
        self._query = query
        self._count = count
        self._best: list[tuple[float, Key]] = []

    def scan(self, chunk_set_id: int, vectors: bytes) -> None:
        """Compare every vector of a set; they are numbered from 0."""
        scores = enumerate(dense_scores(self._query, vectors))
        found = [(-score, (chunk_set_id, number)) for number, score in scores]
        self._best = heapq.nsmallest(self._count, [*self._best, *found])

    def found(self) -> dict[Key, float]:
        """Return the nearest so far, the nearest first."""
        return {key: -away for away, key in self._best}
