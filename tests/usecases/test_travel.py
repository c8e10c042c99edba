"""An answer is kept within its time, also one whose parts never have to be waited for."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import pytest

from chatbackend.domain.errors import UpstreamTimeout
from chatbackend.usecases.travel import until

pytestmark = pytest.mark.anyio

MANY = 1_000_000  # far more than are taken before the time is over


async def test_parts_that_are_always_there_end_with_their_time_too() -> None:
    async def ready() -> AsyncGenerator[int, None]:
        for number in range(MANY):
            yield number

    taken = 0
    with pytest.raises(UpstreamTimeout):
        async with aclosing(until(ready(), anyio.current_time() + 0.05)) as parts:
            async for _ in parts:
                taken += 1
    assert 0 < taken < MANY
