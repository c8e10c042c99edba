"""Models as both APIs list them."""

from typing import Any

import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from chatbackend.adapters.api.models import Listed, anthropic_model, anthropic_page, openai_list, openai_model
from chatbackend.domain.errors import InvalidRequest

ALL = [Listed(f"p/{number}", "p", 1_700_000_000) for number in range(5)]


def page(**query: str) -> tuple[list[str], bool]:
    found = anthropic_page(ALL, {name: [value] for name, value in query.items()})
    names = [model["id"] for model in found["data"]]
    assert [found["first_id"], found["last_id"]] == ([names[0], names[-1]] if names else [None, None])
    return names, found["has_more"]


def test_a_model_is_what_each_sdk_takes_it_for() -> None:
    assert Model.model_validate(openai_model(ALL[0])).id == "p/0"
    found = ModelInfo.model_validate(anthropic_model(ALL[0]))
    assert (found.id, found.display_name, found.created_at.year) == ("p/0", "p/0", 2023)
    assert [model["id"] for model in openai_list(ALL)["data"]] == [model.name for model in ALL]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (["p/0", "p/1", "p/2", "p/3", "p/4"], False)),
        ({"limit": "2"}, (["p/0", "p/1"], True)),
        ({"limit": "2", "after_id": "p/1"}, (["p/2", "p/3"], True)),
        ({"limit": "2", "after_id": "p/2"}, (["p/3", "p/4"], False)),
        ({"after_id": "p/4"}, (list[str](), False)),
        ({"limit": "2", "before_id": "p/3"}, (["p/1", "p/2"], True)),
        ({"limit": "2", "before_id": "p/2"}, (["p/0", "p/1"], False)),
        ({"before_id": "p/0"}, (list[str](), False)),
    ],
)
def test_a_page_is_what_lies_behind_or_before_a_model(query: dict[str, Any], expected: tuple[list[str], bool]) -> None:
    assert page(**query) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("limit", "²"), ("after_id", "no"), ("before_id", "no")],
)
def test_a_page_that_cannot_be_names_the_parameter(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}'"):
        page(**{name: value})
