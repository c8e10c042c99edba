"""PostgreSQL behind a few writers with group commit, and a pool of readers.

A writer takes what waits, runs it in one transaction, commits once and then tells all of them. No timer: a commit
starts when a writer is free, so a lone write waits for nothing and a crowd shares round trips and one flush. No
savepoints, which are two round trips a piece: when a piece fails after it has written, the whole is rolled back, the
others are run again without it, and it is run alone; failures are rare.

The isolation is READ COMMITTED: work that must not meet other work on a row locks it (`with_for_update`, or the
UPDATE that it begins with), and unique indexes decide what a lock cannot. Who loses such a race is run again.
Source: https://www.postgresql.org/docs/15/transaction-iso.html
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import anyio
import asyncpg

from chatbackend.domain.errors import ChatError, Unavailable
from chatbackend.infra.db.postgres.errors import LOST, RACES, translated
from chatbackend.infra.db.postgres.links import Connection, Links
from chatbackend.infra.db.postgres.pieces import Failed, Piece, Runner, waves
from chatbackend.infra.db.postgres.statements import Statements
from chatbackend.infra.db.transaction import Transaction

T = TypeVar("T")
GROUP_MAX = 256  # pieces of work that share a commit, at most
WAITING_MAX = 20_000  # pieces that wait for a writer, at most
WRITERS = 2
READERS = 8
REDOS = 3  # times that a group is run again without those that failed, before each is run alone
TRIES = 5  # times that a piece is run which loses races
ASK_S = 10.0  # for an answer to whether a commit happened, when its own answer was lost
WRITING = 0x63686174_77726974  # the advisory lock that all writers share
_WRITE = "BEGIN"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresDatabase:
    """`Database` over PostgreSQL. Open with `async with`; closing waits for the writes under way.

    `allowed` raises when this process may not write (now).
    """

    def __init__(
        self,
        url: str,
        *,
        writers: int = WRITERS,
        readers: int = READERS,
        group_max: int = GROUP_MAX,
        allowed: Callable[[], None] | None = None,
    ) -> None:
        self._writer_count = writers
        self._group_max = group_max
        self._allowed = allowed
        self._write_links = Links(url, writers, _share)
        self._read_links = Links(url, readers)
        self._statements = Statements()
        self._waiting: deque[Piece] = deque()
        self._touched: set[str] = set()  # by groups that are being written
        self._wake = asyncio.Event()
        self._closed = False
        self._writers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "PostgresDatabase":
        await self._write_links.open()
        await self._read_links.open()
        self._writers = [
            asyncio.create_task(self._write_loop(), name=f"writer {number}") for number in range(self._writer_count)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._wake.set()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*self._writers)
            await self._write_links.close()
            await self._read_links.close()

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, touching: Collection[str] | None = None) -> T:
        """See `Database.write`. Cancelling the wait does not undo the write."""
        if self._closed:
            raise _closed()
        self._check_allowed()
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("Too many writes are waiting.", code="overloaded")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(Piece(work, future, None if touching is None else frozenset(touching)))
        self._wake.set()
        return await future

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """See `Database.read`."""
        if self._closed:
            raise _closed()
        piece: Piece = Piece(work, asyncio.get_running_loop().create_future())
        try:
            async with self._read_links.transaction(_READ) as connection:
                await Runner(connection, self._statements).alone(piece)
                await connection.execute("COMMIT")
        except Exception as error:
            raise _told(error) from error.__cause__
        return piece.result

    async def _write_loop(self) -> None:
        while True:
            group = self._take()
            if group:
                await self._write(group)
            elif self._closed and not self._waiting:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _take(self) -> list[Piece]:
        """Take what waits, but for pieces that touch what is being written now: they would only wait for its rows."""
        group: list[Piece] = []
        left: list[Piece] = []
        while self._waiting and len(group) < self._group_max:
            piece = self._waiting.popleft()
            if piece.touching is not None and not self._touched.isdisjoint(piece.touching):
                left.append(piece)
            elif not piece.future.cancelled():
                group.append(piece)
        self._waiting.extendleft(reversed(left))
        return group

    async def _write(self, group: Sequence[Piece]) -> None:
        touched: set[str] = set[str]().union(*(piece.touching or () for piece in group))
        self._touched |= touched
        try:
            with anyio.CancelScope(shield=True):
                await self._commit(group)
        finally:
            self._touched -= touched
            self._wake.set()

    async def _commit(self, group: Sequence[Piece]) -> None:
        """Write a group, together as far as it goes; tell each when it is committed or refused."""
        rest, suspects = list(group), list[Piece]()
        for _ in range(REDOS):
            if len(rest) < 2:
                break
            failed = await self._together(rest)
            suspects += failed
            rest = [piece for piece in rest if piece not in failed] if failed else []
        for piece in (*rest, *suspects):
            await self._alone(piece)

    async def _together(self, pieces: Sequence[Piece]) -> Collection[Piece]:
        """Write pieces in one transaction and tell them; or return those that must not be in it."""

        async def run(runner: Runner) -> None:
            for wave in waves(pieces):
                await runner.together(wave)

        try:
            await self._in_transaction(run)
        except Failed as failed:
            return failed.pieces
        except Exception as error:
            for piece in pieces:
                piece.error = error
        for piece in pieces:
            _tell(piece)
        return ()

    async def _alone(self, piece: Piece) -> None:
        for left in reversed(range(TRIES)):
            try:
                await self._in_transaction(lambda runner: runner.alone(piece))
            except RACES as error:
                piece.error = error
                if left:
                    continue
            except Exception as error:
                piece.error = error
            break
        _tell(piece)

    async def _in_transaction(self, run: Callable[[Runner], Awaitable[None]]) -> None:
        self._check_allowed()  # again: the piece may have waited
        number: str | None = None
        try:
            async with self._write_links.transaction(_WRITE) as connection:
                await run(Runner(connection, self._statements))
                number = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
                await connection.execute("COMMIT")
        except LOST:
            if number is None or not await self._committed(number):
                raise

    def _check_allowed(self) -> None:
        if self._allowed is not None:
            self._allowed()

    async def _committed(self, number: str) -> bool:
        """Return whether a transaction was committed whose COMMIT had no answer."""
        with anyio.move_on_after(ASK_S):
            while True:
                try:
                    async with self._read_links.transaction(_READ) as connection:
                        state = await _state(connection, number)
                        await connection.execute("COMMIT")
                except (*LOST, asyncpg.PostgresError):
                    state = None
                if state in ("committed", "aborted"):
                    return state == "committed"
                await anyio.sleep(0.2)
        return False


async def _state(connection: Connection, number: str) -> str | None:
    return await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", number)


async def _share(connection: Connection) -> None:
    """Show for as long as the session lives that it may write: who takes the database over waits for its end."""
    await connection.execute(f"SELECT pg_advisory_lock_shared({WRITING})")


def _closed() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")


def _told(error: BaseException) -> BaseException:
    return error if isinstance(error, ChatError) else translated(error)


def _tell(piece: Piece) -> None:
    """Resolve who waits; a caller that gave up is passed over."""
    if piece.future.done():
        return
    if piece.error is None:
        piece.future.set_result(piece.result)
    else:
        piece.future.set_exception(_told(piece.error))
