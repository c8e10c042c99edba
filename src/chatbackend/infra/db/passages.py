"""`Passages` on a database: one read transaction a search, every statement of it filtered by the whole scope.

Lexical search reads the postings of the query's terms only; vectors are scanned exactly, out of memory where they are
kept. The statistics of BM25 are those of the scope, so that no foreign file moves a score.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, bindparam, select
from sqlalchemy.sql.base import Executable

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.filters import Filter
from chatbackend.domain.passages import Passage
from chatbackend.domain.retrieval import CANDIDATES
from chatbackend.domain.vector_stores import DAY_S
from chatbackend.infra.db.layouts import pages_of
from chatbackend.infra.db.readers import may_read, reader
from chatbackend.infra.db.scope import in_scope, searched
from chatbackend.infra.db.store_files import store_not_found
from chatbackend.infra.db.tables.files import (
    CHUNK_SETS,
    CHUNKS,
    FILE_TEXTS,
    FILES,
    POSTINGS,
    STORE_FILES,
    VECTOR_STORES,
)
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Row, Transaction, one
from chatbackend.infra.vectors.cache import Nearest, VectorCache
from chatbackend.usecases.file_ports import Found, Key, Query, Rank, Scope
from chatbackend.usecases.ports import Clock

TERMS_MAX = 64  # different terms of a query that are looked up; the first ones

_decode_attributes = msgspec.json.Decoder(dict[str, str | float | bool]).decode
_STORE = select(VECTOR_STORES.c.last_active_at, VECTOR_STORES.c.expires_days).where(
    VECTOR_STORES.c.id == bindparam("id"), may_read(VECTOR_STORES)
)
_PLACE = (CHUNKS.c.start, CHUNKS.c.end, CHUNKS.c.page, CHUNKS.c.header, CHUNKS.c.text)
_VECTORS = (
    select(CHUNKS.c.vector)
    .where(CHUNKS.c.chunk_set_id == bindparam("set"), CHUNKS.c.tenant == bindparam("tenant"))
    .order_by(CHUNKS.c.number)
)


class _Statements:
    """The statements of searches of one shape; those without a filter are kept, since each is compiled once."""

    def __init__(self, store_count: int, term_count: int, filters: Filter | None) -> None:
        scope = in_scope(store_count, filters)
        self.term_count = term_count
        self.sets = _sets(scope)
        self.postings = _postings(scope, term_count)
        self.passage = _passage(scope)


@lru_cache(maxsize=64)
def _unfiltered(store_count: int, term_count: int) -> _Statements:
    return _Statements(store_count, term_count, None)


def _sets(scope: ColumnElement[bool]) -> Executable:
    columns = (CHUNK_SETS.c.id, CHUNK_SETS.c.done, CHUNK_SETS.c.length, CHUNK_SETS.c.embedder)
    return select(*columns).select_from(searched()).where(scope).distinct()


def _postings(scope: ColumnElement[bool], term_count: int) -> Executable:
    sets = select(CHUNK_SETS.c.id).select_from(searched()).where(scope).distinct().cte("sets")
    columns = (POSTINGS.c.term, POSTINGS.c.chunk_set_id, POSTINGS.c.number, POSTINGS.c.tf, POSTINGS.c.length)
    return (
        select(*columns)
        .join_from(sets, POSTINGS, POSTINGS.c.chunk_set_id == sets.c.id)
        .where(
            POSTINGS.c.tenant == bindparam("tenant"),
            POSTINGS.c.term.in_([bindparam(f"term{n}") for n in range(term_count)]),
        )
    )


def _passage(scope: ColumnElement[bool]) -> Executable:
    columns = (FILES.c.id.label("file_id"), FILES.c.filename, STORE_FILES.c.attributes, FILE_TEXTS.c.layout, *_PLACE)
    return (
        select(*columns)
        .select_from(
            searched()
            .join(FILES, FILES.c.id == STORE_FILES.c.file_id)
            .join(FILE_TEXTS, FILE_TEXTS.c.file_id == FILES.c.id)
            .join(CHUNKS, CHUNKS.c.chunk_set_id == CHUNK_SETS.c.id)
        )
        .where(
            scope,
            FILES.c.tenant == bindparam("tenant"),
            CHUNKS.c.tenant == bindparam("tenant"),
            CHUNKS.c.chunk_set_id == bindparam("set"),
            CHUNKS.c.number == bindparam("number"),
        )
        .order_by(STORE_FILES.c.vector_store_id)
        .limit(1)
    )


class StoredPassages:
    """`Passages` over any `Database`. `max_cache_bytes` bounds the vectors kept in memory."""

    def __init__(self, database: Database, clock: Clock, *, max_cache_bytes: int) -> None:
        self._database = database
        self._clock = clock
        self._cache = VectorCache(max_cache_bytes)

    async def search(self, scope: Scope, query: Query, rank: Rank) -> list[Passage]:
        """See `Passages.search`."""
        return await self._database.read(lambda tx: self._search(tx, scope, query, rank))

    def forget(self, chunk_set_id: int) -> None:
        """See `Passages.forget`."""
        self._cache.forget(chunk_set_id)

    async def _search(self, tx: Transaction, scope: Scope, query: Query, rank: Rank) -> list[Passage]:
        stores = list(dict.fromkeys(scope.vector_store_ids))
        await self._check(tx, scope, stores)
        terms = list(dict.fromkeys(query.terms))[:TERMS_MAX]
        width = 1 << max(len(terms) - 1, 0).bit_length()  # few shapes: the last term is repeated up to a power of two
        shape = (len(stores), width)
        statements = _unfiltered(*shape) if scope.filter is None else _Statements(*shape, scope.filter)
        known = {**reader(scope.principal), **{f"store{n}": each for n, each in enumerate(stores)}}
        sets = await tx.rows(statements.sets, known)
        if not sets:
            return []
        found = Found(
            postings=await _read_postings(tx, statements, known, terms),
            chunk_count=sum(row["done"] for row in sets),
            length=sum(row["length"] for row in sets),
            nearest=await self._nearest(tx, scope, query, sets),
        )
        ranked = rank(found)
        passages = [await _load(tx, statements, {**known, "set": key[0], "number": key[1]}) for key, _ in ranked]
        return [
            replace(passage, score=score)
            for passage, (_, score) in zip(passages, ranked, strict=True)
            if passage is not None
        ]

    async def _check(self, tx: Transaction, scope: Scope, stores: Sequence[str]) -> None:
        for each in stores:
            row = await one(tx, _STORE, {"id": each, **reader(scope.principal)})
            if row is None:
                raise store_not_found(each)
            days = row["expires_days"]
            if days is not None and row["last_active_at"] // MICROS + days * DAY_S <= self._clock.now():
                raise InvalidRequest(f"Vector store '{each}' has expired.", param="vector_store_ids")

    async def _nearest(self, tx: Transaction, scope: Scope, query: Query, sets: Sequence[Row]) -> dict[Key, float]:
        if query.vector is None:
            return {}
        best = Nearest(query.vector, CANDIDATES)
        for row in sets:
            if row["embedder"] == query.embedder and row["done"]:
                best.scan(row["id"], await self._vectors(tx, scope, row["id"]))
        return best.found()

    async def _vectors(self, tx: Transaction, scope: Scope, chunk_set_id: int) -> bytes:
        kept = self._cache.get(chunk_set_id)
        if kept is None:
            rows = await tx.rows(_VECTORS, {"set": chunk_set_id, "tenant": scope.principal.tenant})
            kept = b"".join([row["vector"] for row in rows])
            self._cache.put(chunk_set_id, kept)
        return kept


async def _read_postings(
    tx: Transaction, statements: _Statements, known: dict[str, Any], terms: Sequence[str]
) -> dict[str, list[tuple[Key, int, int]]]:
    found: dict[str, list[tuple[Key, int, int]]] = {term: [] for term in terms}
    if terms:
        asked = {f"term{n}": terms[min(n, len(terms) - 1)] for n in range(statements.term_count)}
        for row in await tx.rows(statements.postings, {**known, **asked}):
            found[row["term"]].append(((row["chunk_set_id"], row["number"]), row["tf"], row["length"]))
    return found


async def _load(tx: Transaction, statements: _Statements, known: dict[str, Any]) -> Passage | None:
    row = await one(tx, statements.passage, known)
    if row is None:
        return None
    return Passage(
        row["file_id"],
        row["filename"],
        row["start"],
        row["end"],
        row["text"],
        score=0.0,
        page=row["page"],
        header=row["header"],
        pages=tuple(page for page in pages_of(row["layout"]) if page.start < row["end"] and page.end > row["start"]),
        attributes=_decode_attributes(row["attributes"]),
    )
