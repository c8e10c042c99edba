"""What dead servers left of answers under keys: each gets its end, once, and nothing is made anew."""

import anyio
import pytest

from chatbackend.domain.errors import Unavailable
from chatbackend.domain.kept_answers import AT_LAST
from chatbackend.usecases.live import Answering
from chatbackend.usecases.ports import Fenced, LogEvent
from chatbackend.usecases.recover_answers import RecoverAnswers
from tests.support.answer_stage import AnswerStage, FakeTell, Kept
from tests.support.answer_stage import answer_stage as stage
from tests.support.fakes import ME, FakeFences

pytestmark = pytest.mark.anyio
MINE, DEAD, ANOTHERS = 1, -1, 7  # fences


def recovery(on: AnswerStage) -> RecoverAnswers:
    return RecoverAnswers(
        on.requests,
        on.log,
        FakeTell(),
        fences=FakeFences(on.requests.living, {}),
        live=on.live,
        report=on.ports.report,
        spawn=on.spawn,
        retry_s=0.001,
    )


async def recovered(on: AnswerStage) -> int:
    count = await recovery(on)()
    await anyio.wait_all_tasks_blocked()
    return count


async def left(on: AnswerStage, answer_id: str, *kinds: str, fence: int = DEAD, row: bool = True) -> None:
    """Leave a row and a log as an owner does."""
    if row:
        on.requests.rows[answer_id] = Kept(f"key of {answer_id}", "body", fence)
    await on.log.open(answer_id, fence=fence)
    events = [LogEvent(number, f"answer.{kind}", b"me") for number, kind in enumerate(kinds)]
    await on.log.append(answer_id, fence=fence, expected=0, events=events, ended=False)


async def logged(on: AnswerStage, answer_id: str) -> list[tuple[str, bytes]]:
    return [(event.type, event.data) for event in await on.log.read(answer_id, after=-1, limit=99)]


async def test_what_a_dead_owner_left_gets_its_end_and_nothing_else() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun")
        await left(on, "ans_2", "begun", "head", "chunk")
        await left(on, "ans_3")
        await left(on, "resp_1", "begun", row=False)
        assert await recovered(on) == 3
        assert (await logged(on, "ans_1"))[1:] == [("answer.whole", b"me: interrupted!")]
        assert (await logged(on, "ans_2"))[3:] == [("answer.ended", b"me: interrupted")]
        assert await logged(on, "ans_3") == [("answer.whole", b": interrupted!")]
        assert await on.log.unended() == ["resp_1"]
        assert [row.fence for row in on.requests.rows.values()] == [0, 0, 0]
        assert await recovered(on) == 0


async def test_one_whose_log_had_not_begun_gets_its_end_too() -> None:
    async with stage() as on:
        on.requests.rows["ans_1"] = Kept("key", "body", DEAD)
        assert await recovered(on) == 1
        assert await on.heard(on.work("a")) == [("whole", b": interrupted!")]  # nothing says who had asked
        assert on.made == 0


async def test_what_a_living_server_makes_is_left_to_it() -> None:
    async with stage() as on:
        on.requests.living.add(ANOTHERS)
        await left(on, "ans_1", "begun", fence=ANOTHERS)
        await left(on, "ans_2", "begun", fence=MINE)
        on.live.enter(Answering("ans_2", ME))
        assert await recovered(on) == 0
        assert await on.log.unended() == ["ans_1", "ans_2"]


async def test_one_that_came_back_to_life_while_it_was_looked_at_is_left_to_it() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun")
        assert await recovery(on)() == 1
        on.requests.living.add(DEAD)
        await anyio.wait_all_tasks_blocked()
        assert await on.log.unended() == ["ans_1"]


async def test_what_this_server_owns_and_does_not_make_is_ended() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun", fence=MINE)
        assert await recovered(on) == 1
        assert await on.log.unended() == []
        assert on.requests.rows["ans_1"].fence == 0


@pytest.mark.parametrize("row", [True, False])
async def test_what_has_ended_while_its_log_lost_the_end_gets_one(*, row: bool) -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun", "head", row=row)
        if row:
            on.requests.rows["ans_1"].fence = 0
        assert await recovered(on) == 1
        assert (await logged(on, "ans_1"))[-1] == ("answer.ended", b"me: interrupted")


async def test_an_end_that_is_in_the_log_stays_the_only_one() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun")
        end = LogEvent(1, "answer.whole", b"all of it")
        await on.log.append("ans_1", fence=DEAD, expected=1, events=[end], ended=True)
        assert await recovered(on) == 1
        assert await logged(on, "ans_1") == [("answer.begun", b"me"), ("answer.whole", b"all of it")]
        assert on.requests.rows["ans_1"].fence == 0


async def test_a_reader_that_has_seen_more_than_the_log_still_holds_is_told_the_end() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun")
        assert await recovered(on) == 1
        assert [event.number for event in await on.log.read("ans_1", after=50, limit=9)] == [AT_LAST]


async def test_a_stopping_server_takes_nothing_over() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun")
        on.live.close()
        assert await recovered(on) == 0


async def test_stores_that_refuse_are_tried_again_and_what_cannot_be_helped_harms_no_other() -> None:
    async with stage() as on:
        for number in range(1, 5):
            await left(on, f"ans_{number}", "begun")
        on.trouble.plan("take", Unavailable("no"))
        on.trouble.plan("end", Fenced(), Unavailable("no"), ValueError("broken"))
        recover = recovery(on)
        await recover()
        assert await recover() == 0  # all of them are being ended
        with anyio.fail_after(5):
            while await on.log.unended() != ["ans_1", "ans_2"]:
                await anyio.wait_all_tasks_blocked()
        assert [message for message, _ in on.reports] == [
            "recovery of answers waits for the stores",
            "recovery of answers waits for the stores",
            "recovery failed for an answer",
        ]
        assert await recover() == 2  # under a fence of this server, and nobody works on them
        await anyio.wait_all_tasks_blocked()
        assert await on.log.unended() == []
