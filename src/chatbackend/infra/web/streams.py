"""Server-sent events to a client: batches in, frames out, a comment when nothing happens."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import anyio

from chatbackend.adapters.wire import sse
from chatbackend.infra.web.http import Request
from chatbackend.usecases.ports import LogEvent

SSE_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


async def send_events(request: Request, batches: AsyncGenerator[Sequence[LogEvent], None]) -> None:
    """Send every batch as it comes until the source ends or the client is gone (the source goes on without it)."""
    await request.start(200, SSE_HEADERS)
    async with anyio.create_task_group() as group:
        group.start_soon(_until_gone, request, group.cancel_scope)
        async with aclosing(batches):
            async for batch in batches:
                body = b"".join([sse.encode(event.type, event.data) for event in batch]) or sse.COMMENT
                await request.send({"type": "http.response.body", "body": body, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})
        group.cancel_scope.cancel()


async def _until_gone(request: Request, scope: anyio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
