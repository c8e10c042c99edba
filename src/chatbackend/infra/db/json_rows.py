"""Rows that go to the database as one JSON array of arrays, in one parameter: on SQLite and PostgreSQL alike.

Source: https://sqlite.org/json1.html, https://www.postgresql.org/docs/15/functions-json.html
"""

from typing import Any

from sqlalchemy import JSON, BindParameter, ColumnElement, String, TableValuedAlias, Text, bindparam, func
from sqlalchemy import cast as sql_cast
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.types import TypeEngine


class _Elements(GenericFunction[Any]):
    """The elements of a JSON array, as a table of one column."""

    name = "json_each"
    inherit_cache = True


class _Field(FunctionElement[Any]):
    """A field of an element, by its place."""

    name = "json_field"
    inherit_cache = False  # the place is no clause

    def __init__(self, element: ColumnElement[Any], at: int, type_: TypeEngine[Any]) -> None:
        super().__init__(element)
        self.at = at
        self.type = type_


def given(parameter: str) -> TableValuedAlias:
    """Return the rows of a parameter."""
    rows: BindParameter[str] = bindparam(parameter, type_=Text)
    return func.json_each(rows).table_valued("value", name="given")


def field(rows: TableValuedAlias, at: int, type_: TypeEngine[Any]) -> ColumnElement[Any]:
    """Return a field of a row by its place."""
    return _Field(rows.c.value, at, type_)


@compiles(_Elements, "postgresql")
def _elements(element: _Elements, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # as SQLAlchemy calls it
    (array,) = element.clauses
    return f"json_array_elements({compiler.process(sql_cast(array, JSON), **options)})"


@compiles(_Field, "sqlite")
def _sqlite_field(element: _Field, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # as SQLAlchemy calls it
    (row,) = element.clauses
    return f"json_extract({compiler.process(row, **options)}, '$[{element.at}]')"


@compiles(_Field, "postgresql")
def _postgresql_field(element: _Field, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  # as SQLAlchemy calls it
    (row,) = element.clauses
    found = f"({compiler.process(row, **options)} ->> {element.at})"
    if isinstance(element.type, String):
        return found
    return f"CAST({found} AS {compiler.dialect.type_compiler_instance.process(element.type)})"
