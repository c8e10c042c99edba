"""The outbox of a socket: in order, bounded, and patient with whoever takes anything at all."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from chatbackend.infra.web.http import Message
from chatbackend.infra.web.outbox import MAX_ANSWER_BYTES, Outbox, SlowConsumer

pytestmark = pytest.mark.anyio
STALL_S = 0.05
EVENT = b'{"n":"12345"}'


class Peer:
    """Takes messages as long as its gate is open, or one at a time."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.gone: Exception | None = None
        self._may_take = anyio.Semaphore(0)

    def let(self, messages: int) -> None:
        for _ in range(messages):
            self._may_take.release()

    async def __call__(self, message: Message) -> None:
        await self._may_take.acquire()
        if self.gone is not None:
            raise self.gone
        self.taken.append(message["text"])


@asynccontextmanager
async def running(peer: Peer, max_event_bytes: int = 3 * len(EVENT)) -> AsyncGenerator[Outbox, None]:
    outbox = Outbox(peer, max_event_bytes=max_event_bytes, stall_s=STALL_S)
    async with anyio.create_task_group() as group:
        group.start_soon(outbox.run)
        yield outbox
        group.cancel_scope.cancel()


async def taken(peer: Peer, count: int) -> list[str]:
    with anyio.fail_after(5):
        while len(peer.taken) < count:
            await anyio.lowlevel.checkpoint()
    return peer.taken


async def test_events_and_answers_go_out_in_their_order_with_their_lanes() -> None:
    peer = Peer()
    async with running(peer) as outbox:
        await outbox.put(b'{"n":1}', "left")
        outbox.answer(b'{"n":2}')
        await outbox.put(b'{"n":3}', None)
        peer.let(3)
        assert await taken(peer, 3) == ['{"n":1,"stream_id":"left"}', '{"n":2}', '{"n":3}']


async def test_a_full_box_waits_for_a_peer_that_takes_a_little() -> None:
    peer = Peer()
    async with running(peer) as outbox:
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(outbox.put, EVENT, None)
            for count in range(1, 11):
                peer.let(1)
                await taken(peer, count)
        assert len(peer.taken) == 10


async def test_a_full_box_gives_up_on_a_peer_that_takes_nothing() -> None:
    peer = Peer()
    async with running(peer) as outbox:
        for _ in range(3):
            await outbox.put(EVENT, None)
        with pytest.raises(SlowConsumer):
            await outbox.put(EVENT, None)
        assert peer.taken == []


async def test_an_event_larger_than_the_box_goes_alone() -> None:
    peer = Peer()
    async with running(peer) as outbox:
        await outbox.put(EVENT * 10, None)
        outbox.answer(b"{}")
        with pytest.raises(SlowConsumer):
            await outbox.put(EVENT, None)
        peer.let(2)
        await taken(peer, 2)
        await outbox.put(EVENT, None)


async def test_answers_that_nobody_takes_are_bounded() -> None:
    outbox = Outbox(Peer())
    outbox.answer(b"x" * MAX_ANSWER_BYTES)
    with pytest.raises(SlowConsumer):
        outbox.answer(b"x")


@pytest.mark.parametrize("gone", [ConnectionResetError(), RuntimeError("after websocket.close")])
async def test_a_peer_that_is_gone_ends_the_sender(gone: Exception) -> None:
    peer = Peer()
    peer.gone = gone
    outbox = Outbox(peer)
    outbox.answer(b"{}")
    peer.let(1)
    with anyio.fail_after(5):
        await outbox.run()


async def test_it_is_emptied_once_everything_was_taken() -> None:
    peer, seen = Peer(), list[int]()
    async with running(peer) as outbox, anyio.create_task_group() as group:
        await outbox.put(EVENT, None)
        outbox.answer(EVENT)

        async def emptied() -> None:
            await outbox.emptied()
            seen.append(len(peer.taken))

        group.start_soon(emptied)
        for _ in range(2):
            await anyio.wait_all_tasks_blocked()
            assert seen == []
            peer.let(1)
        await taken(peer, 2)
    assert seen == [2]
