"""Chunk sets are written batch by batch, searchable only when completed, and cleared away in bounded steps."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatbackend.domain.documents import Chunk, Document, Heading, Page
from chatbackend.domain.indexing import Chunking, ChunkSet, IndexedChunk
from chatbackend.domain.uploads import File, Reason
from chatbackend.domain.vector_stores import Attachment
from chatbackend.infra.db import chunk_sets
from tests.infra.db.file_world import ME, World, open_world
from tests.support.truths import KINDS

pytestmark = pytest.mark.anyio
WHY = Reason("encrypted_file", "It has a password.")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with open_world(tmp_path, request.param) as world:
        yield world


def chunks(first: int, count: int = 2) -> list[IndexedChunk]:
    return [
        IndexedChunk(Chunk(n, n, n + 1, "x", "", None), {"x": 1, f"t{n}": 2}, b"1234")
        for n in range(first, first + count)
    ]


async def target(world: World, file_id: str = "f", chunking: str = "auto") -> tuple[ChunkSet, File]:
    found = await world.indexing.target(await world.set_of(file_id, chunking))
    assert found is not None
    return found


async def test_a_document_is_read_back_as_it_was_kept(world: World) -> None:
    file = await world.file("f")
    document = Document("Über uns\n\U0001f600", (Page(1, 0, 10),), (Heading(1, 0, 8),), "Title")
    assert await world.indexing.document(file) is None
    assert await world.indexing.save_document(file, document)
    assert await world.indexing.save_document(file, document)
    assert await world.indexing.document(file) == document


async def test_batches_add_up(world: World) -> None:
    await world.file("f")
    made, _ = await target(world)
    assert await world.indexing.begin(made, fingerprint="mark", embedder="e")
    assert await world.indexing.add(made, chunks(0), percent=40)
    assert await world.indexing.add(made, chunks(2), percent=60)
    found, file = await target(world)
    assert (found.done, found.fingerprint, found.embedder, found.usage_bytes) == (4, "mark", "e", 4 * 5)
    assert (file.stage, file.percent) == ("indexing", 60)
    assert (await world.rows("SELECT length FROM chunk_sets"))[0]["length"] == 12
    assert await world.counts() == {"files": 1, "chunk_sets": 1, "chunks": 4, "postings": 8}


@pytest.mark.parametrize("first", [0, 1, 3])
async def test_a_batch_that_does_not_go_on_where_the_set_stands_is_refused(world: World, first: int) -> None:
    await world.file("f")
    made, _ = await target(world)
    await world.indexing.begin(made, fingerprint="mark", embedder=None)
    assert await world.indexing.add(made, chunks(0), percent=40)
    assert not await world.indexing.add(made, chunks(first), percent=60)
    assert (await world.counts())["chunks"] == 2


async def test_a_completed_set_is_never_written_again(world: World) -> None:
    await world.indexed("f", "words")
    made, file = await target(world)
    assert (made.status, file.stage, file.percent, file.status) == ("completed", "ready", 100, "processed")
    assert not await world.indexing.begin(made, fingerprint="other", embedder=None)
    assert not await world.indexing.add(made, chunks(1), percent=60)
    await world.indexing.fail(made, WHY, whole_file=False)
    await world.indexing.progress(file, "parsing", 1)
    assert await target(world) == (made, file)


async def test_a_file_that_cannot_be_read_fails_with_all_its_sets(world: World) -> None:
    await world.file("f")
    await world.store("vs", Attachment("f", {}, Chunking(100, 0)))
    made, _ = await target(world, chunking="static:100:0")
    await world.indexing.fail(made, WHY, whole_file=True)
    for chunking in ("auto", "static:100:0"):
        found, file = await target(world, chunking=chunking)
        assert (found.status, found.reason) == ("failed", WHY)
        assert (file.stage, file.reason, file.status) == ("failed", WHY, "error")


async def test_a_set_that_was_made_later_fails_for_the_same_reason(world: World) -> None:
    await world.file("f")
    made, _ = await target(world)
    await world.indexing.fail(made, WHY, whole_file=True)
    await world.store("vs", Attachment("f", {}, Chunking(100, 0)))
    assert (await target(world, chunking="static:100:0"))[0].reason == WHY


async def test_a_failure_of_ours_leaves_other_sets_a_chance(world: World) -> None:
    await world.file("f")
    made, _ = await target(world)
    await world.indexing.fail(made, Reason("server_error", "We failed."), whole_file=False)
    assert (await target(world))[1].status == "error"
    await world.store("vs", Attachment("f", {}, Chunking(100, 0)))
    other, _ = await target(world, chunking="static:100:0")
    assert other.status == "in_progress"
    await world.indexing.fail(other, Reason("server_error", "We failed."), whole_file=False)
    assert (await target(world, chunking="static:100:0"))[0].status == "failed"


async def test_a_set_that_is_begun_again_starts_from_nothing(world: World) -> None:
    await world.file("f")
    made, _ = await target(world)
    await world.indexing.begin(made, fingerprint="old", embedder="e")
    await world.indexing.add(made, chunks(0), percent=40)
    await world.indexing.purge(made.id)
    await world.indexing.begin(made, fingerprint="new", embedder=None)
    assert await world.indexing.add(made, chunks(0, 3), percent=40)
    found, _ = await target(world)
    assert (found.done, found.fingerprint, found.embedder) == (3, "new", None)
    assert (await world.counts())["chunks"] == 3


async def test_a_large_set_is_cleared_away_in_bounded_steps_and_nothing_else_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file_id in ("f", "g"):
        await world.file(file_id)
        made, _ = await target(world, file_id)
        await world.indexing.begin(made, fingerprint="mark", embedder=None)
        await world.indexing.add(made, chunks(0, chunk_sets.PURGE_CHUNKS * 2 + 7), percent=40)
    before = await world.counts()
    await world.indexing.purge(await world.set_of("f"))
    after = await world.counts()
    assert (after["chunks"], after["postings"]) == (before["chunks"] // 2, before["postings"] // 2)
    rows = await world.rows("SELECT DISTINCT chunk_set_id AS id FROM postings")
    assert [row["id"] for row in rows] == [await world.set_of("g")]
    await world.indexing.purge(await world.set_of("f"))


async def test_an_id_of_a_set_is_never_used_again(world: World) -> None:
    await world.file("f")
    first = await world.set_of("f")
    await world.files.delete(ME, "f")
    await world.file("f")
    assert await world.set_of("f") > first
