"""What waits for one client of a relayed session: in order, bounded in bytes, sent by one task.

A full box holds its provider back; a client that has taken nothing for a while then is too slow for the session.
"""

import asyncio
from collections import deque

import anyio

from chatbackend.adapters.realtime.frames import Frame, size
from chatbackend.infra.web.http import Send
from chatbackend.infra.web.outbox import STALL_S, SlowConsumer

MAX_BYTES = 8 << 20  # two minutes of speech, as it is spoken; what is larger goes alone


class RelayBox:
    """Frames on their way out. `held` is True while somebody waits for room."""

    def __init__(self, send: Send, *, max_bytes: int = MAX_BYTES, stall_s: float = STALL_S) -> None:
        self.held = False
        self._send = send
        self._max_bytes = max_bytes
        self._stall_s = stall_s
        self._waiting: deque[Frame] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._taken: anyio.Event | None = None  # set when a frame has left; made by who waits for that

    def add(self, frame: Frame) -> bool:
        """Add a frame; return whether there is room for more."""
        self._waiting.append(frame)
        self._bytes += size(frame)
        self._filled.set()
        return self._bytes < self._max_bytes

    async def room(self) -> None:
        """Return once there is room. Raises: SlowConsumer when nothing leaves for a while."""
        self.held = True
        try:
            while self._bytes >= self._max_bytes:
                with anyio.move_on_after(self._stall_s) as scope:
                    await self._some_taken()
                if scope.cancelled_caught:
                    raise SlowConsumer
        finally:
            self.held = False

    async def emptied(self) -> None:
        """Return once everything has left."""
        while self._bytes:
            await self._some_taken()

    def drop(self) -> None:
        """Forget what waits: nobody sends it any more."""
        self._waiting.clear()
        self._bytes = 0

    async def run(self) -> None:
        """Send until cancelled, or until the client is gone."""
        while True:
            self._filled.clear()
            while self._waiting:
                frame = self._waiting.popleft()
                try:
                    await self._send(_message(frame))
                except (OSError, RuntimeError):  # as ASGI servers say that the socket is closed
                    return
                self._bytes -= size(frame)
                if self._taken is not None:
                    self._taken.set()
                    self._taken = None
            await self._filled.wait()

    async def _some_taken(self) -> None:
        taken = self._taken = self._taken or anyio.Event()
        await taken.wait()


def _message(frame: Frame) -> dict[str, Frame]:
    return {"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame}
