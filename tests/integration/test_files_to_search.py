"""From an upload to a search hit and back to nothing, with the official SDK on the real parts."""

import json
import struct
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest
from openai.types import FileDeleted, FileObject, VectorStore, VectorStoreDeleted, VectorStoreSearchResponse
from openai.types.shared_params import ComparisonFilter
from openai.types.vector_stores import (
    FileContentResponse,
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
)

from chatbackend.domain.responses import FileSearch
from tests.support.documents import pdf
from tests.support.file_app import FileApp, file_app, principal

pytestmark = pytest.mark.anyio

PAGES = [
    [(14.0, "Harbour rules"), (11.0, "Boats longer than nine metres moor at the northern quay only. " * 12)],
    [(14.0, "Fees"), (11.0, "The mooring fee is forty crowns a day. It is paid at the kiosk before sunset. " * 12)],
    [(14.0, "Lost property"), (11.0, "Umbrellas found on the pier are kept for one year by the master. " * 12)],
]


class Letters:
    """An embedder by the letters of a text."""

    name = "letters"

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        vectors: list[bytes] = []
        for text in texts:
            counts = [text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]
            length = sum(count * count for count in counts) ** 0.5 or 1.0
            vectors.append(struct.pack("<26f", *(count / length for count in counts)))
        return vectors


@pytest.fixture(params=[None, Letters()], ids=["terms", "terms and vectors"])
async def app(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[FileApp, None]:
    async with file_app(tmp_path, embedder=request.param) as app:
        yield app


@pytest.fixture
async def client(app: FileApp) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with app.client() as client:
        yield client


@pytest.fixture
async def raw(app: FileApp) -> AsyncGenerator[httpx2.AsyncClient, None]:
    async with app.raw() as client:
        yield client


async def ready(app: FileApp, client: openai.AsyncOpenAI, name: str, content: bytes) -> FileObject:
    """Upload a file and return it once its indexing has ended."""
    file = await client.files.create(file=(name, content), purpose="assistants")
    await app.settled()
    return FileObject.model_validate((await client.files.retrieve(file.id)).model_dump(), strict=True)


def sent(boundary: str, *parts: tuple[str, str | None, bytes]) -> bytes:
    """Return a multipart body of (name, file name, content)."""
    body = b""
    for name, filename, content in parts:
        shown = f'; filename="{filename}"' if filename is not None else ""
        body += (
            f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + content + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode()


async def post(raw: httpx2.AsyncClient, body: bytes, **headers: str) -> httpx2.Response:
    given = {"content-type": "multipart/form-data; boundary=b", **headers}
    return await raw.post("/v1/files", content=body, headers=given)


async def test_an_uploaded_pdf_is_found_with_its_page_and_exact_place(app: FileApp, client: openai.AsyncOpenAI) -> None:
    file = await ready(app, client, "harbour.pdf", pdf(PAGES))
    assert file.status == "processed", file
    store = await client.vector_stores.create(name="harbour", file_ids=[file.id])
    assert VectorStore.model_validate(store.model_dump(), strict=True).status == "completed"
    found = await client.vector_stores.search(store.id, query="what is the mooring fee?")
    hit = VectorStoreSearchResponse.model_validate(found.data[0].model_dump(), strict=True)
    assert (hit.file_id, hit.filename) == (file.id, "harbour.pdf")
    part = hit.content[0].model_dump()
    assert "forty crowns" in part["text"]
    assert part["page"] == 2
    [content] = (await client.vector_stores.files.content(file.id, vector_store_id=store.id)).data
    FileContentResponse.model_validate(content.model_dump(), strict=True)
    assert content.text is not None
    assert content.text[part["start"] : part["end"]] == part["text"]


async def test_a_deleted_file_is_gone_everywhere_when_the_delete_returns(
    app: FileApp, client: openai.AsyncOpenAI, tmp_path: Path
) -> None:
    file = await ready(app, client, "harbour.pdf", pdf(PAGES))
    store = await client.vector_stores.create(file_ids=[file.id])
    assert (await client.vector_stores.search(store.id, query="mooring fee")).data
    gone = await client.files.delete(file.id)
    FileDeleted.model_validate(gone.model_dump(), strict=True)
    assert (await client.vector_stores.search(store.id, query="mooring fee")).data == []
    for table in ("files", "file_texts", "chunk_sets", "chunks", "postings", "vector_store_files", "jobs"):
        assert await app.count(f"SELECT count(*) AS n FROM {table}") == 0, table  # noqa: S608 - our own names
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)


async def test_a_file_deleted_while_it_is_indexed_ends_with_nothing(app: FileApp, client: openai.AsyncOpenAI) -> None:
    text = "".join(f"Sentence {n} is about sluice {n * 7}. " for n in range(20_000)).encode()
    file = await client.files.create(file=("long.txt", text), purpose="assistants")
    moved = app.changes.event(file.id)
    await moved.wait()
    await client.files.delete(file.id)
    await app.settled()
    for table in ("files", "file_texts", "chunk_sets", "chunks", "postings"):
        assert await app.count(f"SELECT count(*) AS n FROM {table}") == 0, table  # noqa: S608 - our own names


async def test_a_download_is_the_upload_and_runs_nowhere(raw: httpx2.AsyncClient) -> None:
    content = b"<html><body><script>alert(1)</script></body></html>" * 9_000
    made = (await post(raw, sent("b", ("purpose", None, b"user_data"), ("file", "../a.html", content)))).json()
    answer = await raw.get(f"/v1/files/{made['id']}/content")
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''..%2Fa.html"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


async def test_files_are_listed_and_expire(app: FileApp, client: openai.AsyncOpenAI) -> None:
    first = await client.files.create(
        file=("a.txt", b"words"), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    app.clock.time += 1
    second = await client.files.create(file=("b.txt", b"words"), purpose="user_data")
    assert [file.id async for file in client.files.list(limit=1)] == [second.id, first.id]
    assert [file.id async for file in client.files.list(purpose="assistants")] == [first.id]
    assert first.expires_at == first.created_at + 3600
    app.clock.time += 3600
    app.queue.wake()
    await app.settled()
    assert [file.id async for file in client.files.list()] == [second.id]


async def test_a_repeated_upload_makes_one_file_whatever_its_boundary(raw: httpx2.AsyncClient) -> None:
    def body(boundary: str, content: bytes = b"words") -> bytes:
        return sent(boundary, ("purpose", None, b"assistants"), ("file", "a.txt", content))

    async def upload(boundary: str, content: bytes = b"words") -> httpx2.Response:
        headers = {"idempotency-key": "k", "content-type": f"multipart/form-data; boundary={boundary}"}
        return await post(raw, body(boundary, content), **headers)

    first, second, other = await upload("b"), await upload("another"), await upload("b", b"other words")
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert len((await raw.get("/v1/files")).json()["data"]) == 1


REFUSED: list[tuple[tuple[tuple[str, str | None, bytes], ...], int, str | None, str | None]] = [
    ((("purpose", None, b"assistants"),), 400, None, "file"),
    ((("file", "a.txt", b"words"),), 400, None, "purpose"),
    ((("purpose", None, b"fine-tune"), ("file", "a.txt", b"words")), 400, None, "purpose"),
    ((("purpose", None, b"assistants"), ("file", "a.exe", b"MZ")), 400, "unsupported_file", "file"),
    ((("purpose", None, b"assistants"), ("file", "a.pdf", b"words")), 422, "type_mismatch", "file"),
    ((("purpose", None, b"assistants"), ("file", "a.txt", b"")), 422, "empty_file", "file"),
    ((("purpose", None, b"assistants"), ("other", "a.txt", b"words")), 400, None, "file"),
    ((("file", "a.txt", b"words"), ("file", "b.txt", b"words")), 400, None, "file"),
    ((("purpose", None, b"x" * 70_000), ("file", "a.txt", b"words")), 413, "request_too_large", None),
    ((("purpose", None, b"assistants"), ("expires_after[seconds]", None, b"5"), ("file", "a.txt", b"x")), 400, None,
     "expires_after"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "status", "code", "param"), REFUSED)
async def test_a_refused_upload_leaves_nothing(
    app: FileApp,
    raw: httpx2.AsyncClient,
    tmp_path: Path,
    *,
    parts: tuple[tuple[str, str | None, bytes], ...],
    status: int,
    code: str | None,
    param: str | None,
) -> None:
    answer = await post(raw, sent("b", *parts))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert await app.count("SELECT count(*) AS n FROM files") == 0
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_a_body_that_is_no_form_or_is_cut_is_refused(raw: httpx2.AsyncClient, tmp_path: Path) -> None:
    whole = sent("b", ("purpose", None, b"assistants"), ("file", "a.txt", b"words" * 10_000))
    for body, kind in ((b"{}", "application/json"), (whole, "multipart/form-data"), (whole[:-20], None)):
        answer = await post(raw, body, **({"content-type": kind} if kind else {}))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_multipart")
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


async def test_a_file_over_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with file_app(tmp_path, max_file_bytes=100_000) as app, app.raw() as raw:
        for size in (100_001, 3 * 2**20):
            answer = await post(raw, sent("b", ("purpose", None, b"assistants"), ("file", "a.txt", b"x" * size)))
            assert answer.status_code == 413
        fits = await post(raw, sent("b", ("purpose", None, b"assistants"), ("file", "a.txt", b"x" * 100_000)))
        assert fits.status_code == 200
        await app.settled()


async def test_a_file_that_cannot_be_read_fails_by_type_with_its_reason(
    app: FileApp, client: openai.AsyncOpenAI
) -> None:
    file = await ready(app, client, "secret.pdf", pdf(PAGES, password="x"))
    assert (file.status, file.model_extra and file.model_extra["chatbackend_stage"]) == ("error", "failed")
    assert file.model_extra is not None
    assert file.model_extra["chatbackend_reason"]["code"] == "encrypted_file"
    store = await client.vector_stores.create(file_ids=[file.id])
    attached = await client.vector_stores.files.retrieve(file.id, vector_store_id=store.id)
    VectorStoreFile.model_validate(attached.model_dump(), strict=True)
    assert (attached.status, attached.last_error and attached.last_error.code) == ("failed", "invalid_file")
    assert await app.count("SELECT count(*) AS n FROM chunks") == 0
    with pytest.raises(openai.ConflictError):
        await client.vector_stores.files.content(file.id, vector_store_id=store.id)


async def test_the_whole_life_of_a_store(app: FileApp, client: openai.AsyncOpenAI) -> None:
    files = [await ready(app, client, f"{n}.txt", f"Sluice number {n} opens at dawn.".encode()) for n in range(3)]
    store = await client.vector_stores.create(name="a", expires_after={"anchor": "last_active_at", "days": 2})
    await client.vector_stores.files.create(store.id, file_id=files[0].id, attributes={"n": 0})
    batch = await client.vector_stores.file_batches.create(
        store.id, files=[{"file_id": each.id, "attributes": {"n": n}} for n, each in enumerate(files[1:], 1)]
    )
    VectorStoreFileBatch.model_validate(batch.model_dump(), strict=True)
    assert (batch.status, batch.file_counts.completed) == ("completed", 2)
    assert await client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id) == batch
    assert await client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id) == batch
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, limit=1)
    assert {each.id async for each in listed} == {files[1].id, files[2].id}
    every = client.vector_stores.files.list(store.id, limit=2, filter="completed")
    assert {each.id async for each in every} == {each.id for each in files}

    async def found(
        filters: ComparisonFilter | openai.Omit = openai.omit, max_num_results: int = 10, score_threshold: float = 0.0
    ) -> set[str]:
        page = await client.vector_stores.search(
            store.id,
            query="sluice",
            filters=filters,
            max_num_results=max_num_results,
            ranking_options={"score_threshold": score_threshold},
        )
        return {hit.filename for hit in page.data}

    assert await found() == {"0.txt", "1.txt", "2.txt"}
    assert await found(filters={"type": "gte", "key": "n", "value": 1}) == {"1.txt", "2.txt"}
    assert len(await found(max_num_results=1)) == 1
    assert await found(score_threshold=1.0) == set()
    await client.vector_stores.files.update(files[0].id, vector_store_id=store.id, attributes={"n": 9})
    assert await found(filters={"type": "eq", "key": "n", "value": 9}) == {"0.txt"}
    detached = await client.vector_stores.files.delete(files[0].id, vector_store_id=store.id)
    VectorStoreFileDeleted.model_validate(detached.model_dump(), strict=True)
    assert await found() == {"1.txt", "2.txt"}

    renamed = await client.vector_stores.update(store.id, name="b", expires_after=None, metadata={"k": "v"})
    assert (renamed.name, renamed.expires_after, renamed.metadata) == ("b", None, {"k": "v"})
    assert [each.id async for each in client.vector_stores.list()] == [store.id]
    assert await client.vector_stores.retrieve(store.id) == renamed
    gone = await client.vector_stores.delete(store.id)
    VectorStoreDeleted.model_validate(gone.model_dump(), strict=True)
    with pytest.raises(openai.NotFoundError):
        await found()
    assert (await client.files.retrieve(files[0].id)).status == "processed"


async def test_a_strategy_of_its_own_is_cut_when_it_is_attached(app: FileApp, client: openai.AsyncOpenAI) -> None:
    text = "".join(f"Sluice number {n} opens at dawn. " for n in range(400)).encode()
    file = await ready(app, client, "a.txt", text)
    store = await client.vector_stores.create()
    strategy: Any = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 20}}
    made = await client.vector_stores.files.create(store.id, file_id=file.id, chunking_strategy=strategy)
    assert made.chunking_strategy is not None
    assert made.chunking_strategy.model_dump() == strategy
    await app.settled()
    assert (await client.vector_stores.files.retrieve(file.id, vector_store_id=store.id)).status == "completed"
    found = await client.vector_stores.search(store.id, query="sluice number 77")
    assert "number 77 " in found.data[0].content[0].text
    before = await app.count("SELECT count(*) AS n FROM chunks")
    await client.vector_stores.delete(store.id)
    assert await app.count("SELECT count(*) AS n FROM chunks") < before
    assert await app.count("SELECT count(*) AS n FROM chunk_sets") == 1


async def test_a_store_is_made_once_for_an_idempotency_key(client: openai.AsyncOpenAI) -> None:
    headers = {"idempotency-key": "k"}
    first = await client.vector_stores.create(name="a", extra_headers=headers)
    assert (await client.vector_stores.create(name="a", extra_headers=headers)).id == first.id
    with pytest.raises(openai.UnprocessableEntityError):
        await client.vector_stores.create(name="b", extra_headers=headers)


async def test_the_events_of_a_file_end_with_its_end(raw: httpx2.AsyncClient) -> None:
    made = (await post(raw, sent("b", ("purpose", None, b"assistants"), ("file", "a.txt", b"words" * 999)))).json()
    with anyio.fail_after(20):
        answer = await raw.get(f"/v1/files/{made['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert all(FileObject.model_validate(event, strict=True) for event in events)
    percents = [event["chatbackend_percent"] for event in events]
    assert percents == sorted(percents)
    assert (events[-1]["status"], events[-1]["chatbackend_percent"]) == ("processed", 100)


async def test_a_request_that_names_a_file_gets_its_text_as_soon_as_it_is_read(
    app: FileApp, client: openai.AsyncOpenAI
) -> None:
    file = await client.files.create(file=("a.md", b"# Title\n\nWords."), purpose="user_data")
    name, text = await app.attachments.text(principal(), file.id)
    assert (name, "Words." in text) == ("a.md", True)
    await app.settled()
    _, url = await app.attachments.data_url(principal(), file.id)
    assert url.startswith("data:text/markdown;base64,")


async def test_a_users_search_reads_the_accounts_store(app: FileApp, client: openai.AsyncOpenAI) -> None:
    file = await ready(app, client, "a.txt", b"The sluice opens at dawn.")
    store = await client.vector_stores.create(file_ids=[file.id])
    async with app.client(user="ann") as ann:
        assert len((await ann.vector_stores.search(store.id, query="sluice")).data) == 1
        assert [each.id async for each in ann.files.list()] == []
        with pytest.raises(openai.NotFoundError):
            await ann.files.delete(file.id)
        own = await ann.vector_stores.create(file_ids=[file.id])
    with pytest.raises(openai.NotFoundError):
        await client.vector_stores.search(own.id, query="sluice")


async def test_the_search_port_of_responses_finds_the_same(app: FileApp, client: openai.AsyncOpenAI) -> None:
    file = await ready(app, client, "a.txt", b"The sluice opens at dawn.")
    store = await client.vector_stores.create(file_ids=[file.id])
    [found] = await app.search(principal(), "when does the sluice open?", FileSearch((store.id,)))
    assert (found.file_id, found.text) == (file.id, "The sluice opens at dawn.")


async def test_wrong_parameters_are_named(raw: httpx2.AsyncClient) -> None:
    made = (await raw.post("/v1/vector_stores", json={})).json()["id"]
    cases = [
        ("GET", "/v1/files?limit=0", None, 400, "limit"),
        ("GET", "/v1/files?after=file_x", None, 400, "after"),
        ("GET", f"/v1/vector_stores/{made}/files?filter=odd", None, 400, "filter"),
        ("POST", f"/v1/vector_stores/{made}/files", {"file_id": "file_x"}, 404, "file_id"),
        ("GET", f"/v1/vector_stores/{made}/files/file_x", None, 404, "file_id"),
        ("GET", "/v1/vector_stores/vs_x", None, 404, "vector_store_id"),
        ("POST", "/v1/vector_stores/vs_x/search", {"query": "x"}, 404, "vector_store_id"),
        ("POST", f"/v1/vector_stores/{made}/search", {"query": "x", "filters": {"type": "no"}}, 400, "filters"),
        ("POST", "/v1/vector_stores", {"file_ids": ["file_x"]}, 404, "file_id"),
        ("GET", "/v1/files/file_x/content", None, 404, "file_id"),
        ("GET", "/v1/files/file_x/events", None, 404, "file_id"),
    ]
    for method, path, body, status, param in cases:
        answer = await raw.request(method, path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), path
