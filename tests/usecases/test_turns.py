"""Turns of one conversation run one after the other."""

from random import Random

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.turns import SharedTurns, Turns

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


class Alive:
    """`TurnsAlive`: the turns of one conversation, wherever they run."""

    def __init__(self, *turns: int) -> None:
        self.turns = set(turns)
        self.looks = 0
        self.errors: list[Exception] = []

    async def lowest(self, conversation_id: str) -> int | None:
        assert conversation_id == "a"
        self.looks += 1
        await anyio.lowlevel.checkpoint()
        if self.errors:
            raise self.errors.pop()
        return min(self.turns, default=None)


async def waiting(group: TaskGroup, turns: SharedTurns, turn: int) -> anyio.Event:
    """Let a turn wait; return what is set once it may run."""
    runs = anyio.Event()

    async def wait() -> None:
        await turns.wait("a", turn)
        runs.set()

    turns.enter("a", turn)
    group.start_soon(wait)
    await anyio.wait_all_tasks_blocked()
    return runs


async def test_a_turn_waits_for_earlier_ones_elsewhere() -> None:
    alive, changes = Alive(1, 2, 4), Wakeups()
    turns = SharedTurns(alive, changes, poll_s=60)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            runs = await waiting(group, turns, 4)
            for ended in (2, 1):
                assert not runs.is_set()
                alive.turns.discard(ended)
                changes.wake("a")
                await anyio.wait_all_tasks_blocked()
            assert runs.is_set()
    assert alive.looks == 3


async def test_a_turn_goes_on_though_nobody_tells_it() -> None:
    alive = Alive(1, 2)
    turns = SharedTurns(alive, Wakeups(), poll_s=0.25)  # all tasks can be seen waiting between two looks
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            runs = await waiting(group, turns, 2)
            alive.errors.append(Unavailable("down"))
            alive.turns.clear()
            await runs.wait()


async def test_an_earlier_turn_that_is_taken_over_to_here_goes_first() -> None:
    alive, changes = Alive(1, 2), Wakeups()
    turns = SharedTurns(alive, changes, poll_s=60)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            second = await waiting(group, turns, 2)
            first = await waiting(group, turns, 1)
            assert (first.is_set(), second.is_set()) == (True, False)
            alive.turns.discard(1)
            changes.wake("a")
            await anyio.wait_all_tasks_blocked()
            assert not second.is_set()
            turns.leave("a", 1)
            await second.wait()


async def test_a_turn_that_nothing_was_before_asks_nobody() -> None:
    alive = Alive()
    turns = SharedTurns(alive, Wakeups())
    turns.enter("a", 1)
    await turns.wait("a", 1, behind=False)
    turns.enter(None, 0)
    await turns.wait(None, 0)
    assert alive.looks == 0
