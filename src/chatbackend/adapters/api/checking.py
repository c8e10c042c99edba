"""Request bodies checked against their shapes; what is wrong is refused naming the field."""

import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from chatbackend.domain.errors import InvalidRequest

S = TypeVar("S", bound=msgspec.Struct)
MAX_NESTING = 200  # far from where encoding what was decoded would run out of stack
_MISSING = re.compile(r"Object missing required field `(.+)`")
_KEY_OF = "`key` in "  # msgspec complains "Expected ... - at `$.tools[0].name`", or "... - at `key` in `$.metadata`"


def checked(body: Mapping[str, Any], shape: type[S]) -> S:
    """Return a decoded body as its shape. Raises: InvalidRequest naming the field."""
    refuse_deep(body)
    return converted(body, shape)


def converted(body: Mapping[str, Any], shape: type[S]) -> S:
    """Return fields of a body whose depth was checked as their shape. Raises: InvalidRequest naming the field."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise worded(error) from error


def refuse_deep(body: Mapping[str, Any]) -> None:
    """Refuse what could be decoded but not be encoded again. Raises: InvalidRequest."""
    level: list[object] = [body]
    for _ in range(MAX_NESTING):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, dict | list)]
        if not level:
            return
    raise InvalidRequest(f"The body is nested deeper than {MAX_NESTING}.", code="invalid_json")


def worded(error: msgspec.ValidationError) -> InvalidRequest:
    """Return a shape error in words that name the field it is about."""
    message, _, place = str(error).partition(" - at ")
    if not place and (missing := _MISSING.fullmatch(message)):
        said = f"Missing required parameter: '{missing[1]}'."
        return InvalidRequest(said, param=missing[1], code="missing_required_parameter")
    where = place.removeprefix(_KEY_OF).strip("`").removeprefix("$").removeprefix(".")
    kind = "key of " if place.startswith(_KEY_OF) else ""
    param = re.split(r"[.\[]", where)[0] or None
    return InvalidRequest(f"Invalid {kind}'{where}': {message}." if where else f"{message}.", param=param)


def _inside(value: object) -> list[object]:
    return list(cast(dict[str, object], value).values()) if isinstance(value, dict) else cast(list[object], value)
