"""Where the Realtime API of a provider is, and which dialect it speaks there.

Source: the `openai` package (resources/realtime, lib/azure); Azure's page on realtime audio over WebSockets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from chatbackend.domain.realtime import Dialect, SessionKind


@dataclass(frozen=True, slots=True)
class RealtimeAddress:
    """The address of one model's sessions, `ws:` or `wss:`."""

    url: str
    dialect: Dialect = "ga"


def session_query(kind: SessionKind, model: Mapping[str, str]) -> Mapping[str, str]:
    """Return what an address says of the session; one for transcription is told its model later, in its configuration.

    Source: OpenAI's guide to realtime transcription.
    """
    return {"intent": "transcription"} if kind == "transcription" else model


def session_path(kind: SessionKind) -> str:
    """Return where sessions are, below the address of the API."""
    return "/realtime/translations" if kind == "translation" else "/realtime"


def realtime_address(url: str, query: Mapping[str, str], dialect: Dialect = "ga") -> RealtimeAddress:
    """Return the address of sessions for the HTTP address of their API."""
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return RealtimeAddress(f"ws{url.removeprefix('http')}?{pairs}", dialect)
