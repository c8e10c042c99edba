"""Pieces of work as coroutines that are stepped by hand, so that many are run with few round trips.

A repository's work awaits nothing but its transaction, and every such await hands us one request. Pieces that touch
nothing in common are stepped side by side: requests of the same statement go to the server in one batch, whose
every row says whose it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import asyncpg
from sqlalchemy.sql.base import Executable

from chatbackend.infra.db.postgres.errors import LOST
from chatbackend.infra.db.postgres.links import Connection
from chatbackend.infra.db.postgres.statements import PIECE, Statements
from chatbackend.infra.db.transaction import Params, Row, Transaction

Work = Callable[[Transaction], Awaitable[Any]]
Kind = Literal["rows", "execute", "many"]


@dataclass(slots=True)
class Request:
    """What a piece asks of its transaction; awaited by the piece, answered by who steps it."""

    kind: Kind
    statement: Executable
    params: Sequence[Params | None]

    def __await__(self) -> Generator["Request", Any, Any]:
        return (yield self)


class _Asking:
    """`Transaction` that hands every request to who steps the piece."""

    async def rows(self, statement: Executable, params: Params | None = None) -> list[Row]:
        """See `Transaction.rows`."""
        return await Request("rows", statement, (params,))

    async def execute(self, statement: Executable, params: Params | None = None) -> int:
        """See `Transaction.execute`."""
        return await Request("execute", statement, (params,))

    async def execute_many(self, statement: Executable, params: Sequence[Params]) -> None:
        """See `Transaction.execute_many`."""
        if params:
            await Request("many", statement, params)


_ASKING = _Asking()


@dataclass(slots=True, eq=False)
class Piece:
    """One piece of work, who waits for it, what it touches (None: anything), and how it ended."""

    work: Work
    future: asyncio.Future[Any]
    touching: frozenset[str] | None = None
    result: Any = None
    error: BaseException | None = None
    wrote: bool = False
    _steps: Coroutine[Any, Any, Any] = field(init=False, repr=False)

    def begin(self) -> Request | None:
        """Run up to the first request; None where the piece has ended."""
        self.result, self.error, self.wrote = None, None, False
        self._steps = cast("Coroutine[Any, Any, Any]", self.work(_ASKING))
        return self.answer(None)

    def answer(self, answer: Any) -> Request | None:  # noqa: ANN401  # rows, a count or None, as was asked
        """Hand over an answer; return the next request, None where the piece has ended."""
        try:
            request = self._steps.send(answer)
        except StopIteration as stop:
            self.result = stop.value
            return None
        except Exception as error:
            self.error = error
            return None
        if isinstance(request, Request):
            return request
        self._steps.close()
        self.error = RuntimeError("a repository function awaited something other than its transaction")
        return None

    def abandon(self) -> None:
        """Leave a piece where it is."""
        self._steps.close()


class Failed(Exception):
    """These pieces must be undone, and with them all of the transaction."""

    def __init__(self, pieces: Collection[Piece]) -> None:
        super().__init__(len(pieces))
        self.pieces = pieces


class Runner:
    """Steps pieces over one connection, inside a transaction that somebody else began."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements

    async def alone(self, piece: Piece) -> None:
        """Run one piece to its end. Raises: what it raised, and what the database did."""
        request = piece.begin()
        try:
            while request is not None:
                request = piece.answer(await self._answer(piece, request))
        except BaseException:
            piece.abandon()
            raise
        if piece.error is not None:
            raise piece.error

    async def together(self, pieces: Sequence[Piece]) -> None:
        """Run pieces side by side; an error of one that wrote nothing is kept in it, and harms nobody.

        Raises: Failed, and what the connection raised when it was lost.
        """
        waiting = [(piece, request) for piece in pieces if (request := _ended_well(piece, piece.begin()))]
        try:
            while waiting:
                batches: dict[tuple[int, Kind], list[tuple[Piece, Request]]] = {}
                for piece, request in waiting:
                    batches.setdefault((id(request.statement), request.kind), []).append((piece, request))
                waiting = [step for batch in batches.values() for step in await self._batch(batch)]
        except BaseException:
            for piece in pieces:
                piece.abandon()
            raise

    async def _batch(self, batch: list[tuple[Piece, Request]]) -> list[tuple[Piece, Request]]:
        """Answer requests of one statement; return the next ones of the same pieces."""
        try:
            answers = await self._answers(batch)
        except LOST as error:
            if not isinstance(error, ValueError):  # a value that asyncpg cannot send is a fault of its piece
                raise
            raise Failed([piece for piece, _ in batch]) from error
        except asyncpg.PostgresError as error:
            raise Failed([piece for piece, _ in batch]) from error
        return [
            (piece, following)
            for (piece, _), answer in zip(batch, answers, strict=True)
            if (following := _ended_well(piece, piece.answer(answer)))
        ]

    async def _answers(self, batch: list[tuple[Piece, Request]]) -> Sequence[Any]:
        first = batch[0][1]
        if len(batch) == 1:
            return [await self._answer(*batch[0])]
        if first.kind == "many":
            await self._many([(piece, request) for piece, request in batch])
            return [None] * len(batch)
        tagged = self._statements.tagged(first.statement)
        if tagged is None:
            return [await self._answer(piece, request) for piece, request in batch]
        given = [
            tagged.arguments({**(request.params[0] or {}), PIECE: place}) for place, (_, request) in enumerate(batch)
        ]
        found: list[list[Row]] = [[] for _ in range(len(batch))]
        for row in await self._connection.fetchmany(tagged.sql, given):
            number: int = row[PIECE]
            found[number].append(dict(row))
        if tagged.writes:
            for (piece, _), rows in zip(batch, found, strict=True):
                piece.wrote = piece.wrote or bool(rows)
        return found if first.kind == "rows" else [len(rows) for rows in found]

    async def _answer(self, piece: Piece, request: Request) -> Any:  # noqa: ANN401  # rows, a count or None, as was asked
        if request.kind == "many":
            await self._many([(piece, request)])
            return None
        compiled = self._statements.plain(request.statement)
        arguments = compiled.arguments(request.params[0])
        piece.wrote = piece.wrote or compiled.writes
        if request.kind == "rows":
            return [dict(row) for row in await self._connection.fetch(compiled.sql, *arguments)]
        status = await self._connection.execute(compiled.sql, *arguments)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def _many(self, batch: list[tuple[Piece, Request]]) -> None:
        compiled = self._statements.plain(batch[0][1].statement)
        given = [compiled.arguments(params) for _, request in batch for params in request.params]
        for piece, _ in batch:
            piece.wrote = True
        await self._connection.executemany(compiled.sql, given)


def _ended_well(piece: Piece, request: Request | None) -> Request | None:
    """Return the next request. Raises: Failed when the piece failed after it had written."""
    if request is None and piece.error is not None and piece.wrote:
        raise Failed([piece])
    return request


def waves(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Cut pieces, in their order, into runs that touch nothing in common; inside one, in the order of what they touch.

    One order everywhere, so that servers that share a database wait for each other's rows instead of in circles.
    """
    found: list[list[Piece]] = []
    touched: set[str] = set()
    open_ = False
    for piece in pieces:
        if open_ and piece.touching is not None and touched.isdisjoint(piece.touching):
            found[-1].append(piece)
            touched |= piece.touching
        else:
            found.append([piece])
            touched, open_ = set(piece.touching or ()), piece.touching is not None
    return [sorted(wave, key=lambda piece: min(piece.touching or ("",))) for wave in found]
