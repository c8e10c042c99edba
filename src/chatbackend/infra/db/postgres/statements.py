"""SQLAlchemy's statements as asyncpg runs them: `$1` for parameters, compiled once each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import Delete, Insert, Integer, Select, Update, bindparam
from sqlalchemy.dialects.postgresql import asyncpg as dialects
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from chatbackend.infra.db.transaction import Params

KEPT = 1_024  # compiled statements, at most
PIECE = "piece_"  # the column and parameter by which a row is told to be this piece's
_DIALECT = dialects.dialect()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement's text, the names of its parameters in order, and the values that it brings itself."""

    sql: str
    names: Sequence[str]
    defaults: Params
    writes: bool

    def arguments(self, params: Params | None) -> list[Any]:
        """Return the parameters in order; what is not given is NULL."""
        given = {**self.defaults, **params} if params else self.defaults
        return [given.get(name) for name in self.names]


@dataclass(slots=True)
class _Kept:
    statement: Executable
    plain: Compiled
    tagged: Compiled | None = None


class Statements:
    """Compiled statements, kept by identity: build statements at module level or memoise them."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}

    def plain(self, statement: Executable) -> Compiled:
        """Return a statement as it is."""
        return self._find(statement).plain

    def tagged(self, statement: Executable) -> Compiled | None:
        """Return a statement whose every row, read or changed, says whose it is; None where it cannot."""
        known = self._find(statement)
        if known.tagged is None:
            known.tagged = _tagged(statement)
        return known.tagged

    def _find(self, statement: Executable) -> _Kept:
        known = self._kept.get(id(statement))
        if known is None or known.statement is not statement:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            known = _Kept(statement, _compiled(statement))
            self._kept[id(statement)] = known
        return known


def _tagged(statement: Executable) -> Compiled | None:
    tag = bindparam(PIECE, None, type_=Integer).label(PIECE)
    if isinstance(statement, Insert | Update | Delete):
        return _compiled(statement.returning(tag))
    if isinstance(statement, Select):
        plain = cast("Select[*tuple[Any, ...]]", statement)
        return replace(_compiled(plain.add_columns(tag)), writes=False)
    return None


def _compiled(statement: Executable) -> Compiled:
    """Compile; `IN` lists of given values are written out (such a statement takes no further parameters)."""
    compile_ = cast(Callable[..., SQLCompiler], statement.compile)  # pyright: ignore[reportAttributeAccessIssue]  # Executable lacks the method in its stubs
    found = compile_(dialect=_DIALECT)
    if found.post_compile_params:
        found = compile_(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    given = cast("dict[str, Any]", found.construct_params(_check=False))
    defaults = {name: value for name, value in given.items() if value is not None}
    return Compiled(found.string, found.positiontup or (), defaults, isinstance(statement, Insert | Update | Delete))
