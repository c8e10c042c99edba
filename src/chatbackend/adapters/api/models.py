"""The list of models as OpenAI's and as Anthropic's API show it.

Source: `Model` in the `openai` package, `ModelInfo` in the `anthropic` package, and its pages (pagination.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatbackend.adapters.api.listing import envelope
from chatbackend.domain.errors import InvalidRequest

Json = dict[str, Any]
MAX_LIMIT = 1000
ROUTED = "chatbackend"  # who owns a name that the operator gave to a route


@dataclass(frozen=True, slots=True)
class Listed:
    """A name that can be asked for, and whose it is. `created_at`: in seconds since the epoch."""

    name: str
    provider: str
    created_at: int


def openai_model(model: Listed) -> Json:
    """Return a model as OpenAI's API shows it."""
    return {"id": model.name, "object": "model", "created": model.created_at, "owned_by": model.provider}


def openai_list(models: Iterable[Listed]) -> Json:
    """Return all models as OpenAI's API lists them."""
    return {"object": "list", "data": [openai_model(model) for model in models]}


def anthropic_model(model: Listed) -> Json:
    """Return a model as Anthropic's API shows it."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created_at, UTC).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
    }


def anthropic_page(models: Sequence[Listed], query: Mapping[str, Sequence[str]]) -> Json:
    """Return a page of the models as Anthropic's API lists them: behind `after_id`, or just before `before_id`.

    Raises: InvalidRequest naming the query parameter.
    """
    limit, names = _limit(query), [model.name for model in models]
    if "before_id" in query:
        stop = _place(names, query, "before_id")
        start = max(0, stop - limit)
        more = start > 0
    else:
        start = _place(names, query, "after_id") + 1 if "after_id" in query else 0
        stop = min(len(names), start + limit)
        more = stop < len(names)
    page = envelope([anthropic_model(model) for model in models[start:stop]], more=more, ids=names[start:stop])
    del page["object"]
    return page


def _limit(query: Mapping[str, Sequence[str]]) -> int:
    given = query["limit"][-1] if "limit" in query else "20"
    if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= MAX_LIMIT):
        raise InvalidRequest(f"'limit' must be a whole number from 1 to {MAX_LIMIT}.", param="limit")
    return int(given)


def _place(names: Sequence[str], query: Mapping[str, Sequence[str]], param: str) -> int:
    name = query[param][-1]
    if name not in names:
        raise InvalidRequest(f"'{param}': there is no model '{name}'.", param=param)
    return names.index(name)
