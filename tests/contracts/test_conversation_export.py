"""What an export promises: every item once, in order, a bounded part of them at a time."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from chatbackend.domain.errors import NotFound
from chatbackend.domain.identity import Principal
from chatbackend.infra.db.conversation_export import MAX_BYTES, ConversationExport
from tests.contracts.test_conversations import ME, World, said
from tests.support.truths import KINDS, truth

pytestmark = pytest.mark.anyio


@pytest.fixture(params=KINDS)
async def exporting(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncGenerator[tuple[World, ConversationExport], None]:
    async with truth(request.param, tmp_path) as database:
        yield World(database), ConversationExport(database)


async def batches(export: ConversationExport, who: Principal = ME) -> list[list[bytes]]:
    async with aclosing(export.items(who, "conv_1")) as found:
        return [[row["body"] for row in batch] async for batch in found]


async def test_every_item_comes_once_in_the_order_of_the_turns(exporting: tuple[World, ConversationExport]) -> None:
    world, export = exporting
    await world.made("conv_1", *(str(number) for number in range(300)))
    running = await world.begun("one")
    await world.answered("two")
    found = await batches(export)
    listed: list[bytes] = []
    for item in await _ids(world):
        listed.append(await world.conversations.item(ME, "conv_1", item))
    assert [body for batch in found for body in batch] == listed
    assert len(found) > 1
    async with aclosing(export.responses(ME, "conv_1")) as ids:
        assert [each async for each in ids] == [running.id, "resp_two"]


async def test_large_items_come_few_at_a_time(exporting: tuple[World, ConversationExport]) -> None:
    world, export = exporting
    await world.made()
    texts = ["x" * size for size in (10, 400_000, 400_000, 400_000, MAX_BYTES + 1, MAX_BYTES + 2, 10)]
    items = [said(text, f"msg_{number}") for number, text in enumerate(texts)]
    await world.conversations.add_items(ME, "conv_1", items, once=None)
    assert [len(batch) for batch in await batches(export)] == [3, 1, 1, 1, 1]


async def test_nothing_is_exported_to_a_stranger_or_of_what_is_deleted(
    exporting: tuple[World, ConversationExport],
) -> None:
    world, export = exporting
    await world.made("conv_1", *(str(number) for number in range(300)))
    await world.answered("one")
    stranger = Principal("t", "app", "app/eve", "key_1")
    with pytest.raises(NotFound):
        await batches(export, stranger)
    async with aclosing(export.responses(stranger, "conv_1")) as ids:
        assert [each async for each in ids] == []
    async with aclosing(export.items(ME, "conv_1")) as found:
        await anext(found)
        await world.conversations.delete(ME, "conv_1")
        with pytest.raises(NotFound):  # cut off, rather than ended as if it were whole
            await anext(found)


async def _ids(world: World) -> list[str]:
    return [item.item_id for item in (await world.log.state(ME, "conv_1")).items]
