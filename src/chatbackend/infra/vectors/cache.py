"""Vectors of chunk sets in memory, bounded in bytes, and the exact scan that a search makes over them.

What is kept of a set never goes stale, because a completed set never changes and its id is never used again; which
sets a search may look at is for its query to say.
"""

import heapq
import math
import threading
from collections import OrderedDict

from chatbackend.infra.embedding.scan import dense_scores
from chatbackend.usecases.file_ports import Key

SCAN_BYTES = 4 * 2**20


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
    """The `count` chunks most similar to a query (cosine) among those scanned. Small sets are scanned together."""

    def __init__(self, query: bytes, count: int) -> None:
        self._query = query
        self._count = count
        self._best: list[tuple[float, Key]] = []
        self._waiting: list[tuple[int, bytes]] = []
        self._waiting_bytes = 0

    def scan(self, chunk_set_id: int, vectors: bytes) -> None:
        """Compare every vector of a set; they are numbered from 0."""
        self._waiting.append((chunk_set_id, vectors))
        self._waiting_bytes += len(vectors)
        if self._waiting_bytes >= SCAN_BYTES:
            self._compare()

    def found(self) -> dict[Key, float]:
        """Return the nearest so far, the nearest first."""
        self._compare()
        return {key: -away for away, key in self._best}

    def _compare(self) -> None:
        """Compare what waits in one go; most of it is not even looked at again."""
        scores = dense_scores(self._query, b"".join([vectors for _, vectors in self._waiting]))
        floor = -self._best[-1][0] if len(self._best) == self._count else -math.inf
        keys = ((each, number) for each, vectors in self._waiting for number in range(len(vectors) // len(self._query)))
        found = [(-score, key) for score, key in zip(scores, keys, strict=True) if score >= floor]
        self._best = heapq.nsmallest(self._count, [*self._best, *found])
        self._waiting, self._waiting_bytes = [], 0
