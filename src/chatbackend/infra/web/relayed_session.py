"""A relayed session: the shell around `Relay`, which decides; here is only waiting, sending and closing.

One task is always in `receive()` (else pings go unanswered) unless the provider takes nothing, one in the provider's
frames unless the client takes nothing: what waits in between is bounded in bytes on both legs.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import anyio
import structlog
from anyio.abc import TaskGroup

from chatbackend.adapters.realtime import history, search_tool
from chatbackend.adapters.realtime.frames import Frame
from chatbackend.adapters.realtime.handshake import Handshake
from chatbackend.adapters.realtime.relay.actions import (
    Action,
    Began,
    Billed,
    Close,
    Keep,
    Move,
    Renew,
    RunTool,
    ToClient,
    ToProvider,
)
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.kept import Kept
from chatbackend.adapters.realtime.relay.liveness import Liveness
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.adapters.realtime.relay.renewal import Renewal
from chatbackend.domain.errors import ChatError
from chatbackend.domain.items import Item
from chatbackend.domain.passages import Passage
from chatbackend.domain.realtime import Ended, SessionKind, Terms
from chatbackend.domain.responses import FileSearch
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.outbox import SlowConsumer
from chatbackend.infra.web.relay_box import RelayBox
from chatbackend.usecases.call_realtime import CallRealtime
from chatbackend.usecases.learn_of_others import LearnOfOthers
from chatbackend.usecases.open_realtime import OpenedRealtime, OpenRealtime
from chatbackend.usecases.ports import Call, Clock, NewId, RelayLedger, Report, SearchPassages
from chatbackend.usecases.record_ports import ConversationRecords
from chatbackend.usecases.record_session import RecordSession

TICK_S = 1.0
GO_S = 0.7  # for what is on its way to a client that is to be closed: within a second it is
CLOSE_S = 15.0  # a peer that does not even take a close frame in this time is left to the kernel
TOOL_S = 15.0  # for a tool of ours; then the model is told that it failed
TOOL_RESULTS = 6
STALLED_S = 15.0  # a provider that takes nothing for this long, with its buffer full, is gone
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


@dataclass(frozen=True, slots=True)
class RelayPorts:
    """What relayed sessions need of the rest. `ping_s`: how often a silent provider is asked for a sign of life."""

    opening: OpenRealtime
    calling: CallRealtime
    ledger: RelayLedger
    search: SearchPassages
    watch: KeyWatch
    draining: Draining
    clock: Clock
    new_id: NewId
    records: ConversationRecords
    learn: LearnOfOthers
    report: Report
    max_frame_bytes: int
    ping_s: float
    tool_s: float = TOOL_S


class RelayedSessions:
    """Serves accepted sockets."""

    def __init__(self, ports: RelayPorts) -> None:
        self._ports = ports

    async def __call__(self, request: Request, wanted: Handshake) -> None:
        """Serve one session to its end."""
        await _Session(self._ports, request, wanted).serve()


class _Session:
    def __init__(self, ports: RelayPorts, request: Request, wanted: Handshake) -> None:
        self._ports = ports
        self._request = request
        self._model = wanted.model
        self._kind: SessionKind = wanted.kind
        self._beside = wanted.call
        secret = request.principal.secret
        self._terms = Terms() if secret is None else secret.terms
        self._relay = Relay(
            wanted.model,
            wanted.dialect,
            new_id=ports.new_id,
            max_waiting_bytes=ports.max_frame_bytes,
            terms=self._terms,
            opted_in=request.one("chatbackend") == "1",
            kind=wanted.kind,
            allowed=None if secret is None else secret.models,
            billed=wanted.call is None,
        )
        self._conversation = wanted.conversation
        self._renews = wanted.renew
        self._recording: RecordSession | None = None
        self._kept: Kept | None = None
        self._box = RelayBox(request.send)
        self._group: TaskGroup = anyio.create_task_group()
        self._opened: OpenedRealtime | None = None
        self._next: OpenedRealtime | None = None  # where the session is to go on
        self._ready: anyio.Event | None = None  # set once what waited for the provider is there
        self._calls: dict[str, Call] = {}
        self._closing: Close | None = None
        self._over = anyio.Event()
        self._gone = False  # the client
        self._heard = False  # the provider, since the last tick
        self._sending: list[float] = []  # since when, oldest first

    async def serve(self) -> None:
        """Serve until either side closes, and close the other; log one line."""
        began = time.perf_counter()
        try:
            with self._ports.watch.watching(self._request.principal, lambda reason: self._end(4401, reason)):
                await self._run()
        except Exception as error:  # the edge of a socket
            _log.error("socket failed", request_id=self._request.request_id, exc_info=error)
        finally:  # whatever ended it: no provider is left behind, and no bill open
            self._end(1011, "internal error")
            closing = self._closing or Close(Ended(1011), Ended(1001))
            await self._close(closing)
        _log.info(
            "socket",
            route="/v1/realtime",
            model=self._model,
            code=closing.client.code,
            seconds=round(time.perf_counter() - began, 1),
            request_id=self._request.request_id,
            key=self._request.principal.key_id,
        )

    async def _run(self) -> None:
        draining = self._ports.draining
        async with self._group as group:
            with draining.telling(self._on_draining, lambda: self._end(1012, "the server stops")):
                group.start_soon(self._box.run)
                group.start_soon(self._guarded, self._talk)
                group.start_soon(self._guarded, self._listen)
                group.start_soon(self._tick)
                await self._over.wait()
                if not self._gone:
                    with anyio.move_on_after(GO_S):
                        await self._box.emptied()
            group.cancel_scope.cancel()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run one leg; what goes wrong with it ends the session with a word."""
        try:
            await work()
        except SlowConsumer:
            self._end(1013, "slow_consumer")
        except ChatError as error:
            self._do_now(*self._relay.refused(error))

    async def _talk(self) -> None:
        """Open the provider's session, then take what it says."""
        self._ready = anyio.Event()
        await self._remember()
        opened = self._opened = await self._open()
        waited = self._relay.opened(_provider(opened), self._ports.clock.now())
        self._group.start_soon(self._guarded, partial(self._catch_up, waited, self._ready))
        await self._hear(opened)

    async def _hear(self, opened: OpenedRealtime) -> None:
        """Take what a provider's session says, as long as it is the one."""
        async for frame in opened.link.frames():
            if self._opened is not opened:
                return
            self._heard = True
            await self._do(self._relay.provider_said(frame))
        if self._opened is opened:
            await self._do(self._relay.provider_left(opened.link.ended))

    async def _renew(self) -> None:
        """Open another session at the provider, beside the one that there is."""
        try:
            opened = self._next = await self._ports.opening(self._model, self._kind)
        except ChatError as error:
            _log.warning("session not renewed", request_id=self._request.request_id, exc_info=error)
            return await self._do(self._relay.not_renewed())
        return await self._do(self._relay.successor(_provider(opened), self._ports.clock.now()))

    def _move(self, first: Sequence[Action]) -> None:
        """Go on in the session that was opened; the old one is hung up on."""
        old, self._opened, self._next = self._opened, self._next, None
        before, ready = self._ready, anyio.Event()
        self._ready = ready
        if before is not None:
            before.set()
        self._group.start_soon(self._guarded, partial(self._catch_up, first, ready))
        if self._opened is not None:
            self._group.start_soon(self._guarded, partial(self._hear, self._opened))
        if old is not None:
            self._group.start_soon(old.link.close, Ended(1000))

    async def _remember(self) -> None:
        """Bind the session to its conversation, if it has one. Raises: NotFound, Unavailable."""
        records, principal, conversation_id = self._ports.records, self._request.principal, self._conversation
        items: Sequence[Item] = ()
        if conversation_id is not None:
            found = await records.newest(principal, conversation_id, limit=history.MAX_ITEMS)
            items = found.items
            self._recording = RecordSession(records, principal, conversation_id, self._ports.report)
            learning = partial(self._ports.learn, principal, conversation_id, self, after=found.last_event)
            for work in (self._recording.run, learning):
                self._group.start_soon(self._guarded, work)
        if conversation_id is not None or self._renews:
            renewal = Renewal() if self._renews else None
            self._kept = Kept(self._ports.new_id, items, renewal=renewal)
            self._relay.remember(self._kept)

    def knows(self, item_id: str) -> bool:
        """See `Mind.knows`."""
        return self._kept is not None and self._kept.knows(item_id)

    async def learn(self, item: Item) -> None:
        """See `Mind.learn`."""
        await self._in_turn()
        await self._do(self._relay.learned(item))

    async def forget(self, item_id: str) -> None:
        """See `Mind.forget`."""
        await self._in_turn()
        await self._do(self._relay.forgotten(item_id))

    async def _open(self) -> OpenedRealtime:
        if self._beside is not None:
            return await self._ports.calling.join(self._beside)
        return await self._ports.opening(self._model, self._kind)

    async def _catch_up(self, actions: Sequence[Action], ready: anyio.Event) -> None:
        """Do what waited for the provider, beside listening to it: it may want to be heard before it takes more."""
        await self._do(actions)
        if self._ready is ready:
            self._ready = None
        ready.set()

    async def _listen(self) -> None:
        """Take what the client says."""
        while True:
            message = await self._request.receive()
            if message["type"] == "websocket.disconnect":
                self._gone = True
                return await self._do(self._relay.client_left(Ended(message.get("code") or 1005)))
            text: str | None = message.get("text")
            frame: Frame = message["bytes"] if text is None else text
            await self._in_turn()
            await self._do(self._relay.client_said(frame))

    async def _in_turn(self) -> None:
        """Return once the provider was told what comes first."""
        while self._ready is not None and self._opened is not None:
            await self._ready.wait()

    async def _do(self, actions: Sequence[Action]) -> None:
        """Do these in order, each once there is room for it. Raises: SlowConsumer, ChatError."""
        if actions and isinstance(actions[-1], Move):  # it is decided: nothing goes to the old session from now on
            self._ready = anyio.Event()
        for action in actions:
            if isinstance(action, ToClient):
                if not self._box.add(action.frame):
                    await self._box.room()
            elif isinstance(action, ToProvider):
                await self._to_provider(action.frame)
            elif isinstance(action, Began):
                await self._begin(action)
            elif isinstance(action, RunTool):
                self._group.start_soon(self._guarded, partial(self._run_tool, action))
            else:
                self._do_now(action)

    def _do_now(self, *actions: Action) -> None:
        """Do what waits for nobody; at the end of a session that is all there is."""
        for action in actions:
            match action:
                case ToClient(frame):
                    self._box.add(frame)
                case Billed(key, settlement):
                    call = self._calls.pop(key, None)
                    if call is not None:
                        self._ports.ledger.settled(call, settlement)
                case Keep(entries) if self._recording is not None:
                    self._recording.add(entries)
                case Renew():
                    self._group.start_soon(self._guarded, self._renew)
                case Move(first):
                    self._move(first)
                case Close():
                    self._closing = action
                    self._over.set()
                case _:
                    pass

    async def _to_provider(self, frame: Frame) -> None:
        if self._opened is None:
            return
        since = time.monotonic()
        self._sending.append(since)
        await self._opened.link.send(frame)
        self._sending.remove(since)

    async def _begin(self, began: Began) -> None:
        if self._opened is None or self._closing is not None:  # what is begun now would never be settled
            return
        deployment = self._opened.deployment
        model = deployment.name if began.model is None else f"{deployment.provider}/{began.model}"
        call = Call(self._ports.new_id("call"), 1, model)
        self._calls[began.key] = call  # before it is written: the session may end meanwhile, and settle it
        await self._ports.ledger.started(self._request.principal, call)

    async def _run_tool(self, tool: RunTool) -> None:
        """Search the files, beside both legs; whatever goes wrong is the model's to say."""
        query = search_tool.query_of(tool.arguments)
        output = search_tool.failed() if query is None else search_tool.failed(search_tool.FAILED)
        found: Sequence[Passage] = ()
        if query is not None:
            with anyio.move_on_after(self._ports.tool_s), suppress(ChatError):
                search = FileSearch(self._terms.vector_stores, max_results=TOOL_RESULTS)
                found = await self._ports.search(self._request.principal, query, search)
                output = search_tool.output_of(found)
        await self._do(self._relay.tool_answered(tool.call_id, output, found))

    async def _tick(self) -> None:
        """Look at the time and at the provider, every second."""
        every_s = self._ports.ping_s
        alive = Liveness(time.monotonic(), every_s=every_s, patience_s=every_s)
        watched = self._opened
        while True:
            await anyio.sleep(TICK_S)
            self._do_now(*self._relay.tick(self._ports.clock.now()))
            if self._opened is not watched:
                watched, alive = self._opened, Liveness(time.monotonic(), every_s=every_s, patience_s=every_s)
            if self._opened is not None:
                self._look(alive, self._opened, time.monotonic())

    def _look(self, alive: Liveness, opened: OpenedRealtime, now: float) -> None:
        if self._sending and now - self._sending[0] >= STALLED_S:
            self._end(1011, "the provider takes nothing")
        if self._heard:
            alive.heard(now)
        self._heard = False
        match alive.look(now, reading=not self._box.held):
            case "ask":
                self._group.start_soon(self._ask, alive, opened)
            case "gone":
                self._end(1011, "the provider does not answer")
            case "wait":
                pass

    async def _ask(self, alive: Liveness, opened: OpenedRealtime) -> None:
        await opened.link.alive()
        alive.heard(time.monotonic())

    def _on_draining(self) -> None:
        self._do_now(*self._relay.draining(self._ports.draining.seconds))

    def _end(self, code: int, reason: str) -> None:
        self._do_now(*self._relay.ended(Ended(code, reason)))

    async def _close(self, closing: Close) -> None:
        """Close what is open on both sides, at once."""
        self._box.drop()  # a client that takes nothing may hold its close up for seconds
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                for opened in (self._opened, self._next):
                    if opened is not None:
                        group.start_soon(opened.link.close, closing.provider)
                group.start_soon(self._close_client, closing.client)

    async def _close_client(self, ended: Ended) -> None:
        """Close the client, once what was said is written down."""
        if self._recording is not None:
            await self._recording.finish(self._relay.rest())
        if self._gone:
            return
        with anyio.move_on_after(CLOSE_S), suppress(OSError, RuntimeError):
            await self._request.send({"type": "websocket.close", "code": ended.code, "reason": ended.reason})


def _provider(opened: OpenedRealtime) -> Provider:
    return Provider(opened.dialect, opened.names, opened.link.secrets, opened.transcriber)
