"""A real server over our scripted upstream, one for each module of socket tests."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import Server, serving
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "LLAMA31_ENDPOINT": upstream.url,
        "CHATBACKEND_MAX_BODY_BYTES": str(2**20),
        "CHATBACKEND_DRAIN_S": "0.1",  # some tests leave endless responses behind
    }
    async with serving(tmp_path_factory.mktemp("server"), settings) as server:
        yield server


@pytest.fixture
async def socket(running: Server) -> AsyncGenerator[RawSocket, None]:
    async with raw_socket(running) as socket:
        yield socket
