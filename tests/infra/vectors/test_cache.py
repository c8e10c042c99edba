"""Vectors are kept within bounds and compared exactly."""

import struct

import numpy as np
import pytest

from chatbackend.infra.vectors import cache
from chatbackend.infra.vectors.cache import Nearest, VectorCache


def test_the_least_recently_searched_set_goes_first() -> None:
    kept = VectorCache(max_bytes=30)
    kept.put(1, b"1" * 10)
    kept.put(2, b"2" * 10)
    kept.put(3, b"3" * 10)
    assert kept.get(1) == b"1" * 10
    kept.put(4, b"4" * 10)
    assert [each for each in (1, 2, 3, 4) if kept.get(each) is not None] == [1, 3, 4]
    assert kept.size_bytes == 30


def test_a_set_over_the_bound_is_not_kept() -> None:
    kept = VectorCache(max_bytes=10)
    kept.put(1, b"1" * 5)
    kept.put(2, b"2" * 11)
    assert (kept.get(2), kept.get(1), kept.size_bytes) == (None, b"1" * 5, 5)


def test_a_set_is_counted_once_and_forgotten_whole() -> None:
    kept = VectorCache(max_bytes=30)
    kept.put(1, b"1" * 10)
    kept.put(1, b"1" * 12)
    assert kept.size_bytes == 12
    kept.forget(1)
    kept.forget(1)
    assert (kept.get(1), kept.size_bytes) == (None, 0)


@pytest.mark.parametrize("scan_bytes", [1, 1000, 10**9])
def test_the_nearest_are_exactly_those_of_a_sort(monkeypatch: pytest.MonkeyPatch, scan_bytes: int) -> None:
    monkeypatch.setattr(cache, "SCAN_BYTES", scan_bytes)
    chance = np.random.default_rng(7)
    sets = {number: chance.normal(size=(size, 8)).astype("<f4") for number, size in enumerate([3, 40, 0, 1, 25])}
    query = chance.normal(size=8).astype("<f4")
    nearest = Nearest(query.tobytes(), 10)
    for number, vectors in sets.items():
        nearest.scan(number, vectors.tobytes())
    scored = [(float(each @ query), (key, n)) for key, vectors in sets.items() for n, each in enumerate(vectors)]
    expected = sorted(scored, reverse=True)[:10]
    assert list(nearest.found()) == [key for _, key in expected]
    assert list(nearest.found().values()) == pytest.approx([score for score, _ in expected], abs=1e-5)


def test_nothing_scanned_is_nothing_found() -> None:
    assert Nearest(struct.pack("<2f", 1, 0), 5).found() == {}
