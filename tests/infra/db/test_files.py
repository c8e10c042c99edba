"""Files are written and listed by their owner, read by whoever may, and deleted whole."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.documents import Document
from chatbackend.domain.errors import Conflict, InvalidRequest, Unprocessable
from chatbackend.usecases.ports import Once
from tests.infra.db.file_world import FOREIGN, ME, OTHER_USER, STRANGERS, USER, World, open_world
from tests.support.truths import KINDS

pytestmark = pytest.mark.anyio
ONCE = Once("/v1/files", "body", key="key")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with open_world(tmp_path, request.param) as world:
        yield world


async def test_a_file_is_read_back_as_it_was_added(world: World) -> None:
    file = replace(await world.file("f"), expires_at=1_900_000_000)
    await world.files.delete(ME, "f")
    assert await world.files.add(ME, file, None) == file
    assert await world.files.get(ME, "f") == file


async def test_the_accounts_files_are_read_by_its_users_and_nobody_else(world: World) -> None:
    await world.indexed("f", "words")
    assert await world.files.get(USER, "f") is not None
    assert await world.files.text(USER, "f") == "words"
    for stranger in STRANGERS:
        assert await world.files.get(stranger, "f") is None
        assert await world.files.text(stranger, "f") is None


async def test_a_users_files_are_read_by_that_user_alone(world: World) -> None:
    await world.indexed("f", "words", owner=USER)
    assert await world.files.get(USER, "f") is not None
    for stranger in (ME, OTHER_USER, *STRANGERS):
        assert await world.files.get(stranger, "f") is None
        assert await world.files.text(stranger, "f") is None


async def test_a_caller_lists_and_deletes_only_files_of_its_own(world: World) -> None:
    await world.file("f")
    for stranger in (USER, *STRANGERS):
        assert await world.files.page(stranger, Window()) == ([], False)
        assert await world.files.delete(stranger, "f") is None
    assert await world.files.get(ME, "f") is not None


async def ids(world: World, window: Window, purpose: str | None = None) -> tuple[list[str], bool]:
    found, more = await world.files.page(ME, window, purpose)
    return [file.id for file in found], more


async def test_files_are_listed_in_pages_both_ways(world: World) -> None:
    for n in range(5):
        await world.file(f"f{n}")
    assert await ids(world, Window(2)) == (["f4", "f3"], True)
    assert await ids(world, Window(2, after="f3")) == (["f2", "f1"], True)
    assert await ids(world, Window(2, after="f1")) == (["f0"], False)
    assert await ids(world, Window(2, before="f1")) == (["f3", "f2"], True)
    assert await ids(world, Window(2, before="f3")) == (["f4"], False)
    assert await ids(world, Window(3, order="asc", after="f1")) == (["f2", "f3", "f4"], False)
    assert await ids(world, Window(3, order="asc", before="f2")) == (["f0", "f1"], False)


async def test_files_of_the_same_moment_are_listed_each_once(world: World) -> None:
    for n in range(6):
        await world.file(f"f{n}")
        world.clock.time -= 1
    seen: list[str] = []
    after: str | None = None
    while True:
        page, more = await ids(world, Window(2, after=after))
        seen += page
        after = page[-1]
        if not more:
            break
    assert sorted(seen) == [f"f{n}" for n in range(6)]


async def test_a_cursor_that_is_not_in_the_list_is_refused(world: World) -> None:
    await world.file("foreign", FOREIGN)
    for window in (Window(after="foreign"), Window(before="nothing")):
        with pytest.raises(InvalidRequest, match="No item with id"):
            await ids(world, window)
    with pytest.raises(InvalidRequest, match="together"):
        await ids(world, Window(after="a", before="b"))


async def test_files_are_listed_by_purpose(world: World) -> None:
    file = await world.file("f1")
    await world.files.add(ME, replace(file, id="f2", blob_key="b2", purpose="vision"), None)
    assert await ids(world, Window(), "vision") == (["f2"], False)
    assert await ids(world, Window(), "user_data") == ([], False)


async def test_the_same_request_makes_one_file(world: World) -> None:
    file = await world.file("f0")
    first = await world.files.add(ME, replace(file, id="f1", blob_key="b1"), ONCE)
    again = await world.files.add(ME, replace(file, id="f2", blob_key="b2"), ONCE)
    assert (first.id, again.id) == ("f1", "f1")
    assert await world.files.get(ME, "f2") is None
    with pytest.raises(Unprocessable):
        await world.files.add(ME, replace(file, id="f3"), replace(ONCE, body_hash="other"))
    other = await world.files.add(USER, replace(file, id="f4", owner=USER.owner), ONCE)
    assert other.id == "f4"


async def test_a_repeat_after_the_delete_is_told_that_the_file_is_gone(world: World) -> None:
    file = await world.file("f0")
    await world.files.add(ME, replace(file, id="f1", blob_key="b1"), ONCE)
    await world.files.delete(ME, "f1")
    with pytest.raises(Conflict) as caught:
        await world.files.add(ME, replace(file, id="f2"), ONCE)
    assert caught.value.code == "idempotent_result_gone"


async def test_a_file_and_its_job_come_together(world: World) -> None:
    await world.file("f")
    job = await world.jobs.claim()
    assert job is not None
    assert (job.kind, job.subject, job.tenant, job.owner) == ("index", str(await world.set_of("f")), "t", "acct")
    assert await world.jobs.claim() is None


async def test_an_image_has_no_job(world: World) -> None:
    await world.file("f", searchable=False)
    assert await world.jobs.claim() is None
    assert (await world.rows("SELECT status, reason_code FROM chunk_sets"))[0]["reason_code"] == "unsupported_file"


async def test_a_file_that_expires_has_a_job_for_that_time(world: World) -> None:
    file = await world.file("f", searchable=False)
    await world.files.add(ME, replace(file, id="f2", expires_at=int(world.clock.time) + 3600), None)
    assert await world.jobs.claim() is None
    world.clock.time += 3600
    job = await world.jobs.claim()
    assert job is not None
    assert (job.kind, job.subject) == ("expire", "f2")


async def test_a_delete_leaves_nothing_but_the_jobs_that_clear_away(world: World) -> None:
    made = await world.indexed("f", "words", "more words", vectors=[b"12345678", b"12345678"])
    await world.store("vs", "f")
    left = await world.files.delete(ME, "f")
    assert left is not None
    assert [(job.kind, job.subject) for job in left] == [("purge", str(made)), ("erase", "blob_f")]
    await world.indexing.purge(made)
    assert await world.counts() == {"vector_stores": 1}
    assert await world.jobs.claim() is None  # the deleter clears away by itself
    world.clock.time += 3600
    again = await world.jobs.claim()
    assert again is not None
    assert again.kind == "purge"


async def test_a_delete_takes_the_job_of_a_file_that_waits(world: World) -> None:
    await world.file("f")
    await world.files.delete(ME, "f")
    assert await world.jobs.claim() is None


async def test_a_worker_that_lost_its_file_writes_nothing(world: World) -> None:
    file = await world.file("f")
    made = await world.set_of("f")
    target = await world.indexing.target(made)
    assert target is not None
    await world.files.delete(ME, "f")
    assert not await world.indexing.save_document(file, Document("words"))
    assert not await world.indexing.begin(target[0], fingerprint="f", embedder=None)
    await world.indexing.progress(file, "parsing", 5)
    await world.indexing.complete(target[0])
    assert await world.counts() == {}


async def test_contents_are_known_while_a_file_or_a_job_names_them(world: World) -> None:
    await world.file("f")
    assert await world.files.known_blobs(["blob_f", "blob_stray"]) == {"blob_f"}
    await world.files.delete(ME, "f")
    assert await world.files.known_blobs(["blob_f", "blob_stray"]) == {"blob_f"}
