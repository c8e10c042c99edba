"""`WS /v1/responses`: the shell around `ResponsesSocket`, which decides; here is only waiting, sending and closing.

One task is always in `receive()` (else pings go unanswered), one sends. A job (a new response, or one to follow) is a
task of the connection; the response itself belongs to the process and never ends with a socket.

Backpressure, inwards: commands that wait are bounded; more are refused by an error event, and a client that still
sends faster than we can read its commands is closed with 1013. Outwards: see `Outbox`.
"""

import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import structlog
from anyio.abc import TaskGroup

from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire.responses_socket import Cancel, ResponsesSocket, Resume, Say, Subscribe, Unsubscribe
from chatbackend.adapters.wire.socket_lanes import Create, Follow, Job
from chatbackend.adapters.wire.steering import Steering
from chatbackend.domain.errors import ChatError, Internal, InvalidRequest, RateLimited
from chatbackend.domain.limits import PerUser
from chatbackend.domain.responses import Response
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.lane_work import LaneWork, SocketPorts
from chatbackend.infra.web.outbox import Outbox, SlowConsumer
from chatbackend.infra.web.responses import PATH
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.subscriptions import Subscriptions

GO_S = 1.0  # at the end of the server, for what is on its way to a socket
CLOSE_S = 15.0  # a peer that does not even take a close frame in this time is left to the kernel
MAX_CANCELS = 32  # at once, on one socket
INBOX_SPARE = 2**20  # characters of commands that may wait to be read, beyond the largest frame
_SUBPROTOCOL = "realtime"  # offered by browsers beside a secret, which is never echoed
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


class ResponseSockets:
    """Makes a connection of every handshake; `per_user` bounds how many one user has."""

    def __init__(self, ports: SocketPorts, per_user: PerUser) -> None:
        self._ports = ports
        self._per_user = per_user

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("WEBSOCKET", PATH, self.connect)]

    async def connect(self, request: Request) -> None:
        """Serve one connection to its end. Raises: InvalidRequest, RateLimited before it was accepted."""
        with self._per_user.room(request.principal):
            await self._accept(request)

    async def _accept(self, request: Request) -> None:
        resumed = core.resumed(request.query.get("resume", []), request.query.get("starting_after", []))
        offered = request.scope.get("subprotocols", ())
        accept = {
            "type": "websocket.accept",
            "subprotocol": _SUBPROTOCOL if _SUBPROTOCOL in offered else None,
            "headers": [(b"x-request-id", request.request_id.encode())],
        }
        opted_in = request.one("chatbackend") == "1"
        await request.send(accept)
        await _Connection(self._ports, request, ResponsesSocket(opted_in=opted_in)).serve(resumed)


class _Connection:
    """One accepted socket."""

    def __init__(self, ports: SocketPorts, request: Request, socket: ResponsesSocket) -> None:
        self._ports = ports
        self._request = request
        self._principal = request.principal
        self._socket = socket
        self._lanes = socket.lanes
        self._outbox = Outbox(request.send)
        self._lane_work = LaneWork(ports, request.principal, socket, self._outbox)
        self._group: TaskGroup = anyio.create_task_group()
        self._subscriptions = Subscriptions(
            ports.follow_conversation,
            ports.conversation_log,
            principal=request.principal,
            outbox=self._outbox,
            group=self._group,
            too_slow=self._on_slow,
        )
        self._inbox: deque[str | Resume] = deque()
        self._inbox_characters = 0
        self._reading = False
        self._cancels = 0
        self._ended: anyio.Event | None = None  # set when a job has ended; made by who waits for that
        self._closing: tuple[int, str] | None = None

    async def serve(self, resumed: Sequence[Resume]) -> None:
        """Receive until either side closes; say why where it is us, and log one line."""
        began, code = time.perf_counter(), 1011
        try:
            with self._ports.watch.watching(self._principal, self._on_ended):
                async with self._group as group, self._told_of_the_end():
                    group.start_soon(self._outbox.run)
                    self._take(*resumed)
                    code = await self._receive()
                    group.cancel_scope.cancel()
        except Exception as error:  # the edge of a socket: its responses go on, its client comes back
            _log.error("socket failed", request_id=self._request.request_id, exc_info=error)
            self._closing = (1011, "internal error")
        if self._closing is not None:
            code, reason = self._closing
            await self._say_closed(code, reason)
        _log.info(
            "socket",
            route=PATH,
            code=code,
            seconds=round(time.perf_counter() - began, 1),
            request_id=self._request.request_id,
            key=self._principal.key_id,
        )

    @asynccontextmanager
    async def _told_of_the_end(self) -> AsyncGenerator[None]:
        with self._ports.draining.telling(self._on_draining, lambda: self._group.start_soon(self._go)):
            yield

    def _on_draining(self) -> None:
        if self._socket.opted_in:
            self._say(core.draining_event(self._ports.draining.seconds))
        if self._ports.draining.elsewhere:
            self._group.start_soon(self._go_once_idle)

    async def _go_once_idle(self) -> None:
        """Close as soon as nothing is at work: the next request is better made to another server."""
        await self._idle()
        self._on_over()

    async def _go(self) -> None:
        """Close, once everything that has ended is on its way."""
        with anyio.move_on_after(GO_S):
            await self._idle()
        self._on_over()

    async def _idle(self) -> None:
        """Return once nothing is at work and everything is on its way."""
        while self._lanes.active:
            ended = self._ended = self._ended or anyio.Event()
            await ended.wait()
        await self._outbox.emptied()

    def _on_over(self) -> None:
        self._close(1012, "the server stops")

    def _close(self, code: int, reason: str) -> None:
        """Close from our side: everything of this connection stops, and what was not sent is dropped."""
        self._closing = self._closing or (code, reason)
        self._group.cancel_scope.cancel()

    def _on_ended(self, reason: str) -> None:
        self._close(4401, reason)

    def _on_slow(self) -> None:
        self._close(1013, "slow_consumer")

    async def _say_closed(self, code: int, reason: str) -> None:
        with anyio.move_on_after(CLOSE_S, shield=True), suppress(OSError, RuntimeError):
            await self._request.send({"type": "websocket.close", "code": code, "reason": reason})

    async def _receive(self) -> int:
        """Take frames until the client has gone; return its close code."""
        limit = self._ports.max_frame_bytes
        while True:
            message = await self._request.receive()
            if message["type"] == "websocket.disconnect":
                return message.get("code") or 1005
            text = message.get("text")
            if text is None:
                refusal = InvalidRequest("Binary frames are not understood; send JSON text.", code="binary_frame")
                self._say(core.error_event(refusal, None))
            elif len(text) > limit or (len(text) > limit // 4 and len(text.encode()) > limit):
                self._close(1009, f"a frame has at most {limit} bytes")
            else:
                self._take(text)

    def _take(self, *entries: str | Resume) -> None:
        """Let commands be read, in their order, by one task that is there only while there are any."""
        self._inbox.extend(entries)
        self._inbox_characters += sum(len(entry) for entry in entries if isinstance(entry, str))
        if self._inbox_characters > self._ports.max_frame_bytes + INBOX_SPARE:
            self._close(1013, "commands come faster than they can be read")
        elif self._inbox and not self._reading:
            self._reading = True
            self._group.start_soon(self._read)

    async def _read(self) -> None:
        while self._inbox:
            entry = self._inbox.popleft()
            if isinstance(entry, Resume):
                await self._resume(entry)
                continue
            self._inbox_characters -= len(entry)
            match self._socket.receive(entry):
                case Say(event):
                    self._say(event)
                case Create() as create:
                    self._add(create)
                case Resume() as command:
                    await self._resume(command)
                case Steering() as command:
                    await self._steer(command)
                case Cancel(response_id):
                    self._begin_cancel(response_id)
                case Subscribe() | Unsubscribe() as command:
                    self._subscribe(command)
        self._reading = False

    def _say(self, event: bytes) -> None:
        try:
            self._outbox.answer(event)
        except SlowConsumer:
            self._close(1013, "slow_consumer")

    def _add(self, job: Job, known: Response | None = None) -> None:
        try:
            self._start(self._lanes.add(job), known)
        except ChatError as error:
            self._say(core.error_event(error, job.lane, _about(job)))

    def _start(self, jobs: Sequence[Job], known: Response | None = None) -> None:
        for job in jobs:
            self._group.start_soon(self._work, job, known)

    async def _resume(self, command: Resume) -> None:
        try:
            found = await self._lane_work.find(command.response_id)
        except ChatError as error:
            self._say(core.error_event(error, None, command.response_id))
        else:
            self._add(Follow(found.stream_id, command.response_id, command.after), found)

    async def _steer(self, command: Steering) -> None:
        try:
            await self._lane_work.steer(command)
        except SlowConsumer:
            self._close(1013, "slow_consumer")

    def _subscribe(self, command: Subscribe | Unsubscribe) -> None:
        try:
            if isinstance(command, Subscribe):
                self._subscriptions.add(command)
            else:
                self._subscriptions.remove(command.conversation_id)
        except ChatError as error:
            self._say(core.error_event(error, None, conversation_id=command.conversation_id))
        except SlowConsumer:
            self._on_slow()

    def _begin_cancel(self, response_id: str) -> None:
        if self._cancels >= MAX_CANCELS:
            refusal = RateLimited("Too many cancels at once.", retry_after_s=1.0, code="websocket_queue_full")
            self._say(core.error_event(refusal, None, response_id))
        else:
            self._cancels += 1
            self._group.start_soon(self._cancel, response_id)

    async def _cancel(self, response_id: str) -> None:
        try:
            event = core.cancelled_event(await self._ports.cancel(self._principal, response_id))
        except ChatError as error:
            event = core.error_event(error, None, response_id)
        self._cancels -= 1
        self._say(event)

    def _goes_elsewhere(self, error: ChatError) -> bool:
        """Whether this refusal is none to a client that comes back: it is told to, and nothing else is at work here."""
        return error.code == "stopping" and self._ports.draining.elsewhere and self._lanes.active == 1

    async def _work(self, job: Job, known: Response | None) -> None:
        """Do a job; whatever goes wrong is said in its lane, and the lane goes on."""
        try:
            await self._lane_work(job, known)
        except SlowConsumer:
            self._close(1013, "slow_consumer")
            return
        except ChatError as error:
            if self._goes_elsewhere(error):
                self._on_over()
                return
            self._say(core.error_event(error, job.lane, _about(job)))
        except Exception as error:  # the edge of a request on a socket, as over HTTP
            _log.error("command failed", request_id=self._request.request_id, exc_info=error)
            shown = Internal("The server failed on this command; the log has the cause.")
            self._say(core.error_event(shown, job.lane, _about(job)))
        self._start(self._lanes.ended(job))
        if self._ended is not None:
            self._ended.set()
            self._ended = None


def _about(job: Job) -> str | None:
    return job.response_id if isinstance(job, Follow) else None
