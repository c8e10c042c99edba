"""Search: terms and meaning within what the caller may read, fused, then reranked by coverage."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import anyio.to_thread

from chatbackend.domain.filters import parse_filter
from chatbackend.domain.identity import Principal
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import FileSearch
from chatbackend.domain.retrieval import best, bm25, fuse, rerank
from chatbackend.domain.terms import terms
from chatbackend.usecases.file_ports import Embedder, Found, Key, Passages, Query, Scope, VectorStores
from chatbackend.usecases.ports import Report

QUERY_CHARS = 8_000  # a longer question is searched for by its beginning
RERANKED = 50  # passages whose texts are compared with the query; no search returns more


class SearchPassages:
    """`SearchPassages` of the ports. Without an embedder, or when it fails, terms decide alone."""

    def __init__(self, passages: Passages, stores: VectorStores, *, embedder: Embedder | None, report: Report) -> None:
        self._passages = passages
        self._stores = stores
        self._embedder = embedder
        self._report = report

    async def __call__(self, principal: Principal, query: str, search: FileSearch) -> list[Passage]:
        """See the port. Raises also: InvalidRequest for a filter that is none, or an expired store."""
        scope = Scope(principal, search.vector_store_ids, parse_filter(search.filters))
        query = query[:QUERY_CHARS]
        asked = terms(query)
        vector = await self._vector(query)
        name = self._embedder.name if self._embedder else None
        found = await self._passages.search(scope, Query(asked, vector, name), partial(rank, asked))
        await self._stores.touch(principal, search.vector_store_ids)
        ranked = await anyio.to_thread.run_sync(_reranked, query, found)
        return [each for each in ranked if each.score >= search.score_threshold][: search.max_results]

    async def any_of(self, principal: Principal, queries: Sequence[str], search: FileSearch) -> list[Passage]:
        """Return the best passages of several queries, each once, in the order of its best score."""
        kept: dict[tuple[str, int, int], Passage] = {}
        for query in queries:
            for each in await self(principal, query, search):
                place = (each.file_id, each.start, each.end)
                if place not in kept or kept[place].score < each.score:
                    kept[place] = each
        return sorted(kept.values(), key=lambda each: -each.score)[: search.max_results]

    async def _vector(self, query: str) -> bytes | None:
        if self._embedder is None or not query.strip():
            return None
        try:
            return (await self._embedder.embed([query]))[0]
        except Exception as error:  # whatever it is: an answer by terms is better than none, and it is seen
            self._report("a query could not be embedded; it is searched by its terms alone", error)
            return None


def rank(asked: Sequence[str], found: Found) -> list[tuple[Key, float]]:
    """Rank the chunks of a scope: BM25 and similarity, fused."""
    average = found.length / found.chunk_count if found.length else 1.0
    lexical = bm25(asked, found.postings, chunk_count=found.chunk_count, average_length=average)
    return fuse(best(lexical), found.nearest)[:RERANKED]


def _reranked(query: str, found: Sequence[Passage]) -> list[Passage]:
    candidates = [(number, each.score, f"{each.header}\n{each.text}") for number, each in enumerate(found)]
    return [replace(found[number], score=score) for number, score in rerank(query, candidates)]
