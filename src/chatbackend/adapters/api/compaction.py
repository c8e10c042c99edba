"""The shapes of `POST /v1/responses/compact`.

The API puts all user messages before the compaction item; the SDK's type of the answer has no place for them, so here
the one item holds everything.
Source: the `openai` package, types/responses/response_compact_params.py and compacted_response.py.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from chatbackend.adapters.api import items
from chatbackend.adapters.api.checking import converted, refuse_deep
from chatbackend.adapters.api.responses import usage_object
from chatbackend.usecases.compact_conversation import CompactAsk, Compacted


class CompactRequest(Struct):
    """The body. Fields about caches and tiers are hints, of no consequence here."""

    model: str
    input: str | items.InputItems | None = None
    instructions: str | None = None
    previous_response_id: str | None = None


def read(body: dict[str, Any], new_id: Callable[[str], str]) -> CompactAsk:
    """Read a decoded request body. Raises: InvalidRequest naming the field."""
    refuse_deep(body)
    request = converted(body, CompactRequest)
    given = [] if request.input is None else items.from_input(request.input, new_id)
    return CompactAsk(request.model, given, request.previous_response_id, request.instructions)


def answer(compacted: Compacted) -> dict[str, Any]:
    """Return the answer's body."""
    return {
        "id": compacted.id,
        "object": "response.compaction",
        "created_at": compacted.created_at,
        "output": [compacted.item],
        "usage": usage_object(compacted.usage),
    }
