"""A device's cursor on a conversation's log: nothing missed, nothing twice, a sign of life, and how it ends."""

from collections.abc import Sequence
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest

from chatbackend.domain.errors import Conflict, NotFound
from chatbackend.domain.identity import Principal
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.ports import LogEvent
from tests.support.fakes import ME

pytestmark = pytest.mark.anyio
PAGE = 2


class FakeLog:
    """`ConversationLog` of one conversation; None: it is deleted."""

    def __init__(self) -> None:
        self.events: list[LogEvent] | None = []
        self.changes = Wakeups()
        self.meanwhile = 0  # looks during which something is written that they do not see

    def write(self, count: int = 1, *, told: bool = True) -> None:
        assert self.events is not None
        for _ in range(count):
            self.events.append(LogEvent(len(self.events), "kind", b"{}"))
        if told:
            self.changes.wake("conv_1")

    async def read(self, principal: Principal, conversation_id: str, *, after: int) -> Sequence[LogEvent]:
        await anyio.lowlevel.checkpoint()
        if self.events is None:
            raise NotFound("gone")
        if after >= len(self.events) and after >= 0:
            raise Conflict("ahead", code="cursor_ahead")
        found = self.events[after + 1 :][:PAGE]
        if self.meanwhile:
            self.meanwhile -= 1
            self.write()
        return found


async def numbers(log: FakeLog, count: int, *, after: int = -1, idle_s: float = 20.0) -> list[list[int]]:
    """Return the numbers of so many batches."""
    events = await FollowConversation(log, log.changes, idle_s=idle_s)(ME, "conv_1", after=after)
    async with aclosing(events):
        return [[event.number for event in await anext(events)] for _ in range(count)]


async def test_what_lies_behind_the_cursor_comes_in_pages() -> None:
    log = FakeLog()
    log.write(4)
    assert await numbers(log, 2) == [[0, 1], [2, 3]]
    assert await numbers(log, 1, after=1) == [[2, 3]]


async def test_what_is_written_while_nobody_looks_is_seen_without_delay() -> None:
    log = FakeLog()
    with anyio.fail_after(5):
        log.meanwhile = 1
        events = await FollowConversation(log, log.changes)(ME, "conv_1", after=-1)
        async with aclosing(events):
            assert [event.number for event in await anext(events)] == [0]
            log.meanwhile = 1
            assert [event.number for event in await anext(events)] == [1]


async def test_silence_is_broken_by_an_empty_batch_and_a_look_at_what_nobody_told_of() -> None:
    log = FakeLog()
    assert await numbers(log, 1, idle_s=0.01) == [[]]
    log.write(2)
    events = await FollowConversation(log, log.changes, idle_s=0.01)(ME, "conv_1", after=1)
    async with aclosing(events):
        assert await anext(events) == ()
        log.write(told=False)
        assert [event.number for event in await anext(events)] == [2]


async def test_a_cursor_is_refused_before_anything_is_sent() -> None:
    log = FakeLog()
    with pytest.raises(Conflict):
        await FollowConversation(log, log.changes)(ME, "conv_1", after=7)


async def test_it_ends_with_the_conversation() -> None:
    log = FakeLog()
    events = await FollowConversation(log, log.changes)(ME, "conv_1", after=-1)
    async with aclosing(events):
        log.events = None
        log.changes.wake("conv_1")
        with pytest.raises(NotFound):
            await anext(events)
