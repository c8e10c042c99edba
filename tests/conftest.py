"""What every test stands on: one event loop, and no blocking call on it."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.support.server import server

__all__ = ["server"]

settings.register_profile("untimed", deadline=None)  # how busy a machine is says nothing about the code
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio alone: it is the only loop the server runs on."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def no_blocking_calls() -> Iterator[None]:
    """Fail a test in which code of ours blocks the event loop."""
    with blockbuster_ctx("chatbackend") as blockbuster:
        for function in blockbuster.functions.values():
            # asyncpg looks for a password file and certificates; Alembic runs on a loop of its own, in a thread.
            function.can_block_in("asyncpg/connect_utils.py", "_parse_connect_dsn_and_args")
            function.can_block_in("chatbackend/infra/db/migrate.py", "missing")
            function.can_block_in("alembic/command.py", {"upgrade", "downgrade"})
        yield
