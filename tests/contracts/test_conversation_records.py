"""What live sessions are promised of conversations, on both databases: order, once, and all that goes with items."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chatbackend.adapters.api.listing import Window
from chatbackend.domain.errors import NotFound
from chatbackend.domain.items import Item, text_of
from chatbackend.domain.realtime import UNHEARD
from chatbackend.domain.records import Amend, Append, Remove
from tests.contracts.test_conversations import ME, OTHERS, World, said
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World, None]:
    async with truth(request.param, tmp_path) as database:
        world = World(database)
        await world.made()
        yield world


async def found(world: World, words: str) -> list[str]:
    page, _ = await world.conversations.page(ME, Window(), query=words)
    return [each.id for each in page]


async def events(world: World) -> list[str]:
    logged = await world.log.read(ME, "conv_1", after=-1)
    return [event.type.removeprefix("chatbackend.conversation.") for event in logged]


async def test_items_are_written_in_their_order_behind_all_others_and_read_back(world: World) -> None:
    await world.answered("before")
    items = [said("one", "a"), said("two", "b")]
    assert await world.records.write(ME, "conv_1", [Append(item, f"spare_{item.id}") for item in items]) == {}
    assert await world.texts() == ["before", "BEFORE", "one", "two"]
    newest = await world.records.newest(ME, "conv_1", limit=3)
    assert newest.items == [*(await context(world))[1:2], *items]
    assert newest.last_event == len(await events(world)) - 1
    await world.answered("after")
    assert (await world.texts())[-2:] == ["after", "AFTER"]


async def context(world: World) -> list[Item]:
    return list((await world.records.newest(ME, "conv_1", limit=100)).items)


async def test_what_is_written_again_changes_nothing(world: World) -> None:
    entries = [Append(said("one", "a"), "spare"), Append(said("two", "b"), "spare_b")]
    for _ in range(2):
        assert await world.records.write(ME, "conv_1", entries) == {}
    assert await world.records.item(ME, "conv_1", "a") == said("one", "a")
    assert await world.records.item(ME, "conv_1", "none") is None
    assert (await world.texts(), await events(world)) == (["one", "two"], ["item.added", "updated", "item.added"])


async def test_an_id_that_is_taken_gives_way_to_the_spare_one_also_when_it_is_written_again(world: World) -> None:
    await world.records.write(ME, "conv_1", [Append(said("one", "a"), "spare")])
    for _ in range(2):
        assert await world.records.write(ME, "conv_1", [Append(said("two", "a"), "spare_2")]) == {"a": "spare_2"}
    assert [(item.id, text_of(item)) for item in await context(world)] == [("a", "one"), ("spare_2", "two")]


async def test_an_amended_item_keeps_its_place_and_is_found_by_its_new_words(world: World) -> None:
    await world.records.write(ME, "conv_1", [Append(said(UNHEARD, "a"), "s"), Append(said("tail", "b"), "s_b")])
    before = len(await events(world))
    await world.records.write(ME, "conv_1", [Amend(said("xylophone", "a"))])
    assert await world.texts() == ["xylophone", "tail"]
    assert (await events(world))[before:] == ["item.deleted", "item.added"]
    assert (await found(world, "xylophone"), await found(world, "transcript")) == (["conv_1"], [])
    await world.records.write(ME, "conv_1", [Amend(said("xylophone", "a")), Amend(said("x", "gone"))])
    assert len(await events(world)) == before + 2


async def test_words_that_nobody_wrote_down_name_no_conversation(world: World) -> None:
    await world.records.write(ME, "conv_1", [Append(said(UNHEARD, "a"), "s")])
    assert (await world.conversations.get(ME, "conv_1")).title is None
    await world.records.write(ME, "conv_1", [Amend(said("tea", "a"))])
    assert (await world.conversations.get(ME, "conv_1")).title == "tea"


async def test_a_removed_item_is_gone_and_one_of_a_response_stays_with_it(world: World) -> None:
    await world.answered("before")
    await world.records.write(ME, "conv_1", [Append(said("one", "a"), "s")])
    await world.records.write(ME, "conv_1", [Remove("a"), Remove("msg_before"), Remove("none")])
    assert await world.texts() == ["BEFORE"]
    assert len(await world.truth.input_items("resp_before")) == 1


@pytest.mark.parametrize("who", OTHERS)
async def test_a_conversation_of_others_is_neither_read_nor_written(world: World, who: object) -> None:
    other = next(each for each in OTHERS if each == who)
    with pytest.raises(NotFound):
        await world.records.check(other, "conv_1")
    with pytest.raises(NotFound):
        await world.records.newest(other, "conv_1", limit=1)
    with pytest.raises(NotFound):
        await world.records.item(other, "conv_1", "a")
    with pytest.raises(NotFound):
        await world.records.write(other, "conv_1", [Append(said("one", "a"), "s")])
    assert await world.texts() == []
    await world.records.check(ME, "conv_1")


async def test_watchers_are_woken(world: World) -> None:
    moved = world.changes.event("conv_1")
    await world.records.write(ME, "conv_1", [Append(said("one", "a"), "s")])
    assert moved.is_set()
