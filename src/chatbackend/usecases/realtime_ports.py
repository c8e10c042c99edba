"""What realtime sessions need of the world."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from chatbackend.domain.realtime import Dialect, Ended, SessionKind

# What the provider of a session calls the model that writes down what is said, by any name of it that we know; None for
# one that it does not have.
FindTranscriber = Callable[[str], str | None]


class RealtimeLink(Protocol):
    """An open session at a provider.

    Frames are `str` (text) or `bytes` (binary). `secrets` must never be shown to anybody.
    """

    @property
    def secrets(self) -> Sequence[str]: ...

    @property
    def ended(self) -> Ended:
        """How the provider closed, once `frames` has ended."""
        ...

    def frames(self) -> AsyncIterator[str | bytes]:
        """Yield what the provider sends, until either side closes. While nobody takes, the provider is held back."""
        ...

    async def send(self, frame: str | bytes) -> None:
        """Send; waits while too many bytes wait to be taken. What is sent after the end is dropped."""
        ...

    async def alive(self) -> None:
        """Ask for a sign of life, and return when it came (or the session has ended)."""
        ...

    async def close(self, ended: Ended) -> None:
        """Close, with code and reason; returns once that is done or has taken too long."""
        ...


class RealtimeModel(Protocol):
    """A model that can be talked to in realtime, at one provider."""

    @property
    def dialect(self) -> Dialect:
        """What the provider speaks."""
        ...

    async def connect(self, timeout_s: float) -> RealtimeLink:
        """Open a session. Raises: UpstreamError (and below)."""
        ...


class RealtimeCalls(Protocol):
    """Calls over WebRTC with one model: media go between client and provider, only their beginning passes here.

    What is spoken beside them is GA.
    """

    async def create(self, offer: str, session: Mapping[str, Any]) -> tuple[str, str]:
        """Return the id of a new call, and the provider's answer to the offer. Raises: UpstreamError (and below)."""
        ...

    async def hang_up(self, call_id: str) -> None:
        """End a call. Raises: UpstreamError (and below)."""
        ...

    async def join(self, call_id: str, timeout_s: float) -> RealtimeLink:
        """Open a socket beside a call that runs. Raises: UpstreamError (and below)."""
        ...


@dataclass(frozen=True, slots=True)
class RealtimeApi:
    """What a provider's Realtime API has with one model: sessions by their kind, and calls."""

    sessions: Mapping[SessionKind, RealtimeModel] = field(default_factory=dict[SessionKind, RealtimeModel])
    calls: RealtimeCalls | None = None


NO_REALTIME = RealtimeApi()
