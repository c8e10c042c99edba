"""`Transaction`: what repositories are written against, on SQLite and PostgreSQL alike.

Repositories build statements with SQLAlchemy Core and await a `Transaction`. On SQLite nothing ever
suspends: the writer thread drives such a coroutine to its end in one go (`drive`), so one repository
text serves a synchronous and an asynchronous driver.
"""

from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Insert, Table, bindparam, insert
from sqlalchemy.sql.base import Executable

T = TypeVar("T")
Row = Mapping[str, Any]
Params = Mapping[str, Any]


class Transaction(Protocol):
    """One open transaction. Statements are compiled once per object: build them at module level or memoise."""

    async def rows(self, statement: Executable, params: Params | None = None) -> list[Row]:
        """Run a statement that returns rows (SELECT, or RETURNING); keys are the column names."""
        ...

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        """Run a statement; return how many rows it changed."""
        ...

    async def execute_many(self, statement: Executable, params: Sequence[Params]) -> None:
        """Run a statement once per parameter set."""
        ...


class Database(Protocol):
    """Runs functions inside transactions."""

    async def write(self, work: Callable[[Transaction], Awaitable[T]], *, touching: Collection[str] | None = None) -> T:
        """Run `work` in a read-write transaction; it has been committed when this returns.

        An exception in `work` undoes what `work` did and is raised here. `work` must await nothing but its transaction,
        and may be run more than once (only the last time counts): what it does outside of it must bear that.
        `touching` names everything whose rows `work` decides by: works that touch nothing in common may be run
        side by side in one transaction. Without it, it is run by itself.
        """
        ...

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run `work` on a consistent snapshot that sees every earlier committed write."""
        ...


def adding(table: Table, *, omit: Collection[str] = ()) -> Insert:
    """Return an INSERT of every column but autoincremented ones and `omit`; parameters are named like the columns."""
    left_out = {column.name for column in table.columns if column.autoincrement is True} | set(omit)
    # Inline: on PostgreSQL no autoincremented key comes back with every row, unless it is asked for.
    return (
        insert(table)
        .inline()
        .values({column.name: bindparam(column.name) for column in table.columns if column.name not in left_out})
    )


async def one(tx: Transaction, statement: Executable, params: Params | None = None) -> Row | None:
    """Return the first row, or None."""
    rows = await tx.rows(statement, params)
    return rows[0] if rows else None


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, here and now.

    Raises: RuntimeError when it does suspend (it awaited something other than its transaction).
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("a repository function awaited something other than its transaction")
