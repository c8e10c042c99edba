"""Facts of realtime sessions that every layer shares."""

from dataclasses import dataclass, field
from typing import Any, Literal

Dialect = Literal["ga", "beta"]  # of the Realtime protocol; Azure's preview API speaks beta
SessionKind = Literal["realtime", "transcription", "translation"]  # in the latter two nobody answers
SESSION_S = 3600.0  # how long a session lasts where its provider does not say
LONGEST_REASON = 123  # bytes that a close frame has room for, behind its code
UNHEARD = "[speech without a transcript]"  # what stands in a conversation for words that nobody wrote down


@dataclass(frozen=True, slots=True)
class Ended:
    """How one side closed: the code that its close frame had (1005: none; 1006: there was no close frame)."""

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RealtimeCall:
    """A call over WebRTC: its id at the provider, the deployment that it is with, the name that was asked for."""

    id: str
    deployment: str
    model: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client secret holds a session to.

    `session` is what it begins with, as GA writes it: a client may change that. `instructions` go before a client's own
    words and the `vector_stores` (ids) are searched by a tool of ours: a client can neither see nor change these.
    `client_tools` are the names that its own functions may have, None for any. `show_sources`: it may see what the
    tool of ours has found. `kind` is the only one that it opens, None for any. `conversation` is the only one that it
    may be bound to, and is bound to unasked. `max_tokens` may be used by a session. `renew`: it goes on in another
    session of the provider's when that ends.
    """

    model: str | None = None
    session: dict[str, Any] = field(default_factory=dict[str, Any])
    instructions: str = ""
    vector_stores: tuple[str, ...] = ()
    client_tools: tuple[str, ...] | None = None
    show_sources: bool = False
    kind: SessionKind | None = None
    conversation: str | None = None
    max_tokens: int | None = None
    renew: bool = False
