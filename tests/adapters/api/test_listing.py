"""Cursor pages as OpenAI's lists have them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.adapters.api.listing import Window, envelope, page, window
from chatbackend.domain.errors import InvalidRequest

ALL = [{"id": f"i{number}"} for number in range(5)]


def ids(found: dict[str, Any]) -> list[str]:
    return [each["id"] for each in found["data"]]


def test_a_window_is_twenty_of_the_newest_unless_asked_otherwise() -> None:
    assert window({}) == Window(20, "desc", None, None)
    assert window({}, default_order="asc").order == "asc"
    asked = {"limit": ["3"], "order": ["asc"], "after": ["a"], "before": ["b"]}
    assert window(asked) == Window(3, "asc", "a", "b")


def test_of_a_repeated_parameter_the_last_counts() -> None:
    assert window({"limit": ["3", "4"]}).limit == 4


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": ["0"]}, "limit"),
        ({"limit": ["101"]}, "limit"),
        ({"limit": ["-1"]}, "limit"),
        ({"limit": ["many"]}, "limit"),
        ({"limit": ["²"]}, "limit"),
        ({"limit": ["9" * 5_000]}, "limit"),
        ({"order": ["up"]}, "order"),
        ({"after": ["nobody"]}, "after"),
        ({"before": ["nobody"]}, "before"),
    ],
)
def test_what_is_wrong_is_named(query: dict[str, list[str]], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page(ALL, query)
    assert refused.value.param == param


def test_a_page_is_cut_behind_after_and_ahead_of_before() -> None:
    assert ids(page(ALL, {})) == ["i4", "i3", "i2", "i1", "i0"]
    assert ids(page(ALL, {"after": ["i3"], "limit": ["2"]})) == ["i2", "i1"]
    assert ids(page(ALL, {"before": ["i3"]}, default_order="asc")) == ["i0", "i1", "i2"]
    assert ids(page(ALL, {"after": ["i0"], "before": ["i3"], "order": ["asc"]})) == ["i1", "i2"]


def test_an_envelope_names_its_ends() -> None:
    assert envelope([], more=False, ids=[]) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    found = page(ALL, {"limit": ["2"]})
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("i4", "i3", True)


@given(st.integers(0, 30), st.integers(1, 7), st.sampled_from(["asc", "desc"]))
def test_pages_one_behind_the_other_are_the_whole_list_once(count: int, limit: int, order: str) -> None:
    whole = [{"id": f"i{number}"} for number in range(count)]
    query, seen = {"limit": [str(limit)], "order": [order]}, list[str]()
    while True:
        found = page(whole, query)
        seen += ids(found)
        if not found["has_more"]:
            break
        query["after"] = [found["last_id"]]
    assert seen == [each["id"] for each in (whole if order == "asc" else reversed(whole))]
