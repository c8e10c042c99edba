"""What outlives its use in a circle of references: the garbage collector would have to look for it."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Generator[None]:
    """Hold the garbage collector back: what dies in here dies because nobody refers to it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def alive(*kinds: type) -> int:
    """Return how many objects of exactly these kinds there are."""
    return sum(type(each) in kinds for each in gc.get_objects())
