"""Turns of one conversation run one after the other."""

from random import Random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.usecases.turns import Turns

pytestmark = pytest.mark.anyio


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 3)), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
async def test_turns_run_in_order_and_never_two_at_once(taken: list[tuple[str | None, int]], chance: Random) -> None:
    turns, ran, running = Turns(), dict[str | None, list[int]](), set[str | None]()
    numbered = [(name, number, pauses) for number, (name, pauses) in enumerate(taken, start=1)]
    for name, number, _ in numbered:
        turns.enter(name, number)

    async def run(name: str | None, number: int, pauses: int) -> None:
        await turns.wait(name, number)
        if name is not None:
            assert name not in running
            running.add(name)
        for _ in range(pauses):
            await anyio.lowlevel.checkpoint()
        running.discard(name)
        ran.setdefault(name, []).append(number)
        turns.leave(name, number)

    order = list(numbered)
    chance.shuffle(order)
    async with anyio.create_task_group() as group:
        for turn in order:
            group.start_soon(run, *turn)
    assert sorted(number for numbers in ran.values() for number in numbers) == list(range(1, len(taken) + 1))
    for name, numbers in ran.items():
        assert name is None or numbers == sorted(numbers)


async def test_a_turn_that_leaves_without_having_waited_lets_the_next_one_run() -> None:
    turns = Turns()
    for number in (1, 2, 3):
        turns.enter("a", number)
    turns.leave("a", 2)
    turns.leave("a", 1)
    with anyio.fail_after(5):
        await turns.wait("a", 3)


async def test_a_later_turn_may_enter_when_all_have_left() -> None:
    turns = Turns()
    turns.enter("a", 1)
    turns.leave("a", 1)
    turns.enter("a", 2)
    with anyio.fail_after(5):
        await turns.wait("a", 2)


async def test_without_a_conversation_nobody_waits() -> None:
    turns = Turns()
    turns.enter(None, 0)
    await turns.wait(None, 0)
    turns.leave(None, 0)
