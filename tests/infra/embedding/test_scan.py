"""Vectors are compared exactly."""

import struct

import pytest

from chatbackend.infra.embedding.scan import dense_scores


def vector(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


VECTORS = [vector(1, 0), vector(0, 1), vector(-1, 0), vector(0.5, 0.5)]


def test_scores_are_the_dot_products_in_order() -> None:
    assert dense_scores(vector(1, 0), VECTORS) == [1.0, 0.0, -1.0, 0.5]


def test_vectors_may_lie_one_behind_the_other() -> None:
    assert dense_scores(vector(1, 0), b"".join(VECTORS)) == [1.0, 0.0, -1.0, 0.5]


@pytest.mark.parametrize("vectors", [[], b""])
def test_no_vectors_have_no_scores(vectors: list[bytes] | bytes) -> None:
    assert dense_scores(vector(1, 0), vectors) == []


@pytest.mark.parametrize("vectors", [[vector(1, 0, 0, 0)], [vector(1)], vector(1, 0, 0)])
def test_another_dimension_is_refused(vectors: list[bytes] | bytes) -> None:
    with pytest.raises(ValueError, match=r"dimension|reshape"):
        dense_scores(vector(1, 0), vectors)
