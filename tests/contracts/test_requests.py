"""What the rows of keyed requests promise, on both databases: one object a key, until it is freed or a day is over."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from chatbackend.domain.errors import Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.infra.db.requests import KEEP_S, Requests
from chatbackend.usecases.ports import Begun, Once
from tests.support.fakes import FakeClock
from tests.support.truths import KINDS, Kind, truth

pytestmark = pytest.mark.anyio

ME = Principal("t", "app", "app", "key_1")
OTHERS = (Principal("t", "app", "app/anna", "key_1"), Principal("t2", "app", "app", "key_3"))
ONCE = Once("/v1/chat/completions", "body", key="k" * 64)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_makes_one_object_for_its_owner_and_path(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        assert await requests.begin(ME, ONCE, "ans_1") == Begun("ans_1", fresh=True)
        assert await requests.begin(ME, ONCE, "ans_2") == Begun("ans_1", fresh=False)
        with pytest.raises(Unprocessable) as reused:
            await requests.begin(ME, replace(ONCE, body_hash="other"), "ans_3")
        assert reused.value.code == "idempotency_key_reused"
        for number, other in enumerate(OTHERS):
            assert (await requests.begin(other, ONCE, f"ans_other_{number}")).fresh
        assert (await requests.begin(ME, replace(ONCE, path="/v1/messages"), "ans_4")).fresh


@pytest.mark.parametrize("kind", KINDS)
async def test_of_many_at_once_one_makes_it(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        found: list[Begun] = []

        async def begin(number: int) -> None:
            found.append(await requests.begin(ME, ONCE, f"ans_{number}"))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(begin, number)
        assert [begun.fresh for begun in found].count(True) == 1
        assert len({begun.response_id for begun in found}) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_freed_by_who_made_its_row_alone(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        requests = Requests(database, FakeClock())
        await requests.begin(ME, ONCE, "ans_1")
        await requests.forget(ME, ONCE, "ans_2")
        for other in OTHERS:
            await requests.forget(other, ONCE, "ans_1")
        assert not (await requests.begin(ME, ONCE, "ans_3")).fresh
        await requests.forget(ME, ONCE, "ans_1")
        assert await requests.begin(ME, replace(ONCE, body_hash="other"), "ans_4") == Begun("ans_4", fresh=True)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_key_is_free_again_after_a_day(kind: Kind, tmp_path: Path) -> None:
    async with truth(kind, tmp_path) as database:
        clock = FakeClock()
        requests = Requests(database, clock)
        await requests.begin(ME, ONCE, "ans_1")
        clock.time += KEEP_S
        assert not (await requests.begin(ME, ONCE, "ans_2")).fresh
        clock.time += 1
        assert await requests.begin(ME, replace(ONCE, body_hash="other"), "ans_3") == Begun("ans_3", fresh=True)
