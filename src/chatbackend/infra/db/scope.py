"""The conditions of a search as SQL: whose stores, whose files, which attributes; in every statement that searches."""

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, bindparam, exists, false, or_, select

from chatbackend.domain.filters import Comparison, Filter, Value
from chatbackend.infra.db.readers import may_read
from chatbackend.infra.db.tables.files import ATTRIBUTES, CHUNK_SETS, STORE_FILES, VECTOR_STORES

_ORDERINGS: dict[str, Callable[[Any, Any], Any]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def searched() -> FromClause:
    """Join what `in_scope` speaks of."""
    return VECTOR_STORES.join(STORE_FILES, STORE_FILES.c.vector_store_id == VECTOR_STORES.c.id).join(
        CHUNK_SETS, CHUNK_SETS.c.id == STORE_FILES.c.chunk_set_id
    )


def in_scope(store_count: int, filters: Filter | None) -> ColumnElement[bool]:
    """Say that a row of `searched` may be searched. Parameters: those of `reader`, and `store0`... for the stores."""
    return and_(
        VECTOR_STORES.c.id.in_([bindparam(f"store{n}") for n in range(store_count)]),
        may_read(VECTOR_STORES),
        STORE_FILES.c.tenant == bindparam("tenant"),
        STORE_FILES.c.cancelled == 0,
        may_read(CHUNK_SETS),
        CHUNK_SETS.c.status == "completed",
        *([] if filters is None else [matches(filters)]),
    )


def matches(filters: Filter) -> ColumnElement[bool]:
    """Say that a file in a store has the attributes that a filter asks for; every value is a bound parameter."""
    if not isinstance(filters, Comparison):
        parts = [matches(each) for each in filters.filters]
        return and_(*parts) if filters.operator == "and" else or_(*parts)
    match filters.operator:
        case "eq" | "in":
            return _has(filters.key, _any_of(filters.values))
        case "ne" | "nin":
            return ~_has(filters.key, _any_of(filters.values))
        case _:
            return _has(filters.key, _compared(_ORDERINGS[filters.operator], filters.values[0]))


def _has(key: str, test: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(
        select(ATTRIBUTES.c.key).where(
            ATTRIBUTES.c.vector_store_id == STORE_FILES.c.vector_store_id,
            ATTRIBUTES.c.file_id == STORE_FILES.c.file_id,
            ATTRIBUTES.c.tenant == bindparam("tenant"),
            ATTRIBUTES.c.key == key,
            test,
        )
    )


def _any_of(values: tuple[Value, ...]) -> ColumnElement[bool]:
    """Say that an attribute equals one of the values, in type too: `1` is not `true` and not `"1"`."""
    return or_(false(), *(_compared(operator.eq, value) for value in values))


def _compared(compare: Callable[[Any, Any], Any], value: Value) -> ColumnElement[bool]:
    if isinstance(value, str):
        return and_(ATTRIBUTES.c.kind == "text", compare(ATTRIBUTES.c.text, value))
    return and_(ATTRIBUTES.c.kind == kind_of(value), compare(ATTRIBUTES.c.number, float(value)))


def kind_of(value: Value) -> str:
    """Return the kind under which a value is stored and compared."""
    if isinstance(value, str):
        return "text"
    return "boolean" if isinstance(value, bool) else "number"
