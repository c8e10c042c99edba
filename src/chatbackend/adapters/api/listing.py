"""Cursor pages as OpenAI's lists have them: `after`, `before`, `limit`, `order`.

Source: the `openai` package, pagination.py.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chatbackend.domain.errors import InvalidRequest

Order = Literal["asc", "desc"]
MAX_LIMIT = 100
_SMALL = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list is asked for."""

    limit: int = 20
    order: Order = "desc"
    after: str | None = None
    before: str | None = None


def window(query: Mapping[str, Sequence[str]], *, default_order: Order = "desc", max_limit: int = MAX_LIMIT) -> Window:
    """Read a list's query parameters. Raises: InvalidRequest."""
    limit = _last(query, "limit") or "20"
    if not _SMALL.fullmatch(limit) or not 1 <= int(limit) <= max_limit:
        raise InvalidRequest(f"'limit' must be a whole number from 1 to {max_limit}.", param="limit")
    order = _last(query, "order") or default_order
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be asc or desc.", param="order")
    return Window(int(limit), "asc" if order == "asc" else "desc", _last(query, "after"), _last(query, "before"))


def envelope(found: Sequence[Any], *, more: bool, ids: Sequence[str]) -> dict[str, Any]:
    """Return a page's envelope around rendered objects; `ids` are theirs, in order."""
    return {
        "object": "list",
        "data": found,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": more,
    }


def page(found: Sequence[Any], query: Mapping[str, Sequence[str]], *, default_order: Order = "desc") -> dict[str, Any]:
    """Cut a page out of a whole list (oldest first) of JSON objects with ids. Raises: InvalidRequest."""
    wanted = window(query, default_order=default_order)
    ordered = list(found) if wanted.order == "asc" else list(reversed(found))
    ids = [item["id"] for item in ordered]
    start = _index(ids, wanted.after, "after") + 1 if wanted.after else 0
    stop = _index(ids, wanted.before, "before") if wanted.before else len(ordered)
    cut = ordered[start:stop][: wanted.limit]
    return envelope(cut, more=start + len(cut) < stop, ids=[item["id"] for item in cut])


def _index(ids: Sequence[str], wanted: str, param: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"No item with id '{wanted}' in this list.", param=param)
    return ids.index(wanted)


def _last(query: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = query.get(name)
    return values[-1] if values else None
