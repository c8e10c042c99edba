"""Streams of the Conversations API: its log as server-sent events, and its export."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import anyio

from chatbackend.adapters.api import conversations as shapes
from chatbackend.adapters.api.conversation_events import DELETED, deleted
from chatbackend.adapters.api.responses import response_object
from chatbackend.domain.errors import NotFound
from chatbackend.infra.db.conversation_export import ConversationExport
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import Watch, send_events
from chatbackend.usecases.follow_conversation import Events, FollowConversation
from chatbackend.usecases.ports import LogEvent, Truth

PATH = "/v1/conversations/{conversation_id}"
LINES = [(b"content-type", b"application/jsonl; charset=utf-8"), (b"cache-control", b"no-store")]


class ConversationStreams:
    """`GET .../events` and `GET .../export`."""

    def __init__(
        self,
        follow: FollowConversation,
        log: ConversationLog,
        export: ConversationExport,
        *,
        truth: Truth,
        watch: KeyWatch,
        draining: Draining,
    ) -> None:
        self._follow = follow
        self._log = log
        self._export = export
        self._truth = truth
        self._watch = watch
        self._draining = draining

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("GET", f"{PATH}/events", self.events), ("GET", f"{PATH}/export", self.export)]

    async def events(self, request: Request) -> None:
        """Follow what happens in a conversation as server-sent events, until it is deleted."""
        conversation_id = request.path_params["conversation_id"]
        after = shapes.read_cursor(request.query, request.headers.get("last-event-id"))
        events = await self._follow(request.principal, conversation_id, after=after)
        with (
            anyio.CancelScope() as scope,
            self._watch.watching(request.principal, scope.cancel),
            self._draining.telling(scope.cancel),
        ):
            await send_events(request, _to_the_end(events, conversation_id), with_ids=True)
        if scope.cancelled_caught:  # the key was revoked, or the server stops: an end, and coming back decides
            await request.send({"type": "http.response.body", "body": b""})

    async def export(self, request: Request) -> None:
        """Export a conversation as JSON Lines: itself, its items, its responses."""
        principal, conversation_id = request.principal, request.path_params["conversation_id"]
        state = await self._log.state(principal, conversation_id)
        with Watch(request):
            await request.start(200, LINES)
            await _send(request, shapes.exported(shapes.conversation_object(state.conversation)))
            async with aclosing(self._export.items(principal, conversation_id)) as batches:
                async for rows in batches:
                    lines = [shapes.exported_item(row["turn"], row["response_id"], row["body"]) for row in rows]
                    await _send(request, b"".join(lines))
            async with aclosing(self._export.responses(principal, conversation_id)) as ids:
                async for response_id in ids:
                    response = await self._truth.get(principal, response_id)
                    if response is not None:
                        await _send(request, shapes.exported(response_object(response)))
            await request.send({"type": "http.response.body", "body": b""})


async def _to_the_end(events: Events, conversation_id: str) -> AsyncGenerator[Sequence[LogEvent], None]:
    try:
        async with aclosing(events):
            async for batch in events:
                yield batch
    except NotFound:
        yield [LogEvent(-1, DELETED, deleted(conversation_id))]


async def _send(request: Request, lines: bytes) -> None:
    await request.send({"type": "http.response.body", "body": lines, "more_body": True})
