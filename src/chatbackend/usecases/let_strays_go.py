"""Let go of what began without anybody to run it: its commit had no answer, and the caller was refused.

Nobody was told of such a response, but its conversation waits for it. Under a fence that nobody holds any more it is
taken over like any other.
"""

from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Clock, Truth
from chatbackend.usecases.replica_ports import Fences

SURE_S = 60.0  # after the commit of a response its run is known here at once
EVERY_S = 30.0


class LetStraysGo:
    """Looks now and then at what this server owns by `fence` and does not run. Call it as often as you like."""

    def __init__(self, truth: Truth, live: Live, clock: Clock, *, fences: Fences, known: KnownLog, fence: int) -> None:
        self._truth = truth
        self._live = live
        self._clock = clock
        self._fences = fences
        self._known = known
        self._fence = fence
        self._last = 0.0

    async def __call__(self) -> None:
        """Look, unless it was done a moment ago. Raises: Unavailable."""
        now = self._clock.now()
        if abs(now - self._last) < EVERY_S:
            return
        owned = await self._truth.owned(fence=self._fence, before=now - SURE_S)
        strays = [response_id for response_id in owned if self._live.running(response_id) is None]
        if strays:
            nobodys = await self._fences.draw(self._known.name)
            self._fences.drop(nobodys)
            for response_id in strays:
                await self._truth.disown(response_id, fence=self._fence, to=nobodys)
        self._last = now
