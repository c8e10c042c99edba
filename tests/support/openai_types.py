"""What we emit, held against the types of the `openai` package: every event by its own class, strictly."""

from collections.abc import Iterable
from typing import Any, get_args

import msgspec
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel


def _by_type() -> dict[str, type[BaseModel]]:
    union = get_args(ResponseStreamEvent)[0]
    classes: Iterable[type[BaseModel]] = get_args(union)
    return {name: each for each in classes for name in get_args(each.model_fields["type"].annotation)}


EVENTS = _by_type()


def checked_event(data: bytes) -> dict[str, Any]:
    """Return a stream event that the SDK's class for its type accepts, the response inside included."""
    event = msgspec.json.decode(data, type=dict[str, Any])
    EVENTS[event["type"]].model_validate_json(data, strict=True)
    if "response" in event:
        checked_response(event["response"])
    return event


def checked_response(response: dict[str, Any]) -> dict[str, Any]:
    """Return a response object that the SDK accepts."""
    Response.model_validate_json(msgspec.json.encode(response), strict=True)
    return response
