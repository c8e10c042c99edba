"""What a session sends: events of the Realtime API as JSON, each with an id of its own.

Source: the `openai` package, types/realtime/realtime_server_event.py.
"""

import msgspec

from chatbackend.adapters.api.items import NewId
from chatbackend.adapters.realtime import notices
from chatbackend.domain.errors import ChatError

_encode = msgspec.json.Encoder().encode


class Frames:
    """Makes the frames of one session."""

    def __init__(self, new_id: NewId) -> None:
        self._new_id = new_id

    def event(self, kind: str, **fields: object) -> bytes:
        """Return an event."""
        return _encode({"type": kind, "event_id": self._new_id("event"), **fields})

    def error(self, error: ChatError, about: str | None = None) -> bytes:
        """Return an `error` event; `about` is the id that the client gave the event which caused it."""
        return _encode(notices.error_event(error, self._new_id("event"), about=about))

    def draining(self, seconds: float) -> bytes:
        """Return the word that the server stops in so many seconds."""
        return _encode(notices.draining(seconds, self._new_id("event")))
