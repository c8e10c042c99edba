"""A real server over the scripted upstream, which stands behind every provider family; one for each module."""

from collections.abc import AsyncGenerator

import pytest

from tests.clients.catalogue import FAMILIES
from tests.support.server import Server, serving
from tests.support.upstream import Upstream
from tests.support.upstreams import upstream

__all__ = ["upstream"]


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    endpoints: dict[str, str] = {}
    for family in FAMILIES:
        endpoints |= family.environment(upstream.url)
    async with serving(tmp_path_factory.mktemp("server"), endpoints) as server:
        yield server
