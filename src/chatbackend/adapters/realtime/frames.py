"""Frames of the Realtime protocol: whose type they are, told without parsing where that is safe.

Parsing 8 KiB costs thirty times a look at the beginning, and most frames are audio that nobody acts on.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from chatbackend.domain.errors import InvalidRequest

Frame = str | bytes  # a text or a binary frame, as it came
Event = dict[str, Any]
encode = msgspec.json.Encoder().encode

_KEY = '"type"'
_HEAD = re.compile(r'\{\s*(?:"event_id"\s*:\s*"[^"\\]{0,512}"\s*,\s*)?"type"\s*:\s*"([a-z_][a-z0-9_.]*)"')


def size(frame: Frame) -> int:
    """Return how many bytes a frame has at most; told without encoding it."""
    return len(frame) if isinstance(frame, bytes) or frame.isascii() else 4 * len(frame)


def peek(frame: Frame) -> str | None:
    """Return the type that a frame begins with; None where only a parse can tell."""
    if isinstance(frame, bytes):
        return None
    found = _HEAD.match(frame)
    return None if found is None else found[1]


def peek_strictly(frame: Frame) -> str | None:
    """Return the type of a frame that cannot mean another to any parser; None where only a parse can tell.

    A second key of that name, or one spelled with escapes, would win at most parsers: what is judged here must be
    what the provider reads.
    """
    if isinstance(frame, bytes) or "\\" in frame or frame.count(_KEY) != 1:
        return None
    return peek(frame)


def parsed(frame: Frame) -> Event:
    """Return a client's frame as the object that it is.

    Raises: InvalidRequest for anything else, a key that is there twice included.
    """
    try:
        value: object = _STRICT.decode(frame.decode() if isinstance(frame, bytes) else frame)
    except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError, too
        raise InvalidRequest("The frame is not valid JSON.", code="invalid_json") from error
    event = as_object(value)
    if event is None:
        raise InvalidRequest("A frame must be a JSON object.", code="invalid_json")
    return event


def said(frame: Frame) -> Event | None:
    """Return a provider's frame as the object that it is, None where it is none."""
    try:
        return as_object(msgspec.json.decode(frame))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def as_object(value: object) -> Event | None:
    """Return a JSON object, None for any other value."""
    return cast("Event", value) if isinstance(value, dict) else None  # a JSON object's keys are strings


def as_list(value: object) -> list[Any] | None:
    """Return a JSON array, None for any other value."""
    return cast("list[Any]", value) if isinstance(value, list) else None  # of anything


def retyped(frame: str, kind: str) -> str:
    """Return a frame that can be peeked at with another type, and nothing else changed."""
    found = _HEAD.match(frame)
    return frame if found is None else f"{frame[: found.start(1)]}{kind}{frame[found.end(1) :]}"


def written(event: Event, *, like: Frame = "") -> Frame:
    """Return an event as a frame of the same kind as another."""
    data = encode(event)
    return data if isinstance(like, bytes) else data.decode()


def _unique(pairs: Iterable[tuple[str, Any]]) -> Event:
    found: Event = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(name)
        found[name] = value
    return found


_STRICT = json.JSONDecoder(object_pairs_hook=_unique)
