"""Whether a silent peer is still there: asked now and then, and given up on when it does not answer.

While we do not read, because the other side takes nothing, no answer could be heard: that time does not count.
"""

from typing import Literal

Look = Literal["ask", "gone", "wait"]


class Liveness:
    """One peer's. Times are seconds of any clock that only goes on; `patience_s` is for an answer."""

    def __init__(self, now: float, *, every_s: float, patience_s: float) -> None:
        self._every_s = every_s
        self._patience_s = patience_s
        self._heard_at = now
        self._asked_at: float | None = None

    def heard(self, now: float) -> None:
        """Take note of a sign of life."""
        self._heard_at, self._asked_at = now, None

    def look(self, now: float, *, reading: bool) -> Look:
        """Return what to do now; `reading`: what the peer sends would be heard."""
        if not reading:
            self.heard(now)
        elif self._asked_at is not None:
            return "gone" if now - self._asked_at >= self._patience_s else "wait"
        elif now - self._heard_at >= self._every_s:
            self._asked_at = now
            return "ask"
        return "wait"
