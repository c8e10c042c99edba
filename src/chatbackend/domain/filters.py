"""Filters over file attributes, as the API writes them, checked and bounded.

A file without the attribute equals nothing: `eq`, `in` and the orderings leave it out, `ne` and `nin` let it in.
Source: the `openai` package, types/shared/comparison_filter.py and compound_filter.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

from chatbackend.domain.errors import InvalidRequest

Value = str | float | bool
Operator = Literal["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]

MAX_DEPTH: Final = 8
MAX_COMPARISONS: Final = 64
MAX_VALUES: Final = 200
_OPERATORS: Final = frozenset(get_args(Operator))
_LARGEST: Final = 2**1000  # of numbers; beyond, a whole number is no float any more
_ORDERINGS: Final = frozenset(("gt", "gte", "lt", "lte"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One attribute against a value; against several for `in` and `nin`."""

    key: str
    operator: Operator
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Compound:
    """All (`and`) or any (`or`) of some filters; never empty."""

    operator: Literal["and", "or"]
    filters: "tuple[Filter, ...]"


Filter = Comparison | Compound


def parse_filter(given: Mapping[str, Any] | None) -> Filter | None:
    """Read a filter tree. Raises: InvalidRequest."""
    return None if given is None else _Reader().filter(given, depth=1)


class _Reader:
    """Reads one tree and counts its comparisons as they come."""

    def __init__(self) -> None:
        self._comparisons = 0

    def filter(self, given: object, *, depth: int) -> Filter:
        if not isinstance(given, Mapping):
            raise _invalid("each filter must be an object")
        if depth > MAX_DEPTH:
            raise _invalid(f"it is nested deeper than {MAX_DEPTH}")
        fields = cast(Mapping[str, object], given)
        operator = fields.get("type")
        if operator in ("and", "or"):
            return self._compound(operator, fields.get("filters"), depth=depth)
        if not isinstance(operator, str) or operator not in _OPERATORS:
            raise _invalid(f"'type' must be one of and, or, {', '.join(get_args(Operator))}")
        key = fields.get("key")
        if not isinstance(key, str):
            raise _invalid("'key' must be a string")
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise _invalid(f"it has more than {MAX_COMPARISONS} comparisons")
        return Comparison(key, cast(Operator, operator), _values(operator, fields.get("value")))

    def _compound(self, operator: Literal["and", "or"], given: object, *, depth: int) -> Compound:
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise _invalid("'filters' must be a list with at least one filter")
        filters = cast(Sequence[object], given)
        return Compound(operator, tuple(self.filter(each, depth=depth + 1) for each in filters))


def _values(operator: str, given: object) -> tuple[Value, ...]:
    if operator in ("in", "nin"):
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise _invalid(f"the value of '{operator}' must be a list")
        values = cast(Sequence[object], given)
        if len(values) > MAX_VALUES:
            raise _invalid(f"the value of '{operator}' has more than {MAX_VALUES} entries")
        return tuple(_value(each) for each in values)
    value = _value(given)
    if operator in _ORDERINGS and isinstance(value, bool):
        raise _invalid(f"'{operator}' compares strings or numbers")
    return (value,)


def _value(given: object) -> Value:
    if isinstance(given, str | bool):
        return given
    if not isinstance(given, int | float) or abs(given) > _LARGEST:
        raise _invalid("a value must be a string, a number or a boolean")
    return float(given)


def _invalid(what: str) -> InvalidRequest:
    return InvalidRequest(f"The filter is not valid: {what}.", param="filters")
