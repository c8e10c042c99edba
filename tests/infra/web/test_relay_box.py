"""What waits for the client of a relayed session: bounded in bytes, whatever its provider says and however it takes."""

import anyio
import pytest

from chatbackend.infra.web.http import Message
from chatbackend.infra.web.outbox import SlowConsumer
from chatbackend.infra.web.relay_box import RelayBox

pytestmark = pytest.mark.anyio
FRAME = "A" * 1000


class Client:
    """Takes a frame each time that it may."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.may = anyio.Semaphore(0)

    async def send(self, message: Message) -> None:
        await self.may.acquire()
        self.taken.append(message["text"])


async def fill(box: RelayBox, said: list[str]) -> None:
    """Say as much as a provider's leg does: on and on, but for room."""
    while True:
        frame = f"{len(said):04d}{FRAME}"
        said.append(frame)
        if not box.add(frame):
            await box.room()


async def test_a_client_that_takes_nothing_costs_its_bound_and_a_frame_and_is_told_of() -> None:
    client, said = Client(), list[str]()
    box = RelayBox(client.send, max_bytes=10_000, stall_s=0.2)
    async with anyio.create_task_group() as group:
        group.start_soon(box.run)
        with pytest.raises(SlowConsumer):
            await fill(box, said)
        group.cancel_scope.cancel()
    assert sum(map(len, said)) < 10_000 + 2 * len(said[0])
    assert not box.held


async def test_a_client_that_takes_slowly_holds_its_provider_back_and_gets_all_in_order() -> None:
    client, said = Client(), list[str]()
    box = RelayBox(client.send, max_bytes=10_000, stall_s=5)
    async with anyio.create_task_group() as group:
        group.start_soon(box.run)
        group.start_soon(fill, box, said)
        for taken in range(50):
            await anyio.wait_all_tasks_blocked()
            assert box.held
            assert sum(map(len, said[taken:])) < 10_000 + 2 * len(said[0])
            client.may.release()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert client.taken == said[:50]


async def test_it_is_empty_once_everything_was_taken() -> None:
    client = Client()
    box = RelayBox(client.send, max_bytes=10_000)
    async with anyio.create_task_group() as group:
        group.start_soon(box.run)
        box.add("one")
        box.add("two")
        client.may.release()
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await box.emptied()
        client.may.release()
        await box.emptied()
        group.cancel_scope.cancel()
    assert client.taken == ["one", "two"]
