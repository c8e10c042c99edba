"""Events of the Realtime API, held against the types of the `openai` package: each by its own class, strictly."""

from collections.abc import Iterable
from typing import Any, get_args

import msgspec
from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel


def _by_type() -> dict[str, type[BaseModel]]:
    classes: Iterable[type[BaseModel]] = get_args(get_args(RealtimeServerEvent)[0])
    return {name: each for each in classes for name in get_args(each.model_fields["type"].annotation)}


EVENTS = _by_type()


def checked_realtime_event(data: bytes) -> dict[str, Any]:
    """Return an event that the SDK's class for its type accepts."""
    event = msgspec.json.decode(data, type=dict[str, Any])
    EVENTS[event["type"]].model_validate_json(data, strict=True)
    return event
