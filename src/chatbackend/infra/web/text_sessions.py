"""Realtime sessions in text over any model: the shell around `TextBridge`, which decides.

A response is a task of its connection: it ends with it, and hanging up frees the provider's call.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

import anyio
import structlog

from chatbackend.adapters.api.realtime_channel import ADDRESS
from chatbackend.adapters.realtime import history, notices
from chatbackend.adapters.realtime.bridge.conversation import Conversation
from chatbackend.adapters.realtime.bridge.core import Say, Start, Stop, TextBridge
from chatbackend.adapters.realtime.handshake import Handshake
from chatbackend.adapters.realtime.notices import close_code
from chatbackend.adapters.realtime.record import Record
from chatbackend.domain.citations import CitationScanner
from chatbackend.domain.context import question
from chatbackend.domain.errors import ChatError, Internal, Unavailable
from chatbackend.domain.items import Item
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.passages import Passage
from chatbackend.domain.realtime import Terms
from chatbackend.domain.responses import FileSearch
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.live_socket import GO_S, LiveSocket
from chatbackend.infra.web.outbox import SlowConsumer
from chatbackend.usecases.generate import Generate, Generation
from chatbackend.usecases.learn_of_others import LearnOfOthers
from chatbackend.usecases.ports import NewId, Report, SearchPassages
from chatbackend.usecases.record_ports import ConversationRecords
from chatbackend.usecases.record_session import RecordSession

SAY_S = 1.0  # for the last words to a client
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


@dataclass(frozen=True, slots=True)
class TextSessionPorts:
    """What sessions need of the rest."""

    generate: Generate
    search: SearchPassages
    watch: KeyWatch
    draining: Draining
    new_id: NewId
    records: ConversationRecords
    learn: LearnOfOthers
    report: Report
    max_frame_bytes: int


class TextSessions:
    """Serves accepted sockets, in the GA dialect."""

    def __init__(self, ports: TextSessionPorts) -> None:
        self._ports = ports

    async def __call__(self, request: Request, wanted: Handshake) -> None:
        """Serve one session to its end."""
        ports = self._ports
        socket = LiveSocket(request, ports.watch, ports.draining, max_frame_bytes=ports.max_frame_bytes)
        await socket.serve(_Session(ports, request, socket, wanted), route=ADDRESS, model=wanted.model)


class _Session:
    """`Talk` of one session."""

    def __init__(self, ports: TextSessionPorts, request: Request, socket: LiveSocket, wanted: Handshake) -> None:
        self._ports = ports
        self._request = request
        self._socket = socket
        self._outbox = socket.outbox
        secret = request.principal.secret
        self._terms = Terms() if secret is None else secret.terms
        self._record = None if wanted.conversation is None else Record(ports.new_id)
        self._conversation_id = wanted.conversation
        self._recording: RecordSession | None = None
        conversation = Conversation(record=self._record)
        self._bridge = TextBridge(wanted.model, ports.new_id, self._terms, conversation=conversation)
        self._running: dict[str, anyio.CancelScope] = {}
        self._ended: anyio.Event | None = None  # set when a response has ended; made by who waits for that

    async def begin(self) -> None:
        """See `Talk.begin`."""
        if self._conversation_id is None:
            return self._tell(self._bridge.open())
        try:
            remembered = await self._remembered(self._conversation_id)
        except ChatError as error:
            return await self._break(error)
        self._tell([*self._bridge.open(), *remembered])
        return await self._outbox.room()

    async def _remembered(self, conversation_id: str) -> list[bytes]:
        """Bind the session to its conversation; return how the client is shown it. Raises: NotFound, Unavailable."""
        records, principal = self._ports.records, self._request.principal
        found = await records.newest(principal, conversation_id, limit=history.MAX_ITEMS)
        recording = self._recording = RecordSession(records, principal, conversation_id, self._ports.report)
        told = self._bridge.load(found.items)
        learning = partial(self._ports.learn, principal, conversation_id, self, after=found.last_event)
        for work in (recording.run, learning):
            self._socket.group.start_soon(self._guarded, work)
        return told

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ChatError as error:
            await self._break(error)
        except SlowConsumer:
            self._socket.too_slow()

    def knows(self, item_id: str) -> bool:
        """See `Mind.knows`."""
        return self._record is not None and self._record.knows(item_id)

    async def learn(self, item: Item) -> None:
        """See `Mind.learn`."""
        self._tell(self._bridge.learned(item))
        await self._outbox.room()

    async def forget(self, item_id: str) -> None:
        """See `Mind.forget`."""
        self._tell(self._bridge.forgotten(item_id))
        await self._outbox.room()

    async def _break(self, error: ChatError) -> None:
        """End a session that cannot be kept: its client is told why, then closed."""
        self._tell([self._bridge.refused(error)])
        with anyio.move_on_after(SAY_S):
            await self._outbox.emptied()
        self._socket.close(notices.close_code(error), error.message)

    async def take(self, text: str) -> None:
        """See `Talk.take`."""
        for step in self._bridge.receive(text):
            match step:
                case Say(frame):
                    self._tell([frame])
                case Start():
                    scope = self._running[step.response_id] = anyio.CancelScope()
                    self._socket.group.start_soon(self._answer, step, scope)
                case Stop(response_id):
                    self._running[response_id].cancel()
        await self._outbox.room()

    async def refuse(self, error: ChatError) -> None:
        """See `Talk.refuse`."""
        self._tell([self._bridge.refused(error)])
        await self._outbox.room()

    def drain(self) -> None:
        """See `Talk.drain`."""
        told = self._bridge.drain(self._ports.draining.seconds)
        if self._request.one("chatbackend") == "1":
            self._tell([told])

    async def save(self) -> None:
        """See `Talk.save`."""
        if self._recording is not None and self._record is not None:
            self._bridge.cut()
            await self._recording.finish(self._record.end())

    async def finish(self) -> None:
        """See `Talk.finish`."""
        for scope in self._running.values():
            scope.cancel()
        while self._running:
            self._ended = anyio.Event()
            await self._ended.wait()

    async def _answer(self, start: Start, scope: anyio.CancelScope) -> None:
        try:
            await self._respond(start, scope)
        except SlowConsumer:
            self._socket.too_slow()

    async def _respond(self, start: Start, scope: anyio.CancelScope) -> None:
        """Ask the model and send its answer. However that goes, the response ends here, once."""
        error: ChatError | None = None
        generation: Generation | None = None
        with self._ports.draining.at_work(), scope:
            try:
                request = replace(start.request, passages=await self._search(start.request))
                generation = await self._ports.generate(self._request.principal, request)
                await self._pass_on(start.response_id, generation, CitationScanner(request.passages))
            except ChatError as failure:
                error = failure
            except SlowConsumer:
                raise
            except Exception as failure:  # the edge of a request on a socket, as over HTTP
                _log.error("response failed", request_id=self._request.request_id, exc_info=failure)
                error = Internal("The server failed on this response; the log has the cause.")
        if scope.cancelled_caught:  # unless its client wished that, which the bridge knows
            error = Unavailable("The server stopped before the response had ended.", code="interrupted")
        del self._running[start.response_id]
        self._tell(self._bridge.ended(start.response_id, generation.usage if generation else None, error))
        if self._ended is not None:
            self._ended.set()
        if (spent := self._bridge.spent) is not None:
            with anyio.move_on_after(GO_S):
                await self._outbox.emptied()
            self._socket.close(close_code(spent), spent.message)
        await self._outbox.room()

    async def _search(self, request: ModelRequest) -> list[Passage]:
        """Search what the credential names for the user's last message. Raises: Unavailable, which names no store."""
        query = question(request.items)
        if not self._terms.vector_stores or not query.strip():
            return []
        try:
            return await self._ports.search(self._request.principal, query, FileSearch(self._terms.vector_stores))
        except ChatError as error:
            _log.warning("search failed", request_id=self._request.request_id, exc_info=error)
            raise Unavailable("The files cannot be searched now.", code="search_failed") from error

    async def _pass_on(self, response_id: str, generation: Generation, scanner: CitationScanner) -> None:
        try:
            async with aclosing(generation.events()) as events:
                async for event in events:
                    for each in scanner.feed(event):
                        self._tell(self._bridge.heard(response_id, each))
                    await self._outbox.room()
        finally:
            await generation.close()

    def _tell(self, frames: Iterable[bytes]) -> None:
        """Let frames go in one go: nothing that happens while there is no room comes between or cuts them."""
        for frame in frames:
            self._outbox.add(frame)
        if self._recording is not None and self._record is not None and (entries := self._record.due()):
            self._recording.add(entries)
