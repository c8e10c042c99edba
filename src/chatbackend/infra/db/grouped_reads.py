"""Reads of a SQLite file, many in one go: a few threads, each with a connection, take whatever waits.

A read that is handed to a thread by itself costs two changes of thread, and beside a busy loop waits for the
interpreter's lock at every statement, that of its snapshot too. So a thread that is free takes all that waits, up to
`READ_GROUP_MAX`, runs it on one snapshot and tells every caller in one go. No timer: a lone read waits for nothing.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db.transaction import Transaction, drive

if TYPE_CHECKING:
    from chatbackend.infra.db.sqlite import SqliteTransaction

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]
READ_GROUP_MAX = 32  # a slow one holds up no more than these


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller is told."""

    future: asyncio.Future[Any]
    result: Any
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    work: Work[Any]
    future: asyncio.Future[Any]


class GroupedReads:
    """Runs reads on `transactions`, each in a thread of its own, from `start` to `close`."""

    def __init__(self, transactions: "Sequence[SqliteTransaction]", *, name: str) -> None:
        self._waiting: queue.SimpleQueue[_Read | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, args=(each,), name=f"reader-{name}", daemon=True)
            for each in transactions
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    async def read(self, work: Work[T]) -> T:
        """See `Database.read`. Who gives up does not wait for the end of its read."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put(_Read(work, future))
        return await future

    def close(self) -> None:
        """Finish what waits, then return. Nothing may be read any more."""
        self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self, transaction: "SqliteTransaction") -> None:
        while True:
            group = self._group()
            _run(transaction, [each for each in group if each is not None and not each.future.cancelled()])
            if group[-1] is None:
                self._waiting.put(None)  # for the next thread
                return

    def _group(self) -> list[_Read | None]:
        group = [self._waiting.get()]
        while group[-1] is not None and len(group) < READ_GROUP_MAX:
            try:
                group.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return group


def deliver(outcomes: list[Outcome]) -> None:
    """Resolve futures on their loop, in their order; a caller that gave up is passed over."""
    for outcome in outcomes:
        if outcome.future.done():
            continue
        if outcome.error is None:
            outcome.future.set_result(outcome.result)
        else:
            outcome.future.set_exception(outcome.error)


def _run(transaction: "SqliteTransaction", group: list[_Read]) -> None:
    """Run a group on one snapshot, which is taken now: after every write that its callers can know of."""
    if not group:
        return
    connection, outcomes = transaction.connection, list[Outcome]()
    try:
        connection.execute("BEGIN")
        outcomes = [_outcome(transaction, each) for each in group]
        connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        outcomes = outcomes or [Outcome(each.future, None, _refusal(error)) for each in group]
    loop = group[0].future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(deliver, outcomes)


def _outcome(transaction: "SqliteTransaction", read: _Read) -> Outcome:
    try:
        return Outcome(read.future, drive(cast(Coroutine[Any, Any, Any], read.work(transaction))))
    except Exception as error:  # the caller's, as if it had been run there
        return Outcome(read.future, None, _refusal(error) if unusable(error) else error)


def unusable(error: BaseException) -> bool:
    """Return whether the database cannot be used now: full, locked, damaged; and not what was asked of it is wrong.

    Source: https://docs.python.org/3.11/library/sqlite3.html#exceptions; what is damaged has no class of its own.
    """
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _refusal(error: Exception) -> Unavailable:
    refusal = Unavailable("The database cannot be read now.", code="storage_unavailable")
    refusal.__cause__ = error
    return refusal
