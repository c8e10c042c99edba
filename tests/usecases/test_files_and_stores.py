"""Deleting, clearing away, doing jobs and managing stores: each step is told to whoever waits for it."""

import pytest

from chatbackend.domain.documents import Document
from chatbackend.domain.errors import NotFound
from chatbackend.domain.jobs import Job, JobKind
from chatbackend.domain.vector_stores import Attachment, FileBatch, VectorStore
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.delete_file import DeleteFile
from chatbackend.usecases.do_job import DoJob
from chatbackend.usecases.index_file import IndexFile
from chatbackend.usecases.manage_vector_stores import ManageVectorStores
from chatbackend.usecases.sweep_blobs import SLICE, SweepBlobs
from tests.support.file_fakes import (
    ERASE,
    FOREIGN,
    ME,
    PURGE,
    FakeBlobs,
    FakeFiles,
    FakeIndexing,
    FakeJobs,
    FakeParser,
    FakePassages,
    FakeStoreFiles,
    FakeStores,
    stored,
)

pytestmark = pytest.mark.anyio


class World:
    """One file, and everything that works on it."""

    def __init__(self) -> None:
        self.files = FakeFiles(stored())
        self.blobs = FakeBlobs({"blob_1": b"hello"})
        self.indexing = FakeIndexing()
        self.passages = FakePassages()
        self.jobs = FakeJobs()
        self.changes = Wakeups()
        self.store_files = FakeStoreFiles()
        self.stores = FakeStores()
        self.clean_up = CleanUp(self.indexing, self.passages, self.blobs, self.jobs)
        self.delete = DeleteFile(self.files, self.clean_up, self.changes)
        self.manage = ManageVectorStores(self.stores, self.store_files, self.clean_up, self.jobs)
        index = IndexFile(
            self.indexing, self.blobs, FakeParser(Document("Words.")), embedder=None, changes=self.changes
        )
        self.work = DoJob(index, self.clean_up, self.delete)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_deleted_file_is_cleared_away_whole(world: World) -> None:
    moved = world.changes.event("file_1")
    await world.delete(ME, "file_1")
    assert world.files.rows == world.blobs.contents == {}
    assert world.indexing.purged == world.passages.forgotten == [3]
    assert world.jobs.finished == [PURGE, ERASE]
    assert moved.is_set()


async def test_a_foreign_file_is_not_deleted(world: World) -> None:
    with pytest.raises(NotFound) as caught:
        await world.delete(FOREIGN, "file_1")
    assert (caught.value.code, caught.value.param) == ("file_not_found", "file_id")
    assert world.blobs.contents == {"blob_1": b"hello"}


async def test_a_store_is_created_with_files_and_the_worker_is_told(world: World) -> None:
    store = VectorStore("vs_1", "t", "a", "", 0, 0)
    assert await world.manage.create(ME, store, [Attachment("file_1")], None) is store
    assert world.jobs.woken == 1


async def test_an_attached_file_is_returned_as_it_stands_in_the_store(world: World) -> None:
    made = await world.manage.attach(ME, "vs_1", Attachment("file_1"))
    assert (made.file_id, made.vector_store_id) == ("file_1", "vs_1")
    assert world.jobs.woken == 1
    assert world.indexing.purged == [3]


async def test_a_batch_is_attached_together(world: World) -> None:
    batch = FileBatch("vsfb_1", "vs_1", 0)
    assert await world.manage.attach_batch(ME, batch, [Attachment("file_1"), Attachment("file_2")]) is batch
    assert [each.file_id for each in world.store_files.attached] == ["file_1", "file_2"]
    assert world.jobs.woken == 1


async def test_what_nothing_uses_any_more_is_cleared_away(world: World) -> None:
    await world.manage.attach(ME, "vs_1", Attachment("file_1"))
    await world.manage.detach(ME, "vs_1", "file_1")
    await world.manage.delete(ME, "vs_1")
    assert world.jobs.finished == [PURGE, PURGE, PURGE]


def job(kind: JobKind, subject: str) -> Job:
    return Job(1, kind, "t", "a", subject)


async def test_a_job_is_done_by_its_kind(world: World) -> None:
    await world.work(job("index", "3"))
    assert world.indexing.set is not None
    assert world.indexing.set.status == "completed"
    await world.work(job("purge", "3"))
    assert world.indexing.chunks == []
    await world.work(job("erase", "blob_1"))
    assert world.blobs.contents == {}


async def test_an_expired_file_is_deleted_and_a_deleted_one_expires_quietly(world: World) -> None:
    await world.work(job("expire", "file_1"))
    assert world.files.rows == {}
    await world.work(job("expire", "file_1"))


async def test_only_an_index_job_that_is_given_up_is_shown(world: World) -> None:
    await world.work.give_up(job("erase", "blob_1"))
    assert world.indexing.failed is None
    await world.work.give_up(job("index", "3"))
    assert world.indexing.failed is not None


async def test_contents_that_no_file_names_are_swept(world: World) -> None:
    strays = [f"blob_stray{n}" for n in range(SLICE + 5)]
    world.blobs.contents |= dict.fromkeys(strays, b"")
    await SweepBlobs(world.blobs, world.files)(await world.blobs.keys())
    assert world.blobs.contents == {"blob_1": b"hello"}
