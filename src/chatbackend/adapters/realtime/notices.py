"""Events of ours among the provider's: errors, and words for clients that know our events.

Source: the `openai` package, types/realtime/realtime_error_event.py.
"""

from collections.abc import Sequence
from typing import Any

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.realtime.frames import Event
from chatbackend.domain.errors import ChatError
from chatbackend.domain.passages import Passage


def error_event(error: ChatError, event_id: str, *, about: object = None) -> Event:
    """Return an error as an event of the protocol; `about` is the `event_id` of the client's event, if it had one."""
    shown: dict[str, Any] = {**wire_errors.body(error), "event_id": about if isinstance(about, str) else None}
    return {"type": "error", "event_id": event_id, "error": shown}


def close_code(error: ChatError) -> int:
    """Return what a session is closed with that an error ends."""
    return wire_errors.mapped(error).close_code


def draining(seconds: float, event_id: str) -> Event:
    """Return the word that the server stops in so many seconds."""
    return {"type": "chatbackend.draining", "event_id": event_id, "seconds": seconds}


def expiring(expires_at: int, event_id: str) -> Event:
    """Return the word that the session ends soon; `expires_at` is in seconds since the epoch."""
    return {"type": "chatbackend.session.expiring", "event_id": event_id, "expires_at": expires_at}


def renewed(expires_at: int, event_id: str, *, items: int, left_out: int) -> Event:
    """Return the word that the session goes on in another one of the provider's, which was given so many items."""
    told = {"expires_at": expires_at, "items": items, "left_out": left_out}
    return {"type": "chatbackend.session.renewed", "event_id": event_id, **told}


def sources(passages: Sequence[Passage], event_id: str) -> Event:
    """Return the word that the model was given these passages of files; fields are named as in a `file_citation`."""
    given = [
        {
            "file_id": each.file_id,
            "filename": each.filename,
            "page": each.page,
            "start": each.start,
            "end": each.end,
            "quote": each.text,
        }
        for each in passages
    ]
    return {"type": "chatbackend.sources", "event_id": event_id, "sources": given}
