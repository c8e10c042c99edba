"""Chunking strategies, batches and what must be equal for an interrupted indexing to go on."""

from dataclasses import replace

import pytest

from chatbackend.domain.documents import Chunk
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.indexing import (
    AUTO,
    BATCH_CHUNKS,
    Chunking,
    batches,
    chunking_of,
    fingerprint,
    last_error_code,
    percent,
    static,
)
from chatbackend.domain.uploads import Reason

CHUNKS = [Chunk(n, 10 * n, 10 * n + 9, "text", "header", n) for n in range(2 * BATCH_CHUNKS + 3)]


@pytest.mark.parametrize("chunking", [AUTO, Chunking(800, 400), Chunking(100, 0)])
def test_a_strategy_is_known_again_by_its_key(chunking: Chunking) -> None:
    assert chunking_of(chunking.key) == chunking


@pytest.mark.parametrize(("size", "overlap"), [(100, 0), (100, 50), (4096, 2048)])
def test_static_strategies_within_the_bounds_are_taken(size: int, overlap: int) -> None:
    assert static(size, overlap) == Chunking(size, overlap)


@pytest.mark.parametrize(("size", "overlap"), [(99, 0), (4097, 0), (100, 51), (100, -1)])
def test_static_strategies_outside_the_bounds_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(InvalidRequest):
        static(size, overlap)


def test_batches_go_on_after_what_is_done() -> None:
    found = [list(batch) for batch in batches(CHUNKS, done=BATCH_CHUNKS)]
    assert [chunk.index for batch in found for chunk in batch] == list(range(BATCH_CHUNKS, len(CHUNKS)))
    assert [len(batch) for batch in found] == [BATCH_CHUNKS, 3]
    assert list(batches(CHUNKS, done=len(CHUNKS))) == []


def test_the_fingerprint_changes_with_every_cut_and_with_the_embedder() -> None:
    whole = fingerprint(CHUNKS, "model")
    assert fingerprint(list(CHUNKS), "model") == whole
    moved = [replace(CHUNKS[0], end=8), *CHUNKS[1:]]
    renamed = [replace(CHUNKS[0], header="other"), *CHUNKS[1:]]
    others = [fingerprint(CHUNKS, None), fingerprint(moved, "model"), fingerprint(renamed, "model")]
    assert len({whole, *others, fingerprint(CHUNKS[1:], "model")}) == 5


def test_the_percentage_ends_only_with_the_end() -> None:
    assert [percent(0, 10), percent(5, 10), percent(10, 10), percent(0, 0)] == [20, 60, 99, 20]


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("server_error", "server_error"),
        ("no_text", "unsupported_file"),
        ("unsupported_file", "unsupported_file"),
        ("encrypted_file", "invalid_file"),
    ],
)
def test_reasons_are_told_in_the_words_of_the_api(code: str, shown: str) -> None:
    assert last_error_code(Reason(code, "")) == shown
