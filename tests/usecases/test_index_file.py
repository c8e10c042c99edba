"""Indexing ends in a completed set or a typed failure, and goes on where it was interrupted."""

import pytest

from chatbackend.domain.documents import Document
from chatbackend.domain.errors import Unavailable
from chatbackend.domain.files import FileRejected
from chatbackend.domain.indexing import BATCH_CHUNKS, Chunking
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.index_file import IndexFile
from tests.support.file_fakes import FakeBlobs, FakeEmbedder, FakeIndexing, FakeParser

pytestmark = pytest.mark.anyio
LONG = Document("".join(f"Sentence number {n} says that the value of item {n} is {n * n}. " for n in range(1, 1600)))


class Indexed:
    """An indexer's world."""

    def __init__(self, document: Document = LONG, *, chunking: Chunking | None = None) -> None:
        self.store = FakeIndexing() if chunking is None else FakeIndexing(chunking=chunking)
        self.parser = FakeParser(document)
        self.embedder: FakeEmbedder | None = FakeEmbedder()
        self.changes = Wakeups()

    async def run(self) -> None:
        index = IndexFile(
            self.store, FakeBlobs({"blob_1": b""}), self.parser, embedder=self.embedder, changes=self.changes
        )
        await index(3)

    async def give_up(self) -> None:
        index = IndexFile(self.store, FakeBlobs(), self.parser, embedder=None, changes=self.changes)
        await index.give_up(3)

    @property
    def status(self) -> str | None:
        return self.store.set and self.store.set.status


async def test_a_file_becomes_chunks_with_terms_and_vectors() -> None:
    indexed = Indexed()
    moved = indexed.changes.event("file_1")
    await indexed.run()
    assert indexed.status == "completed"
    assert [each.chunk.index for each in indexed.store.chunks] == list(range(len(indexed.store.chunks)))
    assert len(indexed.store.chunks) > 2 * BATCH_CHUNKS
    first = indexed.store.chunks[0]
    assert first.chunk.text == LONG.text[first.chunk.start : first.chunk.end]
    assert first.terms["sentenc"] >= 1
    assert first.vector is not None
    assert moved.is_set()


async def test_progress_only_grows_and_stays_below_the_end() -> None:
    indexed = Indexed()
    await indexed.run()
    percents = [percent for _, percent in indexed.store.shown]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (1, 99)


async def test_without_an_embedder_the_terms_are_indexed_alone() -> None:
    indexed = Indexed()
    indexed.embedder = None
    await indexed.run()
    assert indexed.status == "completed"
    assert {each.vector for each in indexed.store.chunks} == {None}


async def test_the_static_strategy_cuts_otherwise_and_shows_no_progress_of_the_file() -> None:
    auto, small = Indexed(), Indexed(chunking=Chunking(100, 0))
    await auto.run()
    await small.run()
    assert len(small.store.chunks) > len(auto.store.chunks)
    assert "parsing" not in {stage for stage, _ in small.store.shown}


async def test_a_text_that_is_known_is_not_parsed_again() -> None:
    indexed = Indexed()
    indexed.store.kept = LONG
    await indexed.run()
    assert indexed.parser.asked == []
    assert indexed.status == "completed"


async def test_a_file_that_cannot_be_read_fails_with_its_reason() -> None:
    indexed = Indexed()
    indexed.parser.failure = FileRejected("encrypted_file", "It has a password.")
    await indexed.run()
    assert indexed.store.failed is not None
    reason, whole_file = indexed.store.failed
    assert (reason.code, reason.message, whole_file) == ("encrypted_file", "It has a password.", True)
    assert indexed.store.chunks == []


async def test_a_file_without_a_word_fails_as_such() -> None:
    indexed = Indexed(Document(" \n\n "))
    await indexed.run()
    assert indexed.store.failed is not None
    assert indexed.store.failed[0].code == "no_text"
    assert indexed.status == "failed"


@pytest.mark.parametrize("batch", range(3))
async def test_an_interrupted_indexing_goes_on_after_the_last_committed_batch(batch: int) -> None:
    undisturbed, cut = Indexed(), Indexed()
    await undisturbed.run()
    cut.store.cut_after = batch
    with pytest.raises(Unavailable):
        await cut.run()
    assert len(cut.store.chunks) == batch * BATCH_CHUNKS
    await cut.run()
    assert cut.store.chunks == undisturbed.store.chunks
    assert cut.parser.asked == ["text"]
    assert cut.embedder is not None
    assert undisturbed.embedder is not None
    assert len(cut.embedder.asked) <= len(undisturbed.embedder.asked) + BATCH_CHUNKS


async def test_another_embedder_starts_an_interrupted_set_anew() -> None:
    indexed = Indexed()
    indexed.store.cut_after = 1
    with pytest.raises(Unavailable):
        await indexed.run()
    indexed.embedder = FakeEmbedder("better")
    await indexed.run()
    assert indexed.store.purged == [3]
    assert [each.chunk.index for each in indexed.store.chunks] == list(range(len(indexed.store.chunks)))
    assert indexed.store.set is not None
    assert indexed.store.set.embedder == "better"


async def test_a_parser_that_cannot_start_is_tried_again_by_the_queue() -> None:
    indexed = Indexed()
    indexed.parser.failure = OSError("no process")
    with pytest.raises(OSError, match="no process"):
        await indexed.run()
    await indexed.run()
    assert indexed.status == "completed"


async def test_a_set_that_has_ended_is_left_alone() -> None:
    indexed = Indexed()
    await indexed.run()
    chunks = list(indexed.store.chunks)
    await indexed.run()
    assert indexed.store.chunks == chunks


async def test_a_set_that_is_gone_is_no_work() -> None:
    indexed = Indexed()
    indexed.store.set = None
    await indexed.run()
    await indexed.give_up()
    assert indexed.parser.asked == []


async def test_a_file_deleted_while_it_is_parsed_is_dropped_quietly() -> None:
    indexed = Indexed()
    store = indexed.store

    class Deletes(FakeParser):
        async def parse(self, path: object, format_name: str) -> Document:
            store.set = None
            return LONG

    indexed.parser = Deletes(LONG)
    await indexed.run()
    assert store.kept is None
    assert store.chunks == []


async def test_a_file_deleted_before_its_first_batch_is_dropped_quietly() -> None:
    indexed = Indexed()
    indexed.store.kept = LONG
    store = indexed.store

    class Vanishes(FakeIndexing):
        async def begin(self, chunk_set: object, *, fingerprint: str, embedder: str | None) -> bool:
            return False

    indexed.store = Vanishes()
    indexed.store.kept = LONG
    await indexed.run()
    assert store.chunks == indexed.store.chunks == []


async def test_a_file_deleted_between_batches_is_dropped_quietly() -> None:
    indexed = Indexed()
    indexed.store.gone_after = 1
    await indexed.run()
    assert indexed.status == "in_progress"
    assert len(indexed.store.chunks) == BATCH_CHUNKS


async def test_a_set_that_is_given_up_says_so_and_leaves_no_chunks() -> None:
    indexed = Indexed()
    indexed.store.cut_after = 1
    with pytest.raises(Unavailable):
        await indexed.run()
    await indexed.give_up()
    assert indexed.store.failed is not None
    assert (indexed.store.failed[0].code, indexed.store.failed[1]) == ("server_error", False)
    assert indexed.store.chunks == []
