"""Attribute filters are read as the API writes them, and refused when they are none."""

from typing import Any

import pytest

from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.filters import MAX_COMPARISONS, MAX_DEPTH, MAX_VALUES, Comparison, Compound, parse_filter

EQ = {"type": "eq", "key": "a", "value": 1}


def nested(depth: int) -> dict[str, Any]:
    """Return a filter that is `depth` deep."""
    return EQ if depth == 1 else {"type": "and", "filters": [nested(depth - 1)]}


def test_no_filter_is_none() -> None:
    assert parse_filter(None) is None


@pytest.mark.parametrize("operator", ["eq", "ne", "gt", "gte", "lt", "lte"])
def test_a_comparison_has_one_value(operator: str) -> None:
    found = parse_filter({"type": operator, "key": "year", "value": 1999})
    assert isinstance(found, Comparison)
    assert (found.key, found.operator, found.values) == ("year", operator, (1999.0,))


@pytest.mark.parametrize("operator", ["in", "nin"])
def test_membership_has_several_values_of_any_kind(operator: str) -> None:
    found = parse_filter({"type": operator, "key": "k", "value": ["x", 2, True]})
    assert isinstance(found, Comparison)
    assert found.values == ("x", 2.0, True)
    assert [type(value) for value in found.values] == [str, float, bool]


def test_filters_are_combined() -> None:
    found = parse_filter({"type": "or", "filters": [EQ, {"type": "and", "filters": [EQ]}]})
    one = Comparison("a", "eq", (1.0,))
    assert found == Compound("or", (one, Compound("and", (one,))))


BAD: list[Any] = [
    {},
    {"type": "like", "key": "a", "value": "x"},
    {"type": ["eq"], "key": "a", "value": "x"},
    {"type": "eq", "key": 5, "value": "x"},
    {"type": "eq", "value": "x"},
    {"type": "eq", "key": "a"},
    {"type": "eq", "key": "a", "value": None},
    {"type": "eq", "key": "a", "value": ["x"]},
    {"type": "eq", "key": "a", "value": 10**400},
    {"type": "gt", "key": "a", "value": True},
    {"type": "in", "key": "a", "value": "x"},
    {"type": "in", "key": "a", "value": 5},
    {"type": "in", "key": "a", "value": [["x"]]},
    {"type": "in", "key": "a", "value": [1] * (MAX_VALUES + 1)},
    {"type": "and"},
    {"type": "and", "filters": []},
    {"type": "and", "filters": "ab"},
    {"type": "and", "filters": [5]},
    {"type": "and", "filters": [EQ] * (MAX_COMPARISONS + 1)},
    nested(MAX_DEPTH + 1),
]


@pytest.mark.parametrize("given", BAD, ids=lambda given: str(given)[:60])
def test_what_is_no_filter_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="filter is not valid") as caught:
        parse_filter(given)
    assert caught.value.param == "filters"


def test_the_bounds_themselves_are_allowed() -> None:
    assert parse_filter(nested(MAX_DEPTH)) is not None
    assert parse_filter({"type": "or", "filters": [EQ] * MAX_COMPARISONS}) is not None
