"""What the rows of keyed requests promise, on both databases: one object a key, until it is freed or a day is over;
and of an answer that is being made: it is one owner's."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from chatbackend.domain.errors import Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.infra.db.requests import KEEP_S, Requests
from chatbackend.infra.db.servers import Servers
from chatbackend.usecases.ports import Begun, Fenced, Once
from chatbackend.usecases.record_answer import Unended
from tests.support.fakes import FakeClock
from tests.support.truth_world import World
from tests.support.truths import KINDS, Kind, truth

pytestmark = pytest.mark.anyio

ME = Principal("t", "app", "app", "key_1")
OTHERS = (Principal("t", "app", "app/anna", "key_1"), Principal("t2", "app", "app", "key_3"))
ONCE = Once("/v1/chat/completions", "body", key="k" * 64)
MINE = 3  # a fence


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_makes_one_object_for_its_owner_and_path(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        assert await requests.begin(ME, ONCE, "ans_1", fence=MINE) == Begun("ans_1", fresh=True)
        assert await requests.begin(ME, ONCE, "ans_2", fence=MINE) == Begun("ans_1", fresh=False)
        with pytest.raises(Unprocessable) as reused:
            await requests.begin(ME, replace(ONCE, body_hash="other"), "ans_3", fence=MINE)
        assert reused.value.code == "idempotency_key_reused"
        for number, other in enumerate(OTHERS):
            assert (await requests.begin(other, ONCE, f"ans_other_{number}", fence=MINE)).fresh
        assert (await requests.begin(ME, replace(ONCE, path="/v1/messages"), "ans_4", fence=MINE)).fresh


@pytest.mark.parametrize("kind", KINDS)
async def test_of_many_at_once_one_makes_it(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        found: list[Begun] = []

        async def begin(number: int) -> None:
            found.append(await requests.begin(ME, ONCE, f"ans_{number}", fence=MINE))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(begin, number)
        assert [begun.fresh for begun in found].count(True) == 1
        assert len({begun.response_id for begun in found}) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_freed_by_its_owner_alone_which_has_still_to_end_it(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        await requests.begin(ME, ONCE, "ans_1", fence=MINE)
        for answer_id, fence in (("ans_1", MINE + 1), ("ans_2", MINE)):
            with pytest.raises(Fenced):
                await requests.forget(answer_id, fence=fence)
        assert not (await requests.begin(ME, ONCE, "ans_3", fence=MINE)).fresh
        await requests.forget("ans_1", fence=MINE)
        await requests.forget("ans_1", fence=MINE)  # as after a commit whose answer was lost
        assert await requests.under_way("ans_1") == MINE
        again = await requests.begin(ME, replace(ONCE, body_hash="other"), "ans_4", fence=MINE)
        assert again == Begun("ans_4", fresh=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_is_under_way_until_its_owner_ends_it_and_its_key_stays(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        await requests.begin(ME, ONCE, "ans_1", fence=MINE)
        await requests.end("ans_1", fence=MINE + 1)
        assert [await requests.under_way(answer_id) for answer_id in ("ans_1", "ans_2")] == [MINE, None]
        await requests.end("ans_1", fence=MINE)
        assert (await requests.under_way("ans_1"), await requests.unended()) == (None, [])
        assert await requests.begin(ME, ONCE, "ans_2", fence=MINE) == Begun("ans_1", fresh=False)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_other_requests_make_is_no_answer(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        world = World(database)
        await world.once(replace(ONCE, path="/v1/responses"))
        assert await Requests(database, FakeClock()).unended() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_dead_owners_answers_are_taken_once_and_a_living_ones_never(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        dead, lives, first, second = [
            await Servers(database, name, lease_s=lease_s).draw("log")
            for name, lease_s in (("dead", -1), ("lives", 60), ("first", 60), ("second", 60))
        ]
        requests = Requests(database, FakeClock())
        await requests.begin(ME, ONCE, "ans_1", fence=dead)
        await requests.begin(ME, replace(ONCE, key="other"), "ans_2", fence=lives)
        found = sorted(await requests.unended(), key=lambda each: each.answer_id)
        assert found == [Unended("ans_1", dead, owned=False), Unended("ans_2", lives, owned=True)]
        unsteady = Requests(database, FakeClock(), judge=first)
        assert not await unsteady.take("ans_1", fence=dead, to=first)  # it has not lived for a whole lease itself
        assert not await requests.take("ans_2", fence=lives, to=first)
        assert await requests.take("ans_1", fence=dead, to=first)
        assert await requests.take("ans_1", fence=dead, to=first)  # as after a commit whose answer was lost
        assert not await requests.take("ans_1", fence=dead, to=second)
        assert await requests.under_way("ans_1") == first
        with pytest.raises(Fenced):
            await requests.forget("ans_1", fence=dead)


@pytest.mark.parametrize("kind", KINDS)
async def test_of_many_that_take_an_answer_one_gets_it(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        await requests.begin(ME, ONCE, "ans_1", fence=MINE)
        took: list[int] = []

        async def take(to: int) -> None:
            if await requests.take("ans_1", fence=MINE, to=to):
                took.append(to)

        async with anyio.create_task_group() as group:
            for number in range(9):
                group.start_soon(take, MINE + 1 + number)
        assert took == [await requests.under_way("ans_1")]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_free_again_after_a_day(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        clock = FakeClock()
        requests = Requests(database, clock)
        await requests.begin(ME, ONCE, "ans_1", fence=MINE)
        clock.time += KEEP_S
        assert not (await requests.begin(ME, ONCE, "ans_2", fence=MINE)).fresh
        clock.time += 1
        assert await requests.begin(ME, replace(ONCE, body_hash="other"), "ans_3", fence=MINE) == Begun(
            "ans_3", fresh=True
        )
