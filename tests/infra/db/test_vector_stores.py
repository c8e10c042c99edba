"""Vector stores are written and listed by their owner, read by whoever may, and shown as their files are."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.errors import Conflict, InvalidRequest, NotFound
from chatbackend.domain.identity import Principal
from chatbackend.domain.indexing import Chunking
from chatbackend.domain.uploads import Reason
from chatbackend.domain.vector_stores import Attachment, FileBatch, FileCounts, VectorStore
from chatbackend.usecases.ports import Once
from tests.infra.db.file_world import FOREIGN, ME, OTHER_USER, STRANGERS, USER, World, open_world
from tests.support.truths import KINDS

pytestmark = pytest.mark.anyio
STATIC = Chunking(100, 0)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with open_world(tmp_path, request.param) as world:
        yield world


def new(store_id: str, owner: Principal = ME) -> VectorStore:
    return VectorStore(store_id, owner.tenant, owner.owner, "name", 5, 5, "about", {"a": "b"}, 3)


async def test_a_store_is_read_back_as_it_was_added(world: World) -> None:
    made = await world.stores.add(ME, new("vs"), [], None)
    now = int(world.clock.time)
    assert made == replace(new("vs"), created_at=now, last_active_at=now)
    assert await world.stores.get(ME, "vs") == made
    assert await world.stores.get(USER, "vs") == made


async def test_the_same_request_makes_one_store(world: World) -> None:
    once = Once("/v1/vector_stores", "body", key="key")
    await world.stores.add(ME, new("vs1"), [], once)
    assert (await world.stores.add(ME, new("vs2"), [], once)).id == "vs1"
    await world.stores.delete(ME, "vs1")
    with pytest.raises(Conflict):
        await world.stores.add(ME, new("vs3"), [], once)


async def test_counts_and_bytes_are_those_of_the_files(world: World) -> None:
    await world.indexed("a", "word")
    await world.file("b")
    await world.file("c", searchable=False)
    await world.store("vs", "a", "b", "c")
    store = await world.stores.get(ME, "vs")
    assert store.counts == FileCounts(in_progress=1, completed=1, failed=1)
    assert store.usage_bytes == 4
    assert store.status(world.clock.time) == "in_progress"


async def test_only_the_owner_changes_lists_and_deletes_a_store(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", "f")
    for stranger in (USER, *STRANGERS):
        with pytest.raises(NotFound):
            await world.stores.update(stranger, "vs", lambda store: replace(store, name="mine"))
        with pytest.raises(NotFound):
            await world.stores.delete(stranger, "vs")
        with pytest.raises(NotFound):
            await world.store_files.attach(stranger, "vs", Attachment("f"))
        with pytest.raises(NotFound):
            await world.store_files.detach(stranger, "vs", "f")
        with pytest.raises(NotFound):
            await world.store_files.set_attributes(stranger, "vs", "f", {})
        with pytest.raises(NotFound):
            await world.store_files.add_batch(stranger, FileBatch("b", "vs", 0), [])
        assert await world.stores.page(stranger, Window()) == ([], False)
    assert (await world.stores.get(ME, "vs")).name == "vs"


@pytest.mark.parametrize("stranger", [*STRANGERS, OTHER_USER])
async def test_a_users_store_is_read_by_nobody_else(world: World, stranger: Principal) -> None:
    await world.store("vs", owner=USER)
    await world.store_files.add_batch(USER, FileBatch("b", "vs", 0), [])
    with pytest.raises(NotFound):
        await world.stores.get(stranger, "vs")
    with pytest.raises(NotFound):
        await world.store_files.page(stranger, "vs", Window())
    with pytest.raises(NotFound):
        await world.store_files.get(stranger, "vs", "f")
    with pytest.raises(NotFound):
        await world.store_files.batch(stranger, "vs", "b")


async def test_stores_are_listed_in_pages(world: World) -> None:
    for n in range(3):
        await world.store(f"vs{n}")
    found, more = await world.stores.page(ME, Window(2))
    assert ([store.id for store in found], more) == (["vs2", "vs1"], True)


async def test_a_change_is_a_use(world: World) -> None:
    await world.store("vs")
    world.clock.time += 100
    changed = await world.stores.update(ME, "vs", lambda store: replace(store, name="new", metadata={}, expires_days=1))
    assert changed == await world.stores.get(ME, "vs")
    assert (changed.name, changed.last_active_at, changed.expires_days) == ("new", int(world.clock.time), 1)


async def test_a_touch_is_written_about_once_a_minute(world: World) -> None:
    await world.store("vs", days=1)
    await world.store("eternal")
    began = (await world.stores.get(ME, "vs")).last_active_at
    world.clock.time += 30
    await world.stores.touch(ME, ["vs", "eternal"])
    assert (await world.stores.get(ME, "vs")).last_active_at == began
    world.clock.time += 40
    await world.stores.touch(FOREIGN, ["vs"])
    assert (await world.stores.get(ME, "vs")).last_active_at == began
    await world.stores.touch(ME, ["vs", "eternal"])
    assert (await world.stores.get(ME, "vs")).last_active_at == int(world.clock.time)
    assert (await world.stores.get(ME, "eternal")).last_active_at < int(world.clock.time)


async def test_a_file_that_the_caller_may_not_read_is_not_attached(world: World) -> None:
    await world.file("users", USER)
    await world.file("foreign", FOREIGN)
    await world.store("vs")
    for file_id in ("users", "foreign", "nothing"):
        with pytest.raises(NotFound, match=file_id):
            await world.store_files.attach(ME, "vs", Attachment(file_id))
        with pytest.raises(NotFound, match=file_id):
            await world.stores.add(ME, new(f"vs_{file_id}"), [Attachment(file_id)], None)
        with pytest.raises(NotFound):
            await world.stores.get(ME, f"vs_{file_id}")
    assert (await world.stores.get(ME, "vs")).counts == FileCounts()


async def test_a_user_attaches_the_accounts_file_to_a_store_of_its_own(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", "f", owner=USER)
    assert (await world.store_files.get(USER, "vs", "f")).status == "completed"


async def test_a_file_in_a_store_is_in_the_state_of_its_set(world: World) -> None:
    await world.file("f")
    await world.store("vs", Attachment("f", {"a": 1.0}, STATIC))
    found = await world.store_files.get(ME, "vs", "f")
    assert (found.status, found.attributes, found.chunking, found.reason) == ("in_progress", {"a": 1.0}, STATIC, None)
    target = await world.indexing.target(await world.set_of("f", STATIC.key))
    assert target is not None
    await world.indexing.fail(target[0], Reason("no_text", "No text."), whole_file=True)
    found = await world.store_files.get(ME, "vs", "f")
    assert (found.status, found.reason) == ("failed", Reason("no_text", "No text."))


async def test_attaching_again_replaces_attributes_and_strategy(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", Attachment("f", {"a": 1.0}, STATIC))
    first = await world.store_files.get(ME, "vs", "f")
    own = await world.set_of("f", STATIC.key)
    world.clock.time += 5
    left = await world.store_files.attach(ME, "vs", Attachment("f", {"b": "c"}))
    found = await world.store_files.get(ME, "vs", "f")
    assert (found.attributes, found.chunking, found.created_at) == ({"b": "c"}, Chunking(), first.created_at)
    assert [(job.kind, job.subject) for job in left] == [("purge", str(own))]
    assert await world.store_files.attach(ME, "vs", Attachment("f")) == []


async def test_a_cut_of_its_own_goes_with_the_last_store_that_uses_it(world: World) -> None:
    await world.indexed("f", "word")
    for store in ("vs1", "vs2", "vs3"):
        await world.store(store, Attachment("f", {}, STATIC))
    own = await world.set_of("f", STATIC.key)
    assert await world.store_files.detach(ME, "vs1", "f") == []
    assert await world.stores.delete(ME, "vs2") == []
    assert [job.subject for job in await world.stores.delete(ME, "vs3")] == [str(own)]
    assert [row["chunking"] for row in await world.rows("SELECT chunking FROM chunk_sets")] == ["auto"]
    assert await world.jobs.claim() is not None  # the auto set's own: it was completed without a worker
    assert await world.jobs.claim() is None  # that of the cut went with it


async def test_a_detached_file_stays_a_file(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", Attachment("f", {"a": "b"}))
    assert await world.store_files.detach(ME, "vs", "f") == []
    with pytest.raises(NotFound):
        await world.store_files.detach(ME, "vs", "f")
    with pytest.raises(NotFound):
        await world.store_files.get(ME, "vs", "f")
    assert await world.files.get(ME, "f") is not None
    assert "vector_store_file_attributes" not in await world.counts()


async def test_attributes_are_replaced_whole(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", Attachment("f", {"a": "b", "c": True}))
    changed = await world.store_files.set_attributes(ME, "vs", "f", {"d": 2.5})
    assert changed.attributes == {"d": 2.5}
    assert (await world.counts())["vector_store_file_attributes"] == 1
    with pytest.raises(NotFound):
        await world.store_files.set_attributes(ME, "vs", "nothing", {})


async def test_files_of_a_store_are_listed_by_state_and_by_batch(world: World) -> None:
    await world.indexed("a", "word")
    for name in ("b", "c"):
        await world.file(name)
    await world.store("vs", "a")
    world.clock.time += 1
    batch, left = await world.store_files.add_batch(ME, FileBatch("batch", "vs", 0), [Attachment("b"), Attachment("c")])
    assert (batch.counts, batch.status, left) == (FileCounts(in_progress=2), "in_progress", [])

    async def names(status: str | None = None, batch_id: str | None = None) -> list[str]:
        found, _ = await world.store_files.page(ME, "vs", Window(order="asc"), status=status, batch_id=batch_id)
        return [file.file_id for file in found]

    assert await names() == ["a", "b", "c"]
    assert await names("completed") == ["a"]
    assert await names(batch_id="batch") == ["b", "c"]
    await world.fill(await world.set_of("b"), "word")
    assert await names("in_progress", "batch") == ["c"]
    with pytest.raises(NotFound):
        await names(batch_id="nothing")
    with pytest.raises(InvalidRequest):
        await world.store_files.page(ME, "vs", Window(after="nothing"))


async def test_a_cancelled_batch_keeps_what_was_indexed(world: World) -> None:
    await world.indexed("a", "word")
    await world.file("b")
    await world.store("vs")
    await world.store_files.add_batch(ME, FileBatch("batch", "vs", 0), [Attachment("a"), Attachment("b")])
    cancelled = await world.store_files.cancel_batch(ME, "vs", "batch")
    assert (cancelled.status, cancelled.counts) == ("cancelled", FileCounts(completed=1, cancelled=1))
    assert (await world.store_files.get(ME, "vs", "b")).status == "cancelled"
    assert await world.store_files.cancel_batch(ME, "vs", "batch") == cancelled
    with pytest.raises(NotFound):
        await world.store_files.cancel_batch(USER, "vs", "batch")


async def test_a_batch_that_has_ended_cannot_be_cancelled(world: World) -> None:
    await world.indexed("a", "word")
    await world.store("vs")
    await world.store_files.add_batch(ME, FileBatch("batch", "vs", 0), [Attachment("a")])
    assert (await world.store_files.cancel_batch(ME, "vs", "batch")).status == "completed"


async def test_a_batch_with_an_unknown_file_attaches_nothing(world: World) -> None:
    await world.indexed("a", "word")
    await world.store("vs")
    with pytest.raises(NotFound):
        await world.store_files.add_batch(ME, FileBatch("batch", "vs", 0), [Attachment("a"), Attachment("x")])
    assert (await world.stores.get(ME, "vs")).counts.total == 0


async def test_a_deleted_store_leaves_its_files(world: World) -> None:
    await world.indexed("f", "word")
    await world.store("vs", Attachment("f", {"a": "b"}))
    await world.store_files.add_batch(ME, FileBatch("batch", "vs", 0), [])
    assert await world.stores.delete(ME, "vs") == []
    counts = await world.counts()
    assert (counts["files"], counts["chunks"]) == (1, 1)
    assert not counts.keys() & {"vector_stores", "vector_store_files", "vector_store_file_attributes", "file_batches"}
