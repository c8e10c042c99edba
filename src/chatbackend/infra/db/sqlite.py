"""SQLite behind one writer thread with group commit, and a few reader threads.

All writes of the process go through the writer: it takes what waits, runs it piece by piece in one `BEGIN IMMEDIATE`
transaction, commits once and then tells all of them. No timer: a commit starts when the last one ends, so a lone write
waits for nothing and a crowd shares one fsync. Where a piece of a crowd fails, all of it is undone and run again with a
savepoint a piece: savepoints always would be two more statements a piece, at each of which the interpreter's lock is
fought for. Reads go in groups, too.
Source: https://sqlite.org/wal.html, https://sqlite.org/lang_transaction.html
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import anyio
import anyio.to_thread
from sqlalchemy.dialects import sqlite as dialects
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.grouped_reads import GroupedReads, Outcome, Work, deliver, unusable
from chatbackend.infra.db.transaction import Params, Row, drive

T = TypeVar("T")
GROUP_MAX = 256  # pieces of work that share a commit, at most
BUSY_TIMEOUT_S = 10.0
READERS = 4


class SqliteTransaction:
    """`Transaction` over a `sqlite3` connection; compiled statements are kept by identity."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._compiled: dict[int, tuple[Executable, str, dict[str, Any]]] = {}
        self._dialect = dialects.dialect(paramstyle="named")

    async def rows(self, statement: Executable, params: Params | None = None) -> list[Row]:
        """See `Transaction.rows`."""
        cursor = self._run(statement, params)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        """See `Transaction.execute`."""
        return self._run(statement, params).rowcount

    async def execute_many(self, statement: Executable, params: Sequence[Params]) -> None:
        """See `Transaction.execute_many`."""
        if params:
            sql, defaults = self._compile(statement)
            self.connection.executemany(sql, [{**defaults, **each} for each in params])

    def _run(self, statement: Executable, params: Params | None) -> sqlite3.Cursor:
        sql, defaults = self._compile(statement)
        return self.connection.execute(sql, {**defaults, **params} if params else defaults)

    def _compile(self, statement: Executable) -> tuple[str, dict[str, Any]]:
        known = self._compiled.get(id(statement))
        if known is None or known[0] is not statement:
            compiled = self._compiler(statement)
            defaults = {
                name: value for name, value in compiled.construct_params(_check=False).items() if value is not None
            }
            known = (statement, compiled.string, defaults)
            if len(self._compiled) >= 512:
                self._compiled.clear()
            self._compiled[id(statement)] = known
        return known[1], known[2]

    def _compiler(self, statement: Executable) -> SQLCompiler:
        """Compile; `IN` lists of given values are written out (such a statement takes no further parameters)."""
        compile_ = cast(Callable[..., SQLCompiler], statement.compile)  # pyright: ignore[reportAttributeAccessIssue]  # Executable lacks the method in its stubs
        compiled = compile_(dialect=self._dialect)
        if compiled.post_compile_params:
            compiled = compile_(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        return compiled


def connect(path: Path, synchronous: Literal["FULL", "NORMAL"]) -> sqlite3.Connection:
    """Open a connection with our settings: WAL, foreign keys, a busy timeout; transactions are begun by hand."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


@dataclass(frozen=True, slots=True)
class _Piece:
    work: Work[Any]
    future: asyncio.Future[Any]
    flushed: bool


class Unflushed:
    """`Database` whose writes do not wait for the disk: what a kill must not lose, but a loss of power may."""

    def __init__(self, database: "SqliteDatabase") -> None:
        self._database = database

    async def write(self, work: Work[T], *, touching: Collection[str] | None = None) -> T:
        """See `SqliteDatabase.write`."""
        return await self._database.write(work, flushed=False)

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        return await self._database.read(work)


class SqliteDatabase:
    """`Database` over one SQLite file. Open with `async with`; closing waits for the writes under way."""

    def __init__(self, path: Path, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        self._path = path
        self._synchronous: Literal["FULL", "NORMAL"] = synchronous
        self._queue: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_loop, name=f"writer-{path.name}", daemon=True)
        self._connections: list[sqlite3.Connection] = []
        self._flushes = True
        self._closed = False

    async def __aenter__(self) -> "SqliteDatabase":
        await anyio.to_thread.run_sync(self._open)
        self._writer.start()
        self._reads.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close)

    async def write(self, work: Work[T], *, touching: Collection[str] | None = None, flushed: bool = True) -> T:
        """See `Database.write`. Nothing is run side by side here. Cancelling the wait does not undo the write.

        Without `flushed` it survives the death of the process, but not the loss of power, until the next write that is.
        """
        if self._closed:
            raise _closed()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Piece(work, future, flushed))
        return await future

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`."""
        if self._closed:
            raise _closed()
        return await self._reads.read(work)

    def _open(self) -> None:
        writer = connect(self._path, self._synchronous)
        self._connections = [writer]
        self._transaction = SqliteTransaction(writer)
        for _ in range(READERS):
            reader = connect(self._path, self._synchronous)
            reader.execute("PRAGMA query_only=ON")
            self._connections.append(reader)
        self._reads = GroupedReads([SqliteTransaction(each) for each in self._connections[1:]], name=self._path.name)

    def _close(self) -> None:
        self._writer.join()
        self._reads.close()
        for connection in self._connections:
            connection.close()

    def _write_loop(self) -> None:
        stop = False
        while not stop:
            group = [self._queue.get()]
            while len(group) < GROUP_MAX and not self._queue.empty():
                group.append(self._queue.get())
            stop = None in group
            self._commit([piece for piece in group if piece is not None])

    def _commit(self, group: list[_Piece]) -> None:
        """Run a group in one transaction; tell the callers, all in one go, only after the commit."""
        group = [piece for piece in group if not piece.future.cancelled()]
        if not group:
            return
        try:
            self._flush_if(any(piece.flushed for piece in group))
            outcomes = self._together(group) or self._apart(group)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself after some errors
                self._connections[0].execute("ROLLBACK")
            refusal = Unavailable("The database cannot take a write now.", code="storage_unavailable")
            refusal.__cause__ = error
            outcomes = [Outcome(piece.future, None, refusal) for piece in group]
        loop = group[0].future.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, outcomes)

    def _flush_if(self, wanted: bool) -> None:  # noqa: FBT001 - the only thing that it says
        """Have the next commit wait for the disk, or not; SQLite takes that between transactions only."""
        if self._synchronous == "FULL" and wanted is not self._flushes:
            self._connections[0].execute(f"PRAGMA synchronous={'FULL' if wanted else 'NORMAL'}")
            self._flushes = wanted

    def _together(self, group: list[_Piece]) -> list[Outcome]:
        """Run a group as if nothing could fail; [] when one of several did, and nothing is done."""
        connection = self._connections[0]
        connection.execute("BEGIN IMMEDIATE")
        outcomes: list[Outcome] = []
        for piece in group:
            outcome = self._outcome(piece)
            if outcome.error is not None:
                connection.execute("ROLLBACK")
                return [outcome] if len(group) == 1 else []
            outcomes.append(outcome)
        connection.execute("COMMIT")
        return outcomes

    def _apart(self, group: list[_Piece]) -> list[Outcome]:
        """Run a group so that what fails undoes nothing but itself."""
        connection = self._connections[0]
        connection.execute("BEGIN IMMEDIATE")
        outcomes: list[Outcome] = []
        for piece in group:
            connection.execute("SAVEPOINT piece")
            outcome = self._outcome(piece)
            if outcome.error is not None:
                connection.execute("ROLLBACK TO piece")
            connection.execute("RELEASE piece")
            outcomes.append(outcome)
        connection.execute("COMMIT")
        return outcomes

    def _outcome(self, piece: _Piece) -> Outcome:
        """Run a piece. Raises: sqlite3.DatabaseError where that is `unusable`: the whole group is refused."""
        try:
            return Outcome(piece.future, drive(cast(Coroutine[Any, Any, Any], piece.work(self._transaction))))
        except Exception as error:
            if unusable(error):
                raise
            return Outcome(piece.future, None, error)


def _closed() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")
