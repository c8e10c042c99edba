"""An accepted WebSocket: received, sent and closed in one way, whatever is spoken over it.

One task is always in `receive()` (else pings go unanswered), one sends, one reads what has come, in its order, while
there is any. Inwards what waits is bounded, and a client that sends faster than it is read is closed with 1013.
Outwards: see `Outbox`.
"""

import time
from collections import deque
from contextlib import suppress
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup

from chatbackend.domain.errors import ChatError, InvalidRequest
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.outbox import Outbox, SlowConsumer

GO_S = 1.0  # at the end of the server, for what is on its way to a socket
CLOSE_S = 15.0  # a peer that does not even take a close frame in this time is left to the kernel
INBOX_SPARE = 2**20  # characters (of binary frames: bytes) that may wait to be read, beyond the largest frame
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


class Talk(Protocol):
    """What is spoken over a socket. Each may raise SlowConsumer, which closes it."""

    async def begin(self) -> None:
        """Say what comes first; nothing is taken before."""
        ...

    async def take(self, text: str) -> None:
        """Take a frame; the next one waits for it."""
        ...

    async def refuse(self, error: ChatError) -> None:
        """Say that a frame cannot be taken; the next one waits for it."""
        ...

    def drain(self) -> None:
        """Hear that the server begins to stop."""
        ...

    async def save(self) -> None:
        """Save what has to be, in little time: the connection ends, nothing is sent any more but its close."""
        ...

    async def finish(self) -> None:
        """Return once everything that has ended is on its way: the server stops now."""
        ...


class LiveSocket:
    """One connection from its acceptance to its close. `group` is for the tasks of what is spoken over it."""

    def __init__(self, request: Request, watch: KeyWatch, draining: Draining, *, max_frame_bytes: int) -> None:
        self.group: TaskGroup = anyio.create_task_group()
        self.outbox = Outbox(request.send)
        self._request = request
        self._watch = watch
        self._draining = draining
        self._max_frame_bytes = max_frame_bytes
        self._inbox: deque[tuple[str | None, int]] = deque()
        self._inbox_size = 0
        self._reading = True
        self._closing: tuple[int, str] | None = None

    async def serve(self, talk: Talk, **about: str) -> None:
        """Receive until either side closes; say why where it is us, and log one line, `about` it."""
        began, code = time.perf_counter(), 1011
        try:
            with self._watch.watching(self._request.principal, lambda reason: self.close(4401, reason)):
                async with self.group as group:
                    with self._draining.telling(talk.drain, lambda: group.start_soon(self._go, talk)):
                        group.start_soon(self.outbox.run)
                        group.start_soon(self._begin, talk)
                        code = await self._receive(talk)
                        group.cancel_scope.cancel()
        except Exception as error:  # the edge of a socket: its client comes back
            _log.error("socket failed", request_id=self._request.request_id, exc_info=error)
            self._closing = (1011, "internal error")
        with anyio.CancelScope(shield=True):
            await talk.save()
        if self._closing is not None:
            code, reason = self._closing
            await self._say_closed(code, reason)
        _log.info(
            "socket",
            **about,
            code=code,
            seconds=round(time.perf_counter() - began, 1),
            request_id=self._request.request_id,
            key=self._request.principal.key_id,
        )

    def close(self, code: int, reason: str) -> None:
        """Close from our side: everything of this connection stops, and what was not sent is dropped."""
        self._closing = self._closing or (code, reason)
        self.group.cancel_scope.cancel()

    def stops(self) -> None:
        """Close since the server stops."""
        self.close(1012, "the server stops")

    def too_slow(self) -> None:
        """Close to a client that does not take what it is sent."""
        self.close(1013, "slow_consumer")

    async def _go(self, talk: Talk) -> None:
        with anyio.move_on_after(GO_S), suppress(SlowConsumer):
            await talk.finish()
            await self.outbox.emptied()
        self.stops()

    async def _say_closed(self, code: int, reason: str) -> None:
        with anyio.move_on_after(CLOSE_S, shield=True), suppress(OSError, RuntimeError):
            await self._request.send({"type": "websocket.close", "code": code, "reason": reason})

    async def _receive(self, talk: Talk) -> int:
        """Take frames until the client has gone; return its close code."""
        limit = self._max_frame_bytes
        while True:
            message = await self._request.receive()
            if message["type"] == "websocket.disconnect":
                return message.get("code") or 1005
            text: str | None = message.get("text")
            if text is None:
                self._put_in(talk, None, len(message["bytes"]))
            elif len(text) > limit or (len(text) > limit // 4 and len(text.encode()) > limit):
                self.close(1009, f"a frame has at most {limit} bytes")
            else:
                self._put_in(talk, text, len(text))

    def _put_in(self, talk: Talk, frame: str | None, size: int) -> None:
        self._inbox.append((frame, size))
        self._inbox_size += size
        if self._inbox_size > self._max_frame_bytes + INBOX_SPARE:
            self.close(1013, "frames come faster than they can be read")
        elif not self._reading:
            self._reading = True
            self.group.start_soon(self._read, talk)

    async def _begin(self, talk: Talk) -> None:
        try:
            await talk.begin()
        except SlowConsumer:
            self.too_slow()
        await self._read(talk)

    async def _read(self, talk: Talk) -> None:
        try:
            while self._inbox:
                frame, size = self._inbox.popleft()
                self._inbox_size -= size
                if frame is None:
                    message = "Binary frames are not understood; send JSON text."
                    await talk.refuse(InvalidRequest(message, code="binary_frame"))
                else:
                    await talk.take(frame)
        except SlowConsumer:
            self.too_slow()
        self._reading = False
