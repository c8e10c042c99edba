"""Whether JSON matches a schema of a caller's, in bounded time: what a stranger wrote is run here.

Source: JSON Schema 2020-12. Not looked at is what runs a regular expression (`pattern`, `patternProperties`: one can
take longer than anybody waits), nor `unevaluatedProperties` and `$dynamicRef`. References lead nowhere but into the
schema itself: nothing is fetched.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

Json = dict[str, Any]
Rule = Callable[[Any, Any, Any, Json], Iterable[ValidationError] | None]

MAX_SCHEMA_BYTES = 16_384  # a tenth of a second to check
MAX_REFERENCES = 10_000  # followed in one check: references to references can multiply without end
_RULES = cast(Mapping[str, Rule], Draft202012Validator.VALIDATORS)
_extend = cast(Callable[[Any, Mapping[str, Rule]], Any], validators.extend)


def is_open(schema: object) -> bool:
    """Return whether an object, anywhere in a schema, may have properties that are not named."""
    if isinstance(schema, list):
        return any(map(is_open, cast(list[object], schema)))
    if not isinstance(schema, dict):
        return False
    node = cast(Json, schema)
    kinds: object = node.get("type")
    if (kinds == "object" or (isinstance(kinds, list) and "object" in kinds)) and (
        node.get("additionalProperties") is not False
    ):
        return True
    return any(map(is_open, node.values()))


def wrong_schema(schema: Json) -> str | None:
    """Return what is wrong with a schema, as the end of a sentence, None for one that is good."""
    try:
        if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
            return f"is larger than {MAX_SCHEMA_BYTES} bytes"
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is none: {error.message[:200]}"
    except RecursionError:
        return "is nested too deeply"
    return None


def mismatch(schema: Json, answer: object) -> str | None:
    """Return where an answer does not match a good schema, as the end of a sentence, None where it does."""
    try:
        wrong: ValidationError | None = next(
            iter(_patient()(schema, registry=Registry[Any]()).iter_errors(answer)), None
        )
    except (Unresolvable, RecursionError):
        return "could not be checked against the schema"
    return None if wrong is None else f"does not match the schema at {wrong.json_path[:200]}"


def _patient() -> Any:  # noqa: ANN401  # a class of jsonschema's that is made here and has no type
    left = MAX_REFERENCES

    def follow(
        validator: object, reference: object, instance: object, within: Json
    ) -> Iterable[ValidationError] | None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RecursionError
        return _RULES["$ref"](validator, reference, instance, within)

    return _extend(Draft202012Validator, {**_UNCHECKED, "$ref": follow, "additionalProperties": _additional})


def _unchecked(_: object, __: object, ___: object, ____: Json) -> Iterable[ValidationError] | None:
    return None


def _additional(validator: object, said: object, instance: object, within: Json) -> Iterable[ValidationError] | None:
    """Look for further properties, but where patterns name some."""
    return None if "patternProperties" in within else _RULES["additionalProperties"](validator, said, instance, within)


_UNCHECKED: Mapping[str, Rule] = dict.fromkeys(
    ("pattern", "patternProperties", "unevaluatedProperties", "$dynamicRef"), _unchecked
)
