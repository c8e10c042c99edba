"""The server's own search among the user's files, as a tool: its arguments checked, its passages written down.

What stands in files may try to be an instruction; it is given as data, in JSON.
"""

from collections.abc import Sequence

import msgspec

from chatbackend.adapters.realtime.frames import as_object, encode
from chatbackend.domain.passages import Passage

MAX_QUERY = 4096
MAX_TEXT = 4000  # characters of a passage: what is spoken is short
_NO_QUERY = "Call it with a query: a text of at most 4096 characters."
FAILED = "The files cannot be searched now."


def query_of(arguments: str) -> str | None:
    """Return what to search for, None for arguments that are none."""
    try:
        query = (as_object(msgspec.json.decode(arguments)) or {}).get("query")
    except (msgspec.DecodeError, RecursionError):
        return None
    return query if isinstance(query, str) and 0 < len(query.strip()) <= MAX_QUERY else None


def output_of(passages: Sequence[Passage]) -> str:
    """Return what the model is told of passages."""
    found = [{"file": each.filename, "page": each.page, "text": each.text[:MAX_TEXT]} for each in passages]
    return encode({"results": found}).decode()


def failed(why: str = _NO_QUERY) -> str:
    """Return what the model is told when there is nothing to tell."""
    return encode({"error": why}).decode()
