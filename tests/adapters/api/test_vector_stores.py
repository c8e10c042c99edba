"""The Vector stores API's shapes pass the SDK's own types; wrong bodies are refused by name."""

from typing import Any

import msgspec
import pytest
from openai.types import VectorStore as SdkStore
from openai.types import VectorStoreDeleted, VectorStoreSearchResponse
from openai.types.vector_stores import (
    FileContentResponse,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
)

from chatbackend.adapters.api import vector_stores as shapes
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.indexing import AUTO, Chunking
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import FileSearch
from chatbackend.domain.uploads import Reason
from chatbackend.domain.vector_stores import Attachment, FileBatch, FileCounts, StoreFile, VectorStore

STATIC = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
STORE = VectorStore("vs_1", "t", "o", "n", 10, 10, "about", {"a": "b"}, 3, FileCounts(1, 2, 3, 4), 99)


def encoded(shown: dict[str, Any]) -> bytes:
    return msgspec.json.encode(shown)


@pytest.mark.parametrize("store", [STORE, VectorStore("vs_1", "t", "o", "", 10, 10)])
def test_a_store_is_a_vector_store_of_the_sdk(store: VectorStore) -> None:
    parsed = SdkStore.model_validate_json(encoded(shapes.store_object(store, now=11.5)), strict=True)
    assert parsed.file_counts.total == store.counts.total
    assert parsed.expires_at == store.expires_at


@pytest.mark.parametrize("chunking", [AUTO, Chunking(800, 400)])
@pytest.mark.parametrize("reason", [None, Reason("encrypted_file", "It has a password.")])
def test_a_file_in_a_store_is_one_of_the_sdk(chunking: Chunking, reason: Reason | None) -> None:
    file = StoreFile(
        "file_1", "vs_1", 10, "failed" if reason else "completed", {"a": 1.5, "b": True, "c": "x"}, chunking, 5, reason
    )
    parsed = VectorStoreFile.model_validate_json(encoded(shapes.store_file_object(file)), strict=True)
    assert parsed.attributes == file.attributes
    assert (parsed.last_error and parsed.last_error.code) == ("invalid_file" if reason else None)


def test_batches_deletions_texts_and_hits_are_those_of_the_sdk() -> None:
    batch = FileBatch("vsfb_1", "vs_1", 10, counts=FileCounts(completed=2))
    assert VectorStoreFileBatch.model_validate(shapes.batch_object(batch), strict=True).status == "completed"
    VectorStoreDeleted.model_validate(shapes.store_deleted("vs_1"), strict=True)
    VectorStoreFileDeleted.model_validate(shapes.store_file_deleted("file_1"), strict=True)
    FileContentResponse.model_validate(shapes.content_page("text")["data"][0], strict=True)
    passage = Passage("file_1", "a.pdf", 3, 7, "text", 0.5, page=2, attributes={"a": "b"})
    [hit] = shapes.search_page(["q"], [passage])["data"]
    parsed = VectorStoreSearchResponse.model_validate(hit, strict=True)
    assert parsed.content[0].model_extra == {"page": 2, "start": 3, "end": 7}


def test_a_create_request_is_read() -> None:
    wanted = shapes.read({"name": "n", "file_ids": ["f1", "f2", "f1"], "chunking_strategy": STATIC}, shapes.CreateStore)
    chunking = Chunking(800, 400)
    assert shapes.attachments(wanted) == [Attachment("f1", {}, chunking), Attachment("f2", {}, chunking)]


def test_a_file_is_attached_with_attributes_and_the_auto_strategy() -> None:
    body = {"file_id": "f1", "attributes": {"year": 1999, "ok": True}, "chunking_strategy": {"type": "auto"}}
    wanted = shapes.read(body, shapes.AttachFile)
    assert wanted.to_domain() == Attachment("f1", {"year": 1999.0, "ok": True}, AUTO)


def test_a_batch_names_files_with_shared_or_with_own_settings() -> None:
    shared = shapes.read(
        {"file_ids": ["f1"], "attributes": {"a": "b"}, "chunking_strategy": STATIC}, shapes.CreateBatch
    )
    assert shapes.attachments(shared) == [Attachment("f1", {"a": "b"}, Chunking(800, 400))]
    own = shapes.read({"files": [{"file_id": "f1", "attributes": {"c": "d"}}, {"file_id": "f2"}]}, shapes.CreateBatch)
    assert shapes.attachments(own) == [Attachment("f1", {"c": "d"}), Attachment("f2")]
    plain = shapes.read({"file_ids": ["f1"]}, shapes.CreateBatch)
    assert shapes.attachments(plain) == [Attachment("f1")]


@pytest.mark.parametrize("body", [{}, {"file_ids": ["f1"], "files": [{"file_id": "f1"}]}])
def test_a_batch_names_its_files_in_one_way(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="either file_ids or files"):
        shapes.attachments(shapes.read(body, shapes.CreateBatch))


BAD: list[tuple[type[msgspec.Struct], dict[str, Any], str | None]] = [
    (shapes.CreateStore, {"name": 5}, "name"),
    (shapes.CreateStore, {"file_ids": "f1"}, "file_ids"),
    (shapes.CreateStore, {"expires_after": {"anchor": "created_at", "days": 1}}, "expires_after"),
    (shapes.CreateStore, {"expires_after": {"anchor": "last_active_at", "days": 0}}, "expires_after"),
    (shapes.CreateStore, {"metadata": {"k": "v" * 513}}, "metadata"),
    (shapes.CreateStore, {"chunking_strategy": {"type": "other"}}, "chunking_strategy"),
    (shapes.AttachFile, {}, "file_id"),
    (shapes.AttachFile, {"file_id": "f", "attributes": {str(n): n for n in range(17)}}, "attributes"),
    (shapes.AttachFile, {"file_id": "f", "attributes": {"k" * 65: 1}}, "attributes"),
    (shapes.AttachFile, {"file_id": "f", "attributes": {"k": "v" * 513}}, "attributes"),
    (shapes.AttachFile, {"file_id": "f", "attributes": {"k": None}}, "attributes"),
    (shapes.AttachFile, {"file_id": "f", "attributes": {"k": [1]}}, "attributes"),
    (shapes.UpdateFile, {}, "attributes"),
    (shapes.Search, {"query": ""}, "query"),
    (shapes.Search, {"query": []}, "query"),
    (shapes.Search, {"query": "x", "max_num_results": 51}, "max_num_results"),
    (shapes.Search, {"query": "x", "ranking_options": {"score_threshold": 2}}, "ranking_options"),
]


@pytest.mark.parametrize(("shape", "body", "param"), BAD)
def test_a_wrong_body_is_refused_by_name(shape: type[msgspec.Struct], body: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shapes.read(body, shape)
    assert caught.value.param == param


def test_an_update_leaves_alone_what_it_does_not_name() -> None:
    assert shapes.change(shapes.UpdateStore())(STORE) == STORE


def test_an_update_sets_what_it_names() -> None:
    body = {"name": "new", "metadata": {"c": "d"}, "expires_after": {"anchor": "last_active_at", "days": 9}}
    changed = shapes.change(shapes.read(body, shapes.UpdateStore))(STORE)
    assert (changed.name, changed.metadata, changed.expires_days) == ("new", {"c": "d"}, 9)


def test_an_update_clears_what_it_names_null() -> None:
    body = {"name": None, "metadata": None, "expires_after": None}
    changed = shapes.change(shapes.read(body, shapes.UpdateStore))(STORE)
    assert (changed.name, changed.metadata, changed.expires_days) == ("", {}, None)


def test_a_search_is_read() -> None:
    plain = shapes.read({"query": "x"}, shapes.Search)
    assert plain.queries == ["x"]
    assert shapes.file_search(plain, "vs_1") == FileSearch(("vs_1",), 10, 0.0, None)
    filters = {"type": "eq", "key": "a", "value": "b"}
    body = {"query": ["x", "y"], "filters": filters, "max_num_results": 3, "ranking_options": {"score_threshold": 0.5}}
    full = shapes.read(body, shapes.Search)
    assert full.queries == ["x", "y"]
    assert shapes.file_search(full, "vs_1") == FileSearch(("vs_1",), 3, 0.5, filters)


def test_a_search_with_a_wrong_filter_is_refused_before_anything_is_searched() -> None:
    with pytest.raises(InvalidRequest) as caught:
        shapes.file_search(shapes.read({"query": "x", "filters": {"type": "like"}}, shapes.Search), "vs_1")
    assert caught.value.param == "filters"
