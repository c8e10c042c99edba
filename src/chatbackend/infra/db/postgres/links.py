"""Connections to PostgreSQL: how each is set up, bounded pools of them, and one that is given up when in doubt."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

import asyncpg

CONNECT_S = 5.0
WAIT_S = 10.0  # for a free connection
COMMAND_S = 40.0  # over the server's own limits: reached only when the server does not answer at all
_SETTINGS = {
    "application_name": "chatbackend",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",  # compiling takes longer than any statement of ours
}


class Connection(Protocol):
    """What we use of asyncpg's connections, with types."""

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement; return its status, such as `UPDATE 1`."""
        ...

    async def executemany(self, command: str, args: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of arguments."""
        ...

    async def fetch(self, query: str, *args: object) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a statement."""
        ...

    async def fetchmany(self, query: str, args: Sequence[Sequence[object]]) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a statement that is run once for each row of arguments, all in one."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:  # noqa: ANN401  # a column of any type
        """Return the first value, None where there is no row."""
        ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Sequence[Sequence[object]], columns: Sequence[str]
    ) -> str:
        """Add rows by COPY."""
        ...

    def add_termination_listener(self, callback: Callable[[object], None]) -> None:
        """Have `callback` called when the connection is lost."""
        ...

    async def close(self) -> None:
        """Close it in order."""
        ...

    def terminate(self) -> None:
        """Close it at once."""
        ...


Setup = Callable[[Connection], Awaitable[None]]


class _Pool(Protocol):
    def acquire(self, *, timeout: float) -> AbstractAsyncContextManager[Connection]: ...

    async def close(self) -> None: ...


_connect = cast(Callable[..., Awaitable[Connection]], asyncpg.connect)
_create_pool = cast(Callable[..., Awaitable[_Pool]], asyncpg.create_pool)


async def connect(url: str, *, unhurried: bool = False) -> Connection:
    """Open one connection of its own; `unhurried` for what may take minutes, as migrations and moves do."""
    limits = {"statement_timeout": "0", "lock_timeout": "60s"} if unhurried else {}
    limit_s = None if unhurried else COMMAND_S
    return await _connect(url, timeout=CONNECT_S, command_timeout=limit_s, server_settings=_SETTINGS | limits)


class Links:
    """At most `size` connections, opened when they are needed; `setup` is run on each new one."""

    def __init__(self, url: str, size: int, setup: Setup | None = None) -> None:
        self._url = url
        self._size = size
        self._setup = setup
        self._pool: _Pool

    async def open(self) -> None:
        """Make the pool; nothing is connected by that."""
        self._pool = await _create_pool(
            self._url,
            min_size=0,
            max_size=self._size,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            statement_cache_size=500,
            max_cached_statement_lifetime=0,
            init=self._setup,
            reset=_leave,
            server_settings=_SETTINGS,
        )

    async def close(self) -> None:
        """Close every connection; they must have been given back."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self, begin: str) -> AsyncGenerator[Connection, None]:
        """Lend a connection on which a transaction has begun; whoever leaves without an error has ended it.

        After an error it is rolled back. A connection whose state is in doubt (cancelled, lost) is discarded.
        """
        async with self._pool.acquire(timeout=WAIT_S) as connection:
            try:
                await connection.execute(begin)
                yield connection
            except Exception:
                await _rolled_back(connection)
                raise
            except BaseException:
                connection.terminate()
                raise


async def _rolled_back(connection: Connection) -> None:
    try:
        await connection.execute("ROLLBACK")
    except BaseException as error:
        connection.terminate()
        if not isinstance(error, Exception):
            raise


async def _leave(_: Connection) -> None:
    """Reset nothing: no session state is ever changed, and the usual reset is a round trip."""
