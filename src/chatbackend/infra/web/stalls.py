"""Connections whose peer takes nothing: cut off, since closing one waits for what will never be taken.

A peer that is gone, frozen or does not read leaves bytes in our buffers, and its kernel may go on to answer that it has
no room: no error ever comes. What counts as life is a byte acknowledged.
"""

import asyncio
from collections.abc import Iterable

from chatbackend.infra.delivery import undelivered

STALLED_S = 7.0  # with the time between looks: gone within 10 s


class Stalls:
    """Knows who has taken nothing since when."""

    def __init__(self) -> None:
        self._seen: dict[asyncio.Transport, tuple[int, float]] = {}

    def look(self, transports: Iterable[asyncio.Transport], now: float) -> None:
        """Cut off who takes nothing though there is something; `now` is in seconds. Call it every few seconds."""
        for transport in transports:
            taken = undelivered(transport)
            if taken is None:
                self._seen.pop(transport, None)
                continue
            known = self._seen.setdefault(transport, (taken, now))
            if known[0] != taken:
                self._seen[transport] = taken, now
            elif now - known[1] >= STALLED_S:
                del self._seen[transport]
                transport.abort()

    def forget(self, left: Iterable[asyncio.Transport]) -> None:
        """Keep only these."""
        self._seen = {transport: self._seen[transport] for transport in left if transport in self._seen}
