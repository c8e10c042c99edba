"""The search of the server as a tool."""

import json

import pytest

from chatbackend.adapters.realtime.search_tool import failed, output_of, query_of
from chatbackend.domain.passages import Passage


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ('{"query": "where?"}', "where?"),
        ('{"query": " "}', None),
        ('{"query": 1}', None),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
        (json.dumps({"query": "x" * 4097}), None),
    ],
)
def test_only_a_text_is_searched_for(arguments: str, query: str | None) -> None:
    assert query_of(arguments) == query


def test_passages_are_told_as_data() -> None:
    told = json.loads(output_of([Passage("file_1", "a.pdf", 0, 5000, "x" * 5000, 0.5, page=3)]))
    assert told == {"results": [{"file": "a.pdf", "page": 3, "text": "x" * 4000}]}
    assert "query" in json.loads(failed())["error"]
