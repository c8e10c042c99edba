"""What waits to be sent on one socket: bounded in bytes, with a rule for consumers that take nothing."""

from collections import deque

import anyio

from chatbackend.adapters.wire.frames import with_lane
from chatbackend.adapters.wire.socket_lanes import Lane
from chatbackend.infra.web.http import Send

MAX_EVENT_BYTES = 7 * 2**17
MAX_ANSWER_BYTES = 2**17  # with the events: 1 MiB
STALL_S = 2.0  # below TCP_USER_TIMEOUT, or the kernel would cut before we can say why


class SlowConsumer(Exception):
    """There is no room, and the peer has taken nothing for a while; or it takes no answers and goes on asking."""


class Outbox:
    """A socket's events and answers on their way out, in order, sent by one task (`run`).

    Responses' events wait for room; a client that takes them slower than they come fills the box and stays, one that
    takes nothing is too slow. Answers to commands never wait and have a bound of their own. An event that is larger
    than the bound goes alone. Events are held as the log holds them: many boxes share one copy.
    """

    def __init__(self, send: Send, *, max_event_bytes: int = MAX_EVENT_BYTES, stall_s: float = STALL_S) -> None:
        self._send = send
        self._max_event_bytes = max_event_bytes
        self._stall_s = stall_s
        self._waiting: deque[tuple[bytes, Lane, bool]] = deque()  # the flag: an answer
        self._event_bytes = 0
        self._answer_bytes = 0
        self._filled = anyio.Event()
        self._taken: anyio.Event | None = None  # set when an event has left; made by who waits for room

    def answer(self, event: bytes) -> None:
        """Add the answer to a command at once. Raises: SlowConsumer."""
        if self._answer_bytes + len(event) > MAX_ANSWER_BYTES:
            raise SlowConsumer
        self._waiting.append((event, None, True))
        self._answer_bytes += len(event)
        self._filled.set()

    async def put(self, event: bytes, lane: Lane) -> None:
        """Add a response's event, waiting for room. Raises: SlowConsumer when nothing leaves for `stall_s`."""
        while self._event_bytes and self._event_bytes + len(event) > self._max_event_bytes:
            await self._some_taken()
        self.add(event, lane)

    def add(self, event: bytes, lane: Lane = None) -> None:
        """Add an event at once. Who adds events so waits for `room` before it makes more."""
        self._waiting.append((event, lane, False))
        self._event_bytes += len(event)
        self._filled.set()

    async def room(self) -> None:
        """Return once what waits is within the bound. Raises: SlowConsumer when nothing leaves for `stall_s`."""
        while self._event_bytes > self._max_event_bytes:
            await self._some_taken()

    async def emptied(self) -> None:
        """Return once everything has left."""
        while self._event_bytes or self._answer_bytes:
            taken = self._taken = self._taken or anyio.Event()
            await taken.wait()

    async def run(self) -> None:
        """Send until cancelled, or until the peer is gone."""
        while True:
            self._filled = anyio.Event()
            while self._waiting:
                event, lane, answer = self._waiting.popleft()
                try:
                    await self._send({"type": "websocket.send", "text": with_lane(event, lane).decode()})
                except (OSError, RuntimeError):  # as ASGI servers say that the socket is closed
                    return
                self._count_out(event, answer=answer)
            await self._filled.wait()

    def _count_out(self, event: bytes, *, answer: bool) -> None:
        if answer:
            self._answer_bytes -= len(event)
        else:
            self._event_bytes -= len(event)
        if self._taken is not None:
            self._taken.set()
            self._taken = None

    async def _some_taken(self) -> None:
        taken = self._taken = self._taken or anyio.Event()
        with anyio.move_on_after(self._stall_s) as scope:
            await taken.wait()
        if scope.cancelled_caught:
            raise SlowConsumer
