"""The work of a Responses socket's lanes: make a response or take up a known one, and send its events."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire.responses_socket import ResponsesSocket
from chatbackend.adapters.wire.socket_lanes import Create, Follow, Job, Kept, Lane, continue_from, left_behind
from chatbackend.domain.errors import ChatError, Conflict, Gone
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.responses import TERMINAL_EVENTS, Response
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.outbox import Outbox
from chatbackend.infra.web.responses import once_of
from chatbackend.usecases.cancel_response import CancelResponse, response_not_found
from chatbackend.usecases.create_response import Created, CreateResponse
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.follow_response import Batches, FollowResponse
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.ports import NewId, Truth

BeforeEnd = Callable[[str], Awaitable[None]]  # told the terminal event's type before it is sent


@dataclass(frozen=True, slots=True)
class SocketPorts:
    """What sockets need of the rest."""

    create: CreateResponse
    cancel: CancelResponse
    follow: FollowResponse
    truth: Truth
    live: Live
    watch: KeyWatch
    new_id: NewId
    follow_conversation: FollowConversation
    conversation_log: ConversationLog
    max_frame_bytes: int


class LaneWork:
    """Does one connection's jobs; any number of them at once."""

    def __init__(self, ports: SocketPorts, principal: Principal, socket: ResponsesSocket, outbox: Outbox) -> None:
        self._ports = ports
        self._principal = principal
        self._socket = socket
        self._lanes = socket.lanes
        self._outbox = outbox

    async def __call__(self, job: Job) -> None:
        """Return when the job's response has ended and all of it is on its way. Raises: ChatError, SlowConsumer."""
        await (self._create(job) if isinstance(job, Create) else self._take_up(job))

    async def find(self, response_id: str) -> Response:
        """Return a caller's own response, stored or not. Raises: NotFound."""
        entry = self._ports.live.unstored(self._principal, response_id)
        found = await self._ports.truth.get(self._principal, response_id) if entry is None else entry.response
        if found is None:
            raise response_not_found(response_id)
        return found

    async def _create(self, create: Create) -> None:
        body = core.body_of(create)
        previous = str(body.get("previous_response_id"))
        parent = self._lanes.kept(previous)
        try:
            created = await self._created(create, body, parent)
            batches = await self._events(created)
        except ChatError:
            self._lanes.forget(create.lane, previous)
            raise

        async def before_end(kind: str) -> None:
            if kind == "response.failed":
                self._lanes.forget(create.lane, previous)
            else:
                await self._leave(create.lane, created, parent)

        await self._send(batches, create.lane, created.response_id, before_end)

    async def _created(self, create: Create, body: dict[str, Any], parent: Kept | None) -> Created:
        ask = shapes.ask(core.read(create, body), self._ports.new_id)
        self._principal.check_model(ask.model)
        if parent is not None:
            continue_from(ask, parent)
        key = core.idempotency_key(body)
        once = None if key is None else once_of(body, {}, key=key)
        return await self._ports.create(ask, self._principal, once)

    async def _events(self, created: Created) -> Batches:
        if created.fresh:
            return self._ports.follow.begun(self._principal, created.response_id, store=created.store)
        return await self._ports.follow(self._principal, created.response_id)

    async def _leave(self, lane: Lane, created: Created, parent: Kept | None) -> None:
        """Keep what the lane's next request may go on from, before the client can know that it may."""
        self._lanes.forget(lane)
        entry = None if created.store else self._ports.live.unstored(self._principal, created.response_id)
        if entry is None:
            return
        with suppress(ChatError):  # without its context it cannot be gone on from, but it ended well
            context = await self._context(entry)
            added = [*entry.ask.items, *entry.response.output]
            self._lanes.keep(lane, left_behind(created.response_id, context=context, added=added, parent=parent))

    async def _context(self, entry: Entry) -> list[Item]:
        if entry.ask.local_context is not None:
            return entry.ask.local_context
        return await self._ports.truth.context(entry.response)

    async def _take_up(self, job: Follow) -> None:
        try:
            batches = await self._ports.follow(self._principal, job.response_id, after=job.after)
        except (Conflict, Gone):
            if not self._socket.opted_in:
                raise
            found = await self.find(job.response_id)
            await self._outbox.put(core.reset_event(found), None)
            if found.ended:
                return
            batches = await self._ports.follow(self._principal, job.response_id)
        await self._send(batches, job.lane, job.response_id)

    async def _send(self, batches: Batches, lane: Lane, response_id: str, before_end: BeforeEnd | None = None) -> None:
        ended = False
        async with aclosing(batches):
            async for batch in batches:
                ended = bool(batch) and batch[-1].type in TERMINAL_EVENTS
                if ended and before_end is not None:
                    await before_end(batch[-1].type)
                for event in batch:
                    await self._outbox.put(event.data, lane)
        if not ended:
            await self.find(response_id)  # nothing lay behind the cursor, or the response was deleted: then say so
