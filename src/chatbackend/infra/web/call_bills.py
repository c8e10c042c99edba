"""What calls over WebRTC cost: each is listened to by a socket of ours beside it, until it ends."""

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

import anyio
import structlog

from chatbackend.adapters.realtime.relay.actions import Action, Began, Billed, Close
from chatbackend.adapters.realtime.relay.core import Relay
from chatbackend.adapters.realtime.relay.provider import Provider
from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.domain.realtime import SESSION_S, Ended, RealtimeCall, Terms
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.usecases.call_realtime import CallRealtime
from chatbackend.usecases.open_realtime import OpenedRealtime
from chatbackend.usecases.ports import Call, NewId, RelayLedger, Spawn

LONGEST_S = SESSION_S + 60.0
TRIES = 3  # to get beside a call that has only begun
AGAIN_S = 0.5
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


@dataclass(frozen=True, slots=True)
class CallPorts:
    """What following calls needs of the rest."""

    calling: CallRealtime
    ledger: RelayLedger
    watch: KeyWatch
    draining: Draining
    spawn: Spawn
    new_id: NewId


class CallBills:
    """Follows calls in tasks of the process. One that it ends with is billed as far as it was heard."""

    def __init__(self, ports: CallPorts) -> None:
        self._ports = ports

    def follow(self, caller: Principal, call: RealtimeCall, *, max_tokens: int | None, room: ExitStack) -> None:
        """Write down what a call costs, from now to its end, and leave `room` then.

        One that has used `max_tokens` is hung up on, and so is one whose caller's credential has ended.
        """
        work = partial(self._follow, caller, call, max_tokens, room)
        self._ports.spawn(work, name=f"bill of {call.id}")

    async def _follow(self, caller: Principal, call: RealtimeCall, max_tokens: int | None, room: ExitStack) -> None:
        over = False

        def ended(_: str) -> None:
            nonlocal over
            over = True
            scope.cancel()

        watch, draining = self._ports.watch, self._ports.draining
        with (
            room,
            anyio.move_on_after(LONGEST_S) as scope,
            watch.watching(caller, ended),
            draining.telling(lambda: None, scope.cancel),
        ):
            over = await self._listen(caller, call, max_tokens)
        if over:
            with suppress(ChatError):  # it may have ended by itself
                await self._ports.calling.hang_up(call)

    async def _listen(self, caller: Principal, call: RealtimeCall, max_tokens: int | None) -> bool:
        """Listen to the end of a call; return whether it is to be ended: its tokens are used, or no ledger takes it."""
        try:
            opened = await self._beside(call)
        except ChatError as error:
            _log.warning("a call is not billed", deployment=call.deployment, owner=caller.owner, exc_info=error)
            return False
        try:
            return await _Listener(self._ports, caller, opened).listen(max_tokens)
        except ChatError as error:
            _log.error("a call that cannot be billed is ended", owner=caller.owner, why=error.message)
            return True

    async def _beside(self, call: RealtimeCall) -> OpenedRealtime:
        """Open a socket beside a call, which the provider may not know everywhere yet. Raises: UpstreamError."""
        for _ in range(TRIES - 1):
            try:
                return await self._ports.calling.join(call)
            except ChatError:
                await anyio.sleep(AGAIN_S)
        return await self._ports.calling.join(call)


class _Listener:
    """One call's. The core of a relayed session, with nobody at its client's end."""

    def __init__(self, ports: CallPorts, caller: Principal, opened: OpenedRealtime) -> None:
        self._ledger = ports.ledger
        self._new_id = ports.new_id
        self._caller = caller
        self._opened = opened
        self._calls: dict[str, Call] = {}

    async def listen(self, max_tokens: int | None) -> bool:
        """Listen until the call ends, or its tokens are used, and return which; settle what is open then."""
        opened, name = self._opened, self._opened.deployment.name
        relay = Relay(name, "ga", new_id=self._new_id, max_waiting_bytes=0, terms=Terms(max_tokens=max_tokens))
        relay.opened(Provider(opened.dialect, opened.names, opened.link.secrets), 0.0)
        try:
            async for frame in opened.link.frames():
                if await self._do(relay.provider_said(frame)):
                    return True
        finally:
            self._settle(relay.ended(Ended(1000)))
            await opened.link.close(Ended(1000))
        return False

    async def _do(self, actions: Iterable[Action]) -> bool:
        """Write down what costs; return whether the session is to end."""
        for action in actions:
            if isinstance(action, Began):
                deployment = self._opened.deployment
                model = deployment.name if action.model is None else f"{deployment.provider}/{action.model}"
                call = self._calls[action.key] = Call(self._new_id("call"), 1, model)
                await self._ledger.started(self._caller, call)
            elif isinstance(action, Billed):
                self._settle([action])
        return any(isinstance(action, Close) for action in actions)

    def _settle(self, actions: Iterable[Action]) -> None:
        for action in actions:
            call = self._calls.pop(action.key, None) if isinstance(action, Billed) else None
            if isinstance(action, Billed) and call is not None:
                self._ledger.settled(call, action.settlement)
