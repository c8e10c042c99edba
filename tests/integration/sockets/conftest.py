"""A real server over our scripted upstream, one for each module of socket tests."""

from collections.abc import AsyncGenerator

import anyio.to_thread
import pytest

from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import Server
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
async def upstream() -> AsyncGenerator[Upstream, None]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "LLAMA31_ENDPOINT": upstream.url,
        "CHATBACKEND_MAX_BODY_BYTES": str(2**20),
        "CHATBACKEND_DRAIN_S": "0.1",  # some tests leave endless responses behind
    }
    server = Server(tmp_path_factory.mktemp("server"), settings)
    await anyio.to_thread.run_sync(server.start)
    try:
        yield server
    finally:
        await anyio.to_thread.run_sync(server.stop)


@pytest.fixture
async def socket(running: Server) -> AsyncGenerator[RawSocket, None]:
    async with raw_socket(running) as socket:
        yield socket
