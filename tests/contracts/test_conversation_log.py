"""What a conversation's log promises: an old state and the events behind it are what a fresh look shows."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatbackend.adapters.api.conversations import state_object
from chatbackend.domain.conversations import Edit
from chatbackend.domain.errors import Conflict, Gone, NotFound
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputText, Item, Message, OutputText
from chatbackend.domain.records import Amend, Append, Entry, Remove
from chatbackend.domain.responses import COMPLETED, Response, end
from chatbackend.infra.db.conversation_log import EVENTS_KEPT, STATE_ITEMS, TRIM_EVERY
from tests.contracts.test_conversations import ME, World
from tests.support.device import Device, Json
from tests.support.truths import KINDS, Kind, truth

pytestmark = pytest.mark.anyio
OTHER = Principal("t", "app", "app/eve", "key_1")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database)


async def fresh(world: World) -> Device:
    state = state_object(await world.log.state(ME, "conv_1"))
    return Device(msgspec.json.decode(msgspec.json.encode(state)))


async def catch_up(world: World, device: Device) -> None:
    """Read to the head."""
    while events := await world.log.read(ME, "conv_1", after=device.last_event):
        device.feed([msgspec.json.decode(event.data) for event in events])


async def types(world: World) -> list[str]:
    events = await world.log.read(ME, "conv_1", after=-1)
    return [event.type.removeprefix("chatbackend.conversation.") for event in events]


class Life:
    """A conversation that lives: each `step` writes something, by a number that says what and where."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.count = 0
        self.running: list[Response] = []
        self.ended: list[Response] = []
        self.steps: list[Callable[[int], Any]] = [
            self.begin, self.finish, self.add, self.take_out, self.edit, self.archive, self.forget_response,
            self.record,
        ]  # fmt: skip

    async def step(self, kind: int, which: int) -> None:
        self.world.clock.time += which % 3
        self.count += 1
        await self.steps[kind % len(self.steps)](which)

    async def begin(self, _: int) -> None:
        self.running.append(await self.world.begun(f"ask{self.count}"))

    async def finish(self, which: int) -> None:
        if self.running:
            response = self.running.pop(which % len(self.running))  # not always in the order of the turns
            output = Message(f"msg_out{self.count}", "assistant", [OutputText("said")])
            response.output = [output] if which % 2 else []
            end(response, COMPLETED, at=1)
            assert await self.world.truth.finish(response, None, None)
            self.ended.append(response)

    async def add(self, which: int) -> None:
        items: list[Item] = [
            Message(f"msg_{self.count}_{number}", "user", [InputText(f"w{which}")]) for number in range(1 + which % 3)
        ]
        await self.world.conversations.add_items(ME, "conv_1", items, once=None)

    async def take_out(self, which: int) -> None:
        items = (await self.world.log.state(ME, "conv_1")).items
        if items:
            await self.world.conversations.delete_item(ME, "conv_1", items[which % len(items)].item_id)

    async def record(self, which: int) -> None:
        spoken = f"spoken{which % 4}"
        entries: tuple[Entry, ...] = (
            Append(Message(spoken, "user", [InputText(f"w{self.count}")]), f"spare{self.count}"),
            Amend(Message(spoken, "user", [InputText(f"heard {self.count}")])),
            Remove(spoken),
        )
        await self.world.records.write(ME, "conv_1", entries[which % 3 :][:2])

    async def edit(self, which: int) -> None:
        edits = (Edit(title=f"Title {which}"), Edit(title=""), Edit({"k": str(which)}), Edit())
        await self.world.conversations.update(ME, "conv_1", edits[which % len(edits)])

    async def archive(self, which: int) -> None:
        await self.world.conversations.update(ME, "conv_1", Edit(archived=bool(which % 2)))

    async def forget_response(self, which: int) -> None:
        if self.ended:
            assert await self.world.truth.delete(ME, self.ended.pop(which % len(self.ended)).id)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 11)), min_size=20, max_size=60),
    registered=st.lists(st.integers(0, 19), min_size=1, max_size=4),
    looks=st.sets(st.integers(0, 60), max_size=5),
)
async def test_an_old_state_and_its_events_are_a_fresh_look(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    kind: Kind,
    steps: list[tuple[int, int]],
    registered: list[int],
    looks: set[int],
) -> None:
    async with truth(kind, tmp_path_factory.mktemp("truth")) as database:
        world = World(database)
        await world.made("conv_1", "zero")
        life, devices = Life(world), list[Device]()
        for number, step in enumerate(steps):
            devices += [await fresh(world) for at in registered if at == number]
            if number in looks:
                for device in devices:
                    await catch_up(world, device)
            await life.step(*step)
        now = await fresh(world)
        for device in devices:
            await catch_up(world, device)
            assert device.shown == now.shown


async def test_what_happens_is_told_in_the_order_in_which_it_did(world: World) -> None:
    await world.made()
    await world.answered("one")
    assert await types(world) == [
        "response.created", "item.added", "updated", "item.added", "response.ended",
    ]  # fmt: skip
    await world.conversations.update(ME, "conv_1", Edit())
    await world.conversations.update(ME, "conv_1", Edit(archived=False))
    assert (await types(world))[5:] == [], "nothing has changed"
    await world.conversations.delete_item(ME, "conv_1", "msg_one")
    assert (await types(world))[5:] == ["item.deleted", "updated"], "the item had given the title"


async def test_a_create_that_is_refused_leaves_no_event(world: World) -> None:
    await world.made("conv_1", "zero")
    with pytest.raises(Exception, match="Duplicate"):
        await world.conversations.add_items(ME, "conv_1", [Message("conv_1_zero", "user", [InputText("x")])], once=None)
    assert await types(world) == []


async def test_a_cursor_above_the_head_or_below_the_floor_is_refused(world: World) -> None:
    await world.made()
    assert await world.log.read(ME, "conv_1", after=-1) == []
    count = EVENTS_KEPT + TRIM_EVERY
    await filled(world, count)
    with pytest.raises(Conflict) as ahead:
        await world.log.read(ME, "conv_1", after=count + 1)
    assert (ahead.value.code, ahead.value.param) == ("cursor_ahead", "after")
    with pytest.raises(Gone) as expired:
        await world.log.read(ME, "conv_1", after=10)
    assert expired.value.code == "cursor_expired"
    kept = await world.log.read(ME, "conv_1", after=count - EVENTS_KEPT)
    assert kept[0].number == count - EVENTS_KEPT + 1
    assert await world.log.read(ME, "conv_1", after=count) == []


async def test_a_stranger_reads_nothing_of_it(world: World) -> None:
    await world.made("conv_1", "secret")
    for who in (OTHER, Principal("t2", "app", "app", "key_3")):
        with pytest.raises(NotFound):
            await world.log.read(who, "conv_1", after=-1)
        with pytest.raises(NotFound):
            await world.log.state(who, "conv_1")


async def test_the_log_goes_with_its_conversation(world: World) -> None:
    await world.made("conv_1", "zero")
    await world.answered("one")
    await world.conversations.delete(ME, "conv_1")
    with pytest.raises(NotFound):
        await world.log.read(ME, "conv_1", after=-1)
    await world.made("conv_1")
    assert await types(world) == []


async def test_every_change_wakes_those_who_watch(world: World) -> None:
    await world.made("conv_1", "zero")
    for change in (
        lambda: world.conversations.update(ME, "conv_1", Edit(archived=True)),
        lambda: world.conversations.delete_item(ME, "conv_1", "conv_1_zero"),
        lambda: world.begun("one"),
        lambda: world.truth.delete(ME, "resp_one"),
        lambda: world.conversations.delete(ME, "conv_1"),
    ):
        watched = world.changes.event("conv_1")
        await change()
        assert watched.is_set()


async def test_the_newest_items_are_the_state_of_a_long_conversation(world: World) -> None:
    await world.made()
    await filled(world, STATE_ITEMS)
    state: Json = (await fresh(world)).shown["chatbackend"]["state"]
    assert (len(state["items"]), state["has_more"]) == (STATE_ITEMS, False)
    await filled(world, 1, "last")
    newer: Json = (await fresh(world)).shown["chatbackend"]["state"]
    assert newer["has_more"]
    assert newer["items"][:-1] == state["items"][1:]


async def filled(world: World, count: int, name: str = "msg") -> None:
    """Add so many items; the first one also gives the title, which is one event more."""
    for start in range(0, count, 500):
        items: list[Item] = [
            Message(f"{name}_{number}", "user", [InputText("w")]) for number in range(start, min(start + 500, count))
        ]
        await world.conversations.add_items(ME, "conv_1", items, once=None)


async def test_writes_side_by_side_are_numbered_without_a_gap(world: World) -> None:
    await world.made()
    await world.made("conv_2")
    start = await fresh(world)

    async def write(number: int) -> None:
        response = await world.begun(f"ask{number}", ("conv_1", "conv_2")[number % 2])
        response.output = [Message(f"msg_out{number}", "assistant", [OutputText("said")])]
        end(response, COMPLETED, at=1)
        await world.truth.finish(response, None, None)
        if number % 4 == 0:
            await world.conversations.update(ME, "conv_1", Edit({"n": str(number)}))

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(write, number)
    await catch_up(world, start)
    assert start.shown == (await fresh(world)).shown
    assert len(start.shown["chatbackend"]["state"]["items"]) == 40
