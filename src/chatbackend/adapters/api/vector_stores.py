"""The Vector stores API's shapes: requests read, objects written.

Source: the `openai` package, types/vector_store*.py and types/vector_stores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from chatbackend.adapters.api.checking import checked
from chatbackend.adapters.api.responses import Metadata, RankingOptions
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.filters import parse_filter
from chatbackend.domain.indexing import AUTO, Chunking, last_error_code, static
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import FileSearch
from chatbackend.domain.vector_stores import Attachment, FileBatch, FileCounts, StoreFile, VectorStore

T = TypeVar("T", bound=Struct)
Value = Annotated[str, Meta(max_length=512)] | float | bool
AttributeMap = Annotated[dict[Annotated[str, Meta(max_length=64)], Value], Meta(max_length=16)]
Name = Annotated[str, Meta(max_length=256)]
FileId = Annotated[str, Meta(min_length=1, max_length=64)]
Query = Annotated[str, Meta(min_length=1, max_length=32_768)]


class ExpiresAfter(Struct):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class Auto(Struct, tag_field="type", tag="auto"):
    """Our own structural cut."""

    def to_domain(self) -> Chunking:
        return AUTO


class StaticSizes(Struct):
    max_chunk_size_tokens: int
    chunk_overlap_tokens: int


class Static(Struct, tag_field="type", tag="static"):
    static: StaticSizes

    def to_domain(self) -> Chunking:
        return static(self.static.max_chunk_size_tokens, self.static.chunk_overlap_tokens)


Strategy = Auto | Static


class CreateStore(Struct):
    """The body of `POST /v1/vector_stores`."""

    name: Name | None = None
    description: Annotated[str, Meta(max_length=4096)] | None = None
    file_ids: Annotated[list[FileId], Meta(max_length=500)] = []
    chunking_strategy: Strategy | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Annotated[Metadata, Meta(max_length=16)] | None = None


class UpdateStore(Struct):
    """The body of `POST /v1/vector_stores/{id}`: what is absent stays, null clears."""

    name: Name | UnsetType | None = UNSET
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: Annotated[Metadata, Meta(max_length=16)] | UnsetType | None = UNSET


class AttachFile(Struct):
    """The body of `POST /v1/vector_stores/{id}/files`, and one of a batch's `files`."""

    file_id: FileId
    attributes: AttributeMap | None = None
    chunking_strategy: Strategy | None = None

    def to_domain(self) -> Attachment:
        return Attachment(self.file_id, self.attributes or {}, _chunking(self.chunking_strategy))


class UpdateFile(Struct):
    """The body of `POST /v1/vector_stores/{id}/files/{file_id}`."""

    attributes: AttributeMap | None


class CreateBatch(Struct):
    """The body of `POST /v1/vector_stores/{id}/file_batches`: one of `file_ids` and `files`."""

    file_ids: Annotated[list[FileId], Meta(max_length=2000)] | None = None
    files: Annotated[list[AttachFile], Meta(max_length=2000)] | None = None
    attributes: AttributeMap | None = None
    chunking_strategy: Strategy | None = None


class Search(Struct):
    """The body of `POST /v1/vector_stores/{id}/search`. `rewrite_query` and `ranker` change nothing here."""

    query: Query | Annotated[list[Query], Meta(min_length=1, max_length=16)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: bool = False

    @property
    def queries(self) -> list[str]:
        """What is searched for."""
        return [self.query] if isinstance(self.query, str) else self.query


def read(body: Mapping[str, Any], shape: type[T]) -> T:
    """Check a decoded request body. Raises: InvalidRequest naming the field."""
    return checked(body, shape)


def attachments(request: CreateStore | CreateBatch) -> list[Attachment]:
    """Return the files that a request names, each once. Raises: InvalidRequest."""
    if isinstance(request, CreateBatch) and (request.file_ids is None) == (request.files is None):
        raise InvalidRequest("Send either file_ids or files.", param="file_ids")
    if isinstance(request, CreateBatch) and request.files is not None:
        found = [each.to_domain() for each in request.files]
    else:
        attributes = request.attributes or {} if isinstance(request, CreateBatch) else {}
        chunking = _chunking(request.chunking_strategy)
        found = [Attachment(file_id, attributes, chunking) for file_id in request.file_ids or ()]
    return list({each.file_id: each for each in found}.values())


def change(request: UpdateStore) -> Callable[[VectorStore], VectorStore]:
    """Return what an update does to a store."""

    def changed(store: VectorStore) -> VectorStore:
        if not isinstance(request.name, UnsetType):
            store = replace(store, name=request.name or "")
        if not isinstance(request.metadata, UnsetType):
            store = replace(store, metadata=dict(request.metadata or {}))
        if not isinstance(request.expires_after, UnsetType):
            store = replace(store, expires_days=request.expires_after.days if request.expires_after else None)
        return store

    return changed


def file_search(request: Search, store_id: str) -> FileSearch:
    """Return what is searched. Raises: InvalidRequest for a filter that is none."""
    parse_filter(request.filters)
    threshold = request.ranking_options.score_threshold if request.ranking_options else None
    return FileSearch((store_id,), request.max_num_results, threshold or 0.0, request.filters)


def store_object(store: VectorStore, *, now: float) -> dict[str, Any]:
    """Return the vector store object as of second `now`."""
    days = store.expires_days
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": store.created_at,
        "name": store.name,
        "description": store.description,
        "usage_bytes": store.usage_bytes,
        "file_counts": _counts(store.counts),
        "status": store.status(now),
        "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
        "expires_at": store.expires_at,
        "last_active_at": store.last_active_at,
        "metadata": store.metadata,
    }


def store_deleted(store_id: str) -> dict[str, Any]:
    """Return what is said of a deleted store."""
    return {"id": store_id, "object": "vector_store.deleted", "deleted": True}


def store_file_object(file: StoreFile) -> dict[str, Any]:
    """Return the object of a file in a store; our exact reason stands beside the API's coarse one."""
    reason = file.reason
    error = reason and {
        "code": last_error_code(reason),
        "message": reason.message,
        "chatbackend_code": reason.code,
    }
    return {
        "id": file.file_id,
        "object": "vector_store.file",
        "created_at": file.created_at,
        "vector_store_id": file.vector_store_id,
        "status": file.status,
        "last_error": error,
        "usage_bytes": file.usage_bytes,
        "attributes": file.attributes,
        "chunking_strategy": _shown_chunking(file.chunking),
    }


def store_file_deleted(file_id: str) -> dict[str, Any]:
    """Return what is said of a detached file."""
    return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}


def batch_object(batch: FileBatch) -> dict[str, Any]:
    """Return the object of a batch of files."""
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": batch.created_at,
        "vector_store_id": batch.vector_store_id,
        "status": batch.status,
        "file_counts": _counts(batch.counts),
    }


def content_page(text: str) -> dict[str, Any]:
    """Return a file's text: one part, so that the offsets of citations count in it."""
    data = [{"type": "text", "text": text}]
    return {"object": "vector_store.file_content.page", "data": data, "has_more": False, "next_page": None}


def search_page(queries: Sequence[str], found: Sequence[Passage]) -> dict[str, Any]:
    """Return search results; a content part says where in the file's text it stands."""
    return {
        "object": "vector_store.search_results.page",
        "search_query": queries,
        "data": [_hit(each) for each in found],
        "has_more": False,
        "next_page": None,
    }


def _hit(passage: Passage) -> dict[str, Any]:
    part = {
        "type": "text",
        "text": passage.text,
        "page": passage.page,
        "start": passage.start,
        "end": passage.end,
    }
    return {
        "file_id": passage.file_id,
        "filename": passage.filename,
        "score": passage.score,
        "attributes": passage.attributes,
        "content": [part],
    }


def _counts(counts: FileCounts) -> dict[str, int]:
    return {
        "in_progress": counts.in_progress,
        "completed": counts.completed,
        "failed": counts.failed,
        "cancelled": counts.cancelled,
        "total": counts.total,
    }


def _chunking(strategy: Strategy | None) -> Chunking:
    return AUTO if strategy is None else strategy.to_domain()


def _shown_chunking(chunking: Chunking) -> dict[str, Any]:
    """Return the strategy; ours is none of the API's, which has the word `other` for that."""
    if chunking.max_tokens is None:
        return {"type": "other"}
    sizes = {"max_chunk_size_tokens": chunking.max_tokens, "chunk_overlap_tokens": chunking.overlap_tokens}
    return {"type": "static", "static": sizes}
