"""The work of a Responses socket's lanes: make a response or take up a known one, and send its events."""

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import anyio

from chatbackend.adapters.api import items as wire
from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire import steering as wire_steering
from chatbackend.adapters.wire.responses_socket import FROM_THE_START, ResponsesSocket
from chatbackend.adapters.wire.socket_lanes import Create, Follow, Job, Kept, Lane, continue_from, left_behind
from chatbackend.adapters.wire.steering import Steering
from chatbackend.domain.errors import ChatError, Conflict, Gone
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.responses import TERMINAL_EVENTS, Response
from chatbackend.domain.steering import Steer, open_calls, unknown
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.outbox import Outbox
from chatbackend.infra.web.responses import once_of
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.create_response import Created, CreateResponse
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.follow_response import Batches, FollowResponse
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.ports import NewId, Truth
from chatbackend.usecases.steer_response import SteeringFate, SteerResponse

BeforeEnd = Callable[[str], Awaitable[None]]  # told the terminal event's type before it is sent


@dataclass(frozen=True, slots=True)
class SocketPorts:
    """What sockets need of the rest."""

    create: CreateResponse
    steer: SteerResponse
    fate: SteeringFate
    cancel: CancelResponse
    follow: FollowResponse
    truth: Truth
    live: Live
    watch: KeyWatch
    draining: Draining
    new_id: NewId
    follow_conversation: FollowConversation
    conversation_log: ConversationLog
    max_frame_bytes: int


@dataclass(slots=True)
class _Followed:
    """A response whose events go out on this connection; `number` is that of the newest."""

    lane: Lane
    entry: Entry | None
    number: int = FROM_THE_START


class LaneWork:
    """Does one connection's jobs; any number of them at once."""

    def __init__(self, ports: SocketPorts, principal: Principal, socket: ResponsesSocket, outbox: Outbox) -> None:
        self._ports = ports
        self._principal = principal
        self._socket = socket
        self._lanes = socket.lanes
        self._outbox = outbox
        self._followed: dict[str, _Followed] = {}
        self._steering = anyio.Lock()  # held until an offer is answered: what follows from it comes behind the answer
        self._waiting: dict[Lane, tuple[str, list[Steer]]] = {}  # of unstored responses, for the outputs of calls

    async def __call__(self, job: Job, known: Response | None) -> None:
        """Return when the job's response has ended and all of it is on its way. Raises: ChatError, SlowConsumer.

        `known`: the response to be followed, where it was looked up a moment ago.
        """
        await (self._create(job) if isinstance(job, Create) else self._take_up(job, known))

    async def find(self, response_id: str) -> Response:
        """Return a caller's own response, stored or not. Raises: NotFound."""
        return await self._ports.follow.find(self._principal, response_id)

    async def steer(self, steering: Steering) -> None:
        """Offer input to a response that is followed here, and say what came of it. Raises: SlowConsumer."""
        async with self._steering:
            followed = self._followed.get(steering.response_id)
            number, lane = (followed.number, followed.lane) if followed else (0, None)
            try:
                steer = await self._offered(steering, followed)
                event = wire_steering.accepted_event(steer, number)
            except ChatError as error:
                given = wire_steering.encoded(steering)
                event = wire_steering.failed_event(error, steering.response_id, given, number)
            await self._outbox.put(event, lane)

    async def _offered(self, steering: Steering, followed: _Followed | None) -> Steer:
        response_id = steering.response_id
        if followed is None and self._ports.live.running(response_id) is not None:
            raise unknown(response_id)
        items = wire.from_input(steering.given, self._ports.new_id)
        return await self._ports.steer(self._principal, response_id, items, given=wire_steering.encoded(steering))

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
        await self._go_on(create.lane, created.response_id, keeps=True)

    async def _created(self, create: Create, body: dict[str, Any], parent: Kept | None) -> Created:
        ask = shapes.ask(core.read(create, body), self._ports.new_id)
        self._principal.check_model(ask.model)
        key = core.idempotency_key(body)
        once = None if key is None else once_of(body, {}, key=key)
        if parent is None:
            ask.steering = "waiting" if ask.previous_response_id else None
            return await self._ports.create(ask, self._principal, once)
        owner, steers = self._waiting.get(create.lane, ("", []))
        if owner == parent.response_id:
            ask.items = [*(item for steer in steers for item in steer.items), *ask.items]
        continue_from(ask, parent)
        created = await self._ports.create(ask, self._principal, once)
        self._waiting.pop(create.lane, None)
        return created

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

    async def _take_up(self, job: Follow, known: Response | None) -> None:
        try:
            batches = await self._ports.follow(self._principal, job.response_id, after=job.after, known=known)
        except (Conflict, Gone):
            if not self._socket.opted_in:
                raise
            found = await self.find(job.response_id)
            await self._outbox.put(core.reset_event(found), None)
            if found.ended:
                return
            batches = await self._ports.follow(self._principal, job.response_id)
        await self._send(batches, job.lane, job.response_id)
        await self._go_on(job.lane, job.response_id)

    async def _send(self, batches: Batches, lane: Lane, response_id: str, before_end: BeforeEnd | None = None) -> None:
        live = self._ports.live
        entry = live.running(response_id) or live.unstored(self._principal, response_id)
        followed = self._followed[response_id] = _Followed(lane, entry)
        try:
            ended = await self._send_batches(batches, followed, before_end)
            if not ended:
                # Nothing lay behind the cursor; or it was deleted, or its log was lost: then say so.
                await self._ports.follow(self._principal, response_id)
        except BaseException:
            del self._followed[response_id]
            raise

    async def _send_batches(self, batches: Batches, followed: _Followed, before_end: BeforeEnd | None) -> bool:
        """Send events up to the terminal one; return whether that was among them."""
        ended = False
        async with aclosing(batches):
            async for batch in batches:
                ended = bool(batch) and batch[-1].type in TERMINAL_EVENTS
                if ended and before_end is not None:
                    await before_end(batch[-1].type)
                if ended:
                    await self._answered()
                for event in batch:
                    await self._outbox.put(event.data, followed.lane)
                    followed.number = event.number
        return ended

    async def _answered(self) -> None:
        """Return once no steering is on offer that is not answered."""
        if self._steering.locked():
            async with self._steering:
                pass

    async def _go_on(self, lane: Lane, response_id: str, *, keeps: bool = False) -> None:
        """Send what came of a response's steering: its successor, too, and the successor's, and so on.

        `keeps`: the lane keeps the context of those that are not stored.
        """
        following: str | None = response_id
        while following is not None:
            ended = following
            try:
                following = await self._outcome(ended, lane)
                if following is not None:
                    await self._follow_successor(following, ended, lane, keeps=keeps)
            finally:
                del self._followed[ended]

    async def _outcome(self, response_id: str, lane: Lane) -> str | None:
        """Say which steering of an ended response waits and which is given back; return who took the rest."""
        followed = self._followed[response_id]
        steers = await self._ports.fate(self._principal, response_id, followed.entry)
        await self._answered()
        waiting = [steer for steer in steers if steer.state == "waiting"]
        if waiting:
            response = await self.find(response_id)
            if not response.store:
                self._waiting[lane] = response_id, waiting
            for steer in waiting:
                await self._outbox.put(wire_steering.pending_event(steer, open_calls(response), followed.number), lane)
        for steer in steers:
            if steer.state == "failed":
                await self._outbox.put(wire_steering.given_back(steer, followed.number), lane)
        return next((steer.successor_id for steer in steers if steer.state == "taken"), None)

    async def _follow_successor(self, response_id: str, parent_id: str, lane: Lane, *, keeps: bool) -> None:
        created = Created(response_id, self._ports.live.unstored(self._principal, response_id) is None, fresh=True)

        async def before_end(kind: str) -> None:
            if kind == "response.failed":
                self._lanes.forget(lane, parent_id)
            else:
                await self._leave(lane, created, None)

        batches = await self._ports.follow(self._principal, response_id)
        await self._send(batches, lane, response_id, before_end if keeps else None)
