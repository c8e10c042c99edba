"""Server-sent events to a client: batches in, frames out, a comment when nothing happens."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from chatbackend.adapters.wire import sse
from chatbackend.infra.web.http import Disconnected, Request
from chatbackend.infra.web.wire import wire_of
from chatbackend.usecases.ports import LogEvent

SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
SILENCE_S = 10.0  # well below the idle limits of proxies on the way


class Watch:
    """Cancels its maker's task when the client goes away: made once the body is read, closed behind the answer.

    As a context manager it turns that cancellation into `Disconnected`. It is told by the connection: no task that
    waits, no timer, no cancel scope.
    """

    def __init__(self, request: Request) -> None:
        self.gone = False
        self._wire = wire_of(request.scope)
        self._watched = asyncio.current_task()
        self._wire.on_gone = self._cancel

    def __enter__(self) -> Self:
        if self._wire.is_gone:
            raise Disconnected
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self.gone and isinstance(error, asyncio.CancelledError):
            raise Disconnected from None

    def close(self) -> None:
        """Stop looking."""
        self._wire.on_gone = None

    def _cancel(self) -> None:
        if self._watched is not None:
            self.gone = True
            self._watched.cancel()


class EventStream:
    """Events to one client, sent by one task or by several; `ping` whenever nothing was sent for a while.

    `async with` closes it without an end of the answer's own: the client sees that it was cut off.
    """

    def __init__(self, request: Request, *, ping: bytes = sse.COMMENT, silence_s: float = SILENCE_S) -> None:
        self._request = request
        self._ping = ping
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._spoke_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._pinging: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Send the head of the answer."""
        await self._request.start(200, SSE_HEADERS)
        self._wait(self._silence_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    async def send(self, event: bytes) -> None:
        """Send encoded events."""
        self._spoke_at = self._loop.time()
        await self._request.send({"type": "http.response.body", "body": event, "more_body": True})

    async def end(self, event: bytes = b"") -> None:
        """Send the last events, and that they were the last."""
        self._stop()
        await self._request.send({"type": "http.response.body", "body": event})

    def _wait(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        left_s = self._spoke_at + self._silence_s - self._loop.time()
        if left_s <= 0:
            left_s = self._silence_s
            if self._pinging is None or self._pinging.done():  # else the client does not read
                self._pinging = self._loop.create_task(self.send(self._ping))
        self._wait(left_s)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._pinging is not None:
            self._pinging.cancel()


async def send_events(
    request: Request, batches: AsyncGenerator[Sequence[LogEvent], None], *, with_ids: bool = False
) -> None:
    """Send every batch as it comes until the source ends or the client is gone (the source goes on without it).

    `with_ids`: numbers are ids too, which a browser sends back as `Last-Event-ID`; a number below 0 is none.
    """
    await request.start(200, SSE_HEADERS)
    with Watch(request):
        async with aclosing(batches):
            async for batch in batches:
                body = b"".join([_encoded(event, with_id=with_ids) for event in batch]) or sse.COMMENT
                await request.send({"type": "http.response.body", "body": body, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})


def _encoded(event: LogEvent, *, with_id: bool) -> bytes:
    event_id = str(event.number) if with_id and event.number >= 0 else ""
    return sse.encode(event.type, event.data, event_id=event_id)
