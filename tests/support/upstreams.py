"""The scripted upstream as a fixture: one for each module, in the test's own process."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
async def upstream() -> AsyncGenerator[Upstream, None]:
    """Run an upstream that speaks what every provider family speaks; `calls` has what it was asked."""
    async with Upstream() as running:
        yield running
