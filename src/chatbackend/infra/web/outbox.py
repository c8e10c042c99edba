"""What waits to be sent on one socket: bounded in bytes, with a rule for consumers that take nothing."""

from collections import deque

import anyio

from chatbackend.adapters.wire.responses_socket import with_lane
from chatbackend.adapters.wire.socket_lanes import Lane
from chatbackend.infra.web.http import Send

MAX_BYTES = 2**20
STALL_S = 2.0  # below TCP_USER_TIMEOUT, or the kernel would cut before we can say why


class SlowConsumer(Exception):
    """The outbox is full and the peer has taken nothing for a while, or there is no room for what cannot wait."""


class Outbox:
    """Events on their way out, in order, sent by one task (`run`).

    Holds `max_bytes`, or one larger event alone. Events are held as the log holds them: many outboxes share one copy.
    """

    def __init__(self, send: Send, *, max_bytes: int = MAX_BYTES, stall_s: float = STALL_S) -> None:
        self._send = send
        self._max_bytes = max_bytes
        self._stall_s = stall_s
        self._waiting: deque[tuple[bytes, Lane]] = deque()
        self._bytes = 0
        self._filled = anyio.Event()
        self._taken: anyio.Event | None = None  # set when an event has left; made by who waits for room

    def post(self, event: bytes) -> None:
        """Add a rendered event at once. Raises: SlowConsumer."""
        if not self._has_room(event):
            raise SlowConsumer
        self._add(event, None)

    async def put(self, event: bytes, lane: Lane) -> None:
        """Add an event, waiting for room. Raises: SlowConsumer when nothing leaves for `stall_s`."""
        while not self._has_room(event):
            await self._some_taken()
        self._add(event, lane)

    async def run(self) -> None:
        """Send until cancelled, or until the peer is gone."""
        while True:
            self._filled = anyio.Event()
            while self._waiting:
                event, lane = self._waiting.popleft()
                try:
                    await self._send({"type": "websocket.send", "text": with_lane(event, lane).decode()})
                except (OSError, RuntimeError):  # as ASGI servers say that the socket is closed
                    return
                self._bytes -= len(event)
                if self._taken is not None:
                    self._taken.set()
                    self._taken = None
            await self._filled.wait()

    def _has_room(self, event: bytes) -> bool:
        return not self._bytes or self._bytes + len(event) <= self._max_bytes

    def _add(self, event: bytes, lane: Lane) -> None:
        self._waiting.append((event, lane))
        self._bytes += len(event)
        self._filled.set()

    async def _some_taken(self) -> None:
        taken = self._taken = self._taken or anyio.Event()
        with anyio.move_on_after(self._stall_s) as scope:
            await taken.wait()
        if scope.cancelled_caught:
            raise SlowConsumer
