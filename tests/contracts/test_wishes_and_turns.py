"""What processes ask of one truth about each other, on both databases: wishes to cancel, turns that are alive."""

from pathlib import Path

import pytest

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.conversations import Conversation
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import COMPLETED, Response, end
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.replicas import StoredTurns, StoredWishes
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.ports import Call
from tests.support.fakes import FakeClock
from tests.support.file_fakes import Numbered
from tests.support.truths import KINDS, Kind, truth

pytestmark = pytest.mark.anyio

ME = Principal("t", "app", "app", "key_1")
OTHERS = [Principal("t", "app", "app/anna", "key_1"), Principal("t2", "app", "app", "key_2")]


class World:
    """Responses that nobody runs."""

    def __init__(self, database: Database) -> None:
        self.truth = Responses(database, FakeClock())
        self.conversations = Conversations(database, FakeClock(), Wakeups())
        self.wishes, self.turns = StoredWishes(database), StoredTurns(database)
        self.new_id = Numbered()

    async def begun(self, conversation: str | None = None) -> Response:
        body = {"model": "m", "input": "hi"} | ({"conversation": conversation} if conversation else {})
        made = Response(self.new_id("resp"), ME, "m", 1, conversation_id=conversation)
        await self.truth.begin(made, shapes.ask(shapes.read(body), self.new_id), None)
        return made

    async def finish(self, made: Response) -> None:
        end(made, COMPLETED, at=1)
        assert await self.truth.finish(made, None, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wish_lasts_until_its_response_has_ended(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        world = World(database)
        first, second, third = [await world.begun() for _ in range(3)]
        assert list(await world.wishes.wished()) == []
        for response in (first, second, first):
            assert await world.wishes.wish(ME, response.id)
        assert sorted(await world.wishes.wished()) == [first.id, second.id]
        taken = await world.truth.take_over(fence=1)
        wishes = {orphan.response.id: orphan.cancel_requested for orphan in taken}
        assert wishes == {first.id: True, second.id: True, third.id: False}
        first.fence = 1
        await world.finish(first)
        assert list(await world.wishes.wished()) == [second.id]
        assert not await world.wishes.wish(ME, first.id)
        await world.truth.delete(ME, second.id)
        assert list(await world.wishes.wished()) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_wishes_for_the_end_of_what_is_not_theirs(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        world = World(database)
        response = await world.begun()
        for other in OTHERS:
            assert not await world.wishes.wish(other, response.id)
        assert not await world.wishes.wish(ME, "resp_unknown")
        assert list(await world.wishes.wished()) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_the_lowest_turn_is_the_first_of_its_conversation_that_has_not_ended(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        world = World(database)
        for name in ("conv", "other", "empty"):
            await world.conversations.create(ME, Conversation(name, 0), [], once=None)
        turns = [await world.begun("conv") for _ in range(4)]
        await world.begun("other")
        assert [await world.turns.lowest(name) for name in ("conv", "empty", "unknown")] == [1, None, None]
        await world.finish(turns[1])
        assert await world.turns.lowest("conv") == 1
        await world.finish(turns[0])
        assert await world.turns.lowest("conv") == 3
        await world.truth.delete(ME, turns[2].id)
        assert await world.turns.lowest("conv") == 4
        await world.truth.start(turns[3], Call("call_1", 1, "m"))
        assert await world.turns.lowest("conv") == 4
        await world.finish(turns[3])
        assert await world.turns.lowest("conv") is None
