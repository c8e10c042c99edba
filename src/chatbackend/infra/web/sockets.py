"""`WS /v1/responses`: the shell around `ResponsesSocket`, which decides; here is only waiting, sending and closing.

How frames come and go is `LiveSocket`'s. A job (a new response, or one to follow) is a task of the connection; the
response itself belongs to the process and never ends with a socket. Commands that wait in a lane are bounded; more are
refused by an error event.
"""

from collections.abc import Sequence

import anyio
import structlog

from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire.responses_socket import Cancel, ResponsesSocket, Resume, Say, Subscribe, Unsubscribe
from chatbackend.adapters.wire.socket_lanes import Create, Follow, Job
from chatbackend.adapters.wire.steering import Steering
from chatbackend.domain.errors import ChatError, Internal, RateLimited
from chatbackend.domain.limits import PerUser
from chatbackend.domain.responses import Response
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.lane_work import LaneWork, SocketPorts
from chatbackend.infra.web.live_socket import LiveSocket
from chatbackend.infra.web.outbox import SlowConsumer
from chatbackend.infra.web.responses import PATH
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.subscriptions import Subscriptions

MAX_CANCELS = 32  # at once, on one socket
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
        await _Connection(self._ports, request, ResponsesSocket(opted_in=opted_in), resumed).serve()


class _Connection:
    """What is spoken over one accepted socket."""

    def __init__(
        self, ports: SocketPorts, request: Request, socket: ResponsesSocket, resumed: Sequence[Resume]
    ) -> None:
        self._ports = ports
        self._request = request
        self._principal = request.principal
        self._socket = socket
        self._resumed = resumed
        self._lanes = socket.lanes
        self._live = LiveSocket(request, ports.watch, ports.draining, max_frame_bytes=ports.max_frame_bytes)
        self._lane_work = LaneWork(ports, request.principal, socket, self._live.outbox)
        self._subscriptions = Subscriptions(
            ports.follow_conversation,
            ports.conversation_log,
            principal=request.principal,
            outbox=self._live.outbox,
            group=self._live.group,
            too_slow=self._live.too_slow,
        )
        self._cancels = 0
        self._ended: anyio.Event | None = None  # set when a job has ended; made by who waits for that

    async def serve(self) -> None:
        """Serve until either side closes."""
        await self._live.serve(self, route=PATH)

    async def begin(self) -> None:
        """Follow what the handshake asked for."""
        for each in self._resumed:
            await self._resume(each)

    async def take(self, text: str) -> None:
        """Do a command, or begin to."""
        match self._socket.receive(text):
            case Say(event):
                self._say(event)
            case Create() as create:
                self._add(create)
            case Resume() as command:
                await self._resume(command)
            case Steering() as command:
                await self._lane_work.steer(command)
            case Cancel(response_id):
                self._begin_cancel(response_id)
            case Subscribe() | Unsubscribe() as command:
                self._subscribe(command)

    async def refuse(self, error: ChatError) -> None:
        """Say so."""
        self._say(core.error_event(error, None))

    def drain(self) -> None:
        """Tell who opted in; where there are other servers, go as soon as nothing is at work."""
        if self._socket.opted_in:
            self._say(core.draining_event(self._ports.draining.seconds))
        if self._ports.draining.elsewhere:
            self._live.group.start_soon(self._go_once_idle)

    async def _go_once_idle(self) -> None:
        """Close as soon as nothing is at work: the next request is better made to another server."""
        await self.finish()
        await self._live.outbox.emptied()
        self._live.stops()

    async def finish(self) -> None:
        """Return once nothing is at work."""
        while self._lanes.active:
            ended = self._ended = self._ended or anyio.Event()
            await ended.wait()

    async def save(self) -> None:
        """Do nothing: responses belong to the process, and are kept there."""

    def _say(self, event: bytes) -> None:
        try:
            self._live.outbox.answer(event)
        except SlowConsumer:
            self._live.too_slow()

    def _add(self, job: Job, known: Response | None = None) -> None:
        try:
            self._start(self._lanes.add(job), known)
        except ChatError as error:
            self._say(core.error_event(error, job.lane, _about(job)))

    def _start(self, jobs: Sequence[Job], known: Response | None = None) -> None:
        for job in jobs:
            self._live.group.start_soon(self._work, job, known)

    async def _resume(self, command: Resume) -> None:
        try:
            found = await self._lane_work.find(command.response_id)
        except ChatError as error:
            self._say(core.error_event(error, None, command.response_id))
        else:
            self._add(Follow(found.stream_id, command.response_id, command.after), found)

    def _subscribe(self, command: Subscribe | Unsubscribe) -> None:
        try:
            if isinstance(command, Subscribe):
                self._subscriptions.add(command)
            else:
                self._subscriptions.remove(command.conversation_id)
        except ChatError as error:
            self._say(core.error_event(error, None, conversation_id=command.conversation_id))

    def _begin_cancel(self, response_id: str) -> None:
        if self._cancels >= MAX_CANCELS:
            refusal = RateLimited("Too many cancels at once.", retry_after_s=1.0, code="websocket_queue_full")
            self._say(core.error_event(refusal, None, response_id))
        else:
            self._cancels += 1
            self._live.group.start_soon(self._cancel, response_id)

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
            self._live.too_slow()
            return
        except ChatError as error:
            if self._goes_elsewhere(error):
                self._live.stops()
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
