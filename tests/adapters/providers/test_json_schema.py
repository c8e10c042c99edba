"""A stranger's schema against a stranger's answer."""

from typing import Any

import pytest

from chatbackend.adapters.providers.json_schema import MAX_SCHEMA_BYTES, is_open, mismatch, wrong_schema

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ages": {"type": "array", "items": {"$ref": "#/$defs/age"}}},
    "required": ["name"],
    "additionalProperties": False,
    "$defs": {"age": {"type": "integer", "minimum": 0}},
}


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ({"name": "x"}, None),
        ({"name": "x", "ages": [1, 2]}, None),
        ({"name": 7}, "$.name"),
        ({"name": "x", "ages": [1, -2]}, "$.ages[1]"),
        ({"name": "x", "more": 1}, "$"),
        ({}, "$"),
        ([], "$"),
    ],
)
def test_an_answer_matches_or_the_place_is_named(answer: object, place: str | None) -> None:
    assert mismatch(PERSON, answer) == (place and f"does not match the schema at {place}")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "#/$defs/none"},
        {"$ref": "#"},
        {
            "$ref": "#/$defs/0",
            "$defs": {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)} | {"40": {}},
        },
    ],
    ids=["elsewhere", "nowhere", "itself", "multiplying"],
)
def test_a_reference_is_neither_fetched_nor_followed_without_end(schema: dict[str, Any]) -> None:
    assert mismatch(schema, {}) == "could not be checked against the schema"


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(a+)+$"},
        {"patternProperties": {"^(a+)+$": False}},
        {"patternProperties": {"^(a+)+$": True}, "additionalProperties": False},
        {"patternProperties": {"^(a+)+$": True}, "unevaluatedProperties": False},
    ],
)
def test_no_expression_of_a_strangers_is_run(schema: dict[str, Any]) -> None:
    evil = "a" * 40 + "!"
    assert mismatch(schema, evil) is None
    assert mismatch(schema, {evil: 1}) is None


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (PERSON, None),
        ({}, None),
        ({"type": "persn"}, "is none: 'persn' is not valid"),
        ({"title": "a" * MAX_SCHEMA_BYTES}, "is larger than"),
    ],
)
def test_a_schema_is_good_or_it_is_said_what_is_wrong(schema: dict[str, Any], wrong: str | None) -> None:
    found = wrong_schema(schema)
    assert found is wrong if wrong is None else (found or "").startswith(wrong)


def test_a_schema_without_a_bottom_is_no_schema() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"not": schema}
    assert wrong_schema(schema) == "is nested too deeply"


@pytest.mark.parametrize(
    ("schema", "more"),
    [
        (PERSON, False),
        ({"type": "string"}, False),
        ({}, False),
        ({"type": "object"}, True),
        ({"type": ["object", "null"], "properties": {}}, True),
        ({"type": ["string", "null"]}, False),
        ({"type": "object", "additionalProperties": {"type": "string"}}, True),
        ({**PERSON, "$defs": {"age": {"type": "object"}}}, True),
        ({"anyOf": [PERSON, {"type": "array", "items": {"type": "object"}}]}, True),
    ],
)
def test_a_schema_is_open_where_any_object_may_have_more(schema: dict[str, Any], more: object) -> None:
    assert is_open(schema) is more
