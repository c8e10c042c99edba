"""Patience with a store that is away."""

from itertools import islice

from chatbackend.usecases.patience import waits


def test_waits_grow_to_five_seconds_and_never_end() -> None:
    assert list(islice(waits(), 8)) == [0.05, 0.2, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0]
