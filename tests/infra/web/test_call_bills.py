"""A call that nobody can write down is not let go on; only its provider and the ledger are in the test's hands."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import pytest

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.realtime import Ended, RealtimeCall
from chatbackend.domain.usage import Settlement
from chatbackend.infra.system import report
from chatbackend.infra.web.call_bills import CallBills, CallPorts
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.usecases.open_realtime import OpenedRealtime
from chatbackend.usecases.ports import Call, Deployment
from tests.usecases.test_open_realtime import Unasked

pytestmark = pytest.mark.anyio
ANNA = Principal("t", "app", "app/anna", "key_1")
CALL = RealtimeCall("rtc_u1", "openai/voice", "voice")


class Line:
    """A socket beside a call, in which an answer begins."""

    secrets = ()
    ended = Ended(1000)

    def __init__(self) -> None:
        self.closed: list[Ended] = []

    async def frames(self) -> AsyncIterator[str]:
        yield '{"type":"response.created","event_id":"e","response":{"id":"resp_1","status":"in_progress"}}'

    async def close(self, ended: Ended) -> None:
        self.closed.append(ended)


class Calls:
    """`CallRealtime` of one call."""

    def __init__(self, line: Line) -> None:
        self.hung_up: list[RealtimeCall] = []
        self._line: Any = line

    async def join(self, call: RealtimeCall) -> OpenedRealtime:
        at = Deployment("openai/voice", "openai", "voice", Unasked())
        return OpenedRealtime(self._line, at, frozenset(), "ga", dict[str, str]().get)

    async def hang_up(self, call: RealtimeCall) -> None:
        self.hung_up.append(call)


class Ledger:
    """Takes rows, or is away."""

    def __init__(self, *, away: bool) -> None:
        self._away = away

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        async def write() -> None:
            if self._away:
                raise Unavailable("The database is away.")

        return write()

    def settled(self, call: Call, settlement: Settlement) -> None:
        """Take it."""


@pytest.mark.parametrize("away", [True, False])
async def test_a_call_that_no_ledger_takes_is_ended(*, away: bool) -> None:
    line, works = Line(), list[Callable[[], Awaitable[None]]]()
    calling: Any = Calls(line)

    async def still_valid(_: Principal) -> bool:
        return True

    watch = KeyWatch(still_valid, report, lambda: 0.0)

    def spawn(work: Callable[[], Awaitable[None]], *, name: str) -> None:
        works.append(work)

    ports = CallPorts(calling, Ledger(away=away), watch, Draining(), spawn, lambda prefix: f"{prefix}_1")
    CallBills(ports).follow(ANNA, CALL, max_tokens=None, room=ExitStack())
    await works[0]()
    assert calling.hung_up == ([CALL] if away else [])
    assert line.closed == [Ended(1000)]
