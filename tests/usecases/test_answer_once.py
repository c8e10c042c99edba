"""An answer under a key: written down before anybody is asked, made once, kept or given up by the rule."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

import anyio
import pytest

from chatbackend.domain.errors import (
    ChatError,
    Conflict,
    Gone,
    InvalidRequest,
    RateLimited,
    Unavailable,
    Unprocessable,
    UpstreamCut,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from chatbackend.domain.responses import interrupted
from chatbackend.usecases.answer_once import Answered, AnswerOnce
from chatbackend.usecases.journal import BACKLOG_EVENTS, COPY_BYTES
from chatbackend.usecases.ports import Fenced, LogEvent
from chatbackend.usecases.record_answer import Recorder
from tests.support.answer_stage import TOLD, AnswerStage, Kept, heard
from tests.support.answer_stage import answer_stage as stage

pytestmark = pytest.mark.anyio


async def test_the_row_and_the_beginning_are_there_before_anybody_is_asked() -> None:
    async with stage() as on:
        assert await on.heard(on.work("a", "b")) == TOLD
        assert on.happened[:3] == ["row", "log 0 answer.begun", "asked"]
        assert on.live.at_work() == []


async def test_a_repeat_is_given_what_was_made_while_it_is_made_and_after() -> None:
    async with stage() as on:
        gate = anyio.Event()
        first = await on.ask(on.work("a", gate, "b"))
        second = await on.ask(on.work("other"))
        gate.set()
        assert [first.fresh, second.fresh] == [True, False]
        assert await heard(first) == await heard(second) == await on.heard(on.work("other")) == TOLD
        assert on.made == 1


async def test_of_many_at_once_one_is_made() -> None:
    async with stage() as on:
        found: list[Answered] = []

        async def ask() -> None:
            found.append(await on.ask(on.work("a", "b")))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert sorted(answered.fresh for answered in found) == [False] * 4 + [True]
        assert [await heard(answered) for answered in found] == [TOLD] * 5
        assert on.made == 1


async def test_a_caller_that_leaves_stops_nothing() -> None:
    async with stage() as on:
        gate = anyio.Event()
        answered = await on.ask(on.work("a", gate, "b"))
        await answered.events.aclose()
        gate.set()
        assert await on.heard(on.work("other")) == TOLD


async def test_another_body_is_refused_and_nothing_is_left_running() -> None:
    async with stage() as on:
        await on.heard(on.work("a"))
        with pytest.raises(Unprocessable):
            await on.ask(on.work("a"), body="other")
        assert on.live.at_work() == []


async def test_a_silent_answer_says_now_and_then_that_it_lives() -> None:
    async with stage(idle_s=0.001) as on:
        gate = anyio.Event()
        answered = await on.ask(on.work("a", gate, "b"))
        batches: list[Sequence[LogEvent]] = []
        async with aclosing(answered.events) as events:
            async for batch in events:
                batches.append(batch)
                if not batch:
                    gate.set()
        assert () in batches


@pytest.mark.parametrize(
    "error", [InvalidRequest("wrong", code="w"), UpstreamOverloaded("busy", code="w"), Unavailable("down", code="w")]
)
async def test_what_nobody_generated_leaves_the_key_free(error: ChatError) -> None:
    async with stage() as on:
        assert await on.heard(on.work(error)) == [("begun", b"me"), ("whole", b"me: w?")]
        await anyio.wait_all_tasks_blocked()
        assert on.happened[-3:] == ["forgotten", "log 1 answer.whole", "row ended"]  # free before it is told
        assert await on.heard(on.work("a", "b")) == TOLD


@pytest.mark.parametrize("error", [UpstreamCut("cut", code="c"), UpstreamTimeout("late", code="c")])
async def test_what_may_have_been_generated_is_kept_as_its_error(error: ChatError) -> None:
    async with stage() as on:
        told = [("begun", b"me"), ("whole", b"me: c!")]
        assert await on.heard(on.work(error)) == told
        assert await on.heard(on.work("a")) == told
        assert on.made == 1


async def test_an_error_inside_a_stream_is_its_end() -> None:
    async with stage() as on:
        told = await on.heard(on.work("a", UpstreamCut("cut", code="c")))
        assert told == [*TOLD[:3], ("ended", b"me: c")]
        assert on.requests.keys == ["key"]


async def test_a_failure_of_ours_is_reported_and_kept_without_its_words() -> None:
    async with stage() as on:
        told = await on.heard(on.work(ValueError("secret")))
        assert told[1][1].endswith(b"the log has the cause.!")
        assert [message for message, _ in on.reports] == ["an answer failed unexpectedly"]


async def test_an_end_that_is_there_is_not_taken_back_by_what_goes_wrong_behind_it() -> None:
    async with stage() as on:

        async def work(recorder: Recorder) -> None:
            recorder.whole(b"all of it")
            raise ValueError("late")

        assert await on.heard(work) == [("begun", b"me"), ("whole", b"all of it")]


@pytest.mark.parametrize(("steps", "told"), [(("a",), ("ended", b"me: ")), ((), ("whole", b"me: "))])
async def test_an_answer_that_just_stops_has_an_end(steps: tuple[str, ...], told: tuple[str, bytes]) -> None:
    async with stage() as on:
        kind, data = (await on.heard(on.work(*steps, end=False)))[-1]
        assert (kind, data.removesuffix(b"!")) == (told[0], told[1] + b"The server gave no answer.")


async def test_a_deadline_ends_it() -> None:
    async with stage(deadline_s=0.01) as on:
        assert (await on.heard(on.work("a", anyio.Event())))[-1] == ("ended", b"me: deadline_exceeded")


@pytest.mark.parametrize(
    ("steps", "end"), [(("a",), ("ended", b"me: interrupted")), ((), ("whole", b"me: interrupted!"))]
)
async def test_a_stop_ends_it_as_interrupted(steps: tuple[str, ...], end: tuple[str, bytes]) -> None:
    async with stage() as on:
        answered = await on.ask(on.work(*steps, anyio.Event()))
        await anyio.wait_all_tasks_blocked()
        [running] = on.live.at_work()
        running.stop(interrupted())
        await running.done.wait()
        assert (await heard(answered))[-1] == end
        assert on.requests.keys == ["key"]


async def test_a_cancelled_task_still_ends_its_answer() -> None:
    async with stage() as on:
        scope = anyio.CancelScope()

        async def process(work: Callable[[], Awaitable[None]]) -> None:
            with scope:
                await work()

        def spawn(work: Callable[[], Awaitable[None]], *, name: str) -> None:
            on.group.start_soon(process, work, name=name)

        on.answer = AnswerOnce(on.ports, on.live, spawn)
        answered = await on.ask(on.work("a", anyio.Event()))
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        assert (await heard(answered))[-1] == ("ended", b"me: interrupted")


async def test_a_log_that_cannot_begin_refuses_whoever_asks_and_frees_the_key() -> None:
    async with stage() as on:
        on.trouble.plan("open", Unavailable("the log is down", code="down"))
        found: list[str | None] = []

        async def ask() -> None:
            with pytest.raises(Unavailable) as refused:
                await on.ask(on.work("a"))
            found.append(refused.value.code)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert found == ["down", "down"]
        assert (on.made, on.requests.keys, on.live.at_work()) == (0, [], [])


async def test_a_row_that_cannot_be_written_leaves_nothing() -> None:
    async with stage() as on:
        on.trouble.plan("begin", Unavailable("no"))
        with pytest.raises(Unavailable):
            await on.ask(on.work("a"))
        assert (on.live.at_work(), on.happened) == ([], [])


async def test_an_end_is_saved_however_often_the_stores_refuse_it() -> None:
    async with stage() as on:
        on.trouble.plan("forget", Unavailable("no"))
        on.trouble.plan("end", Unavailable("no"))
        assert (await on.heard(on.work(InvalidRequest("wrong", code="w"))))[-1] == ("whole", b"me: w?")
        assert len(on.reports) == 2
        assert on.requests.keys == []


async def test_a_stopping_server_leaves_an_end_that_is_refused_to_its_next_start() -> None:
    async with stage() as on:
        on.trouble.plan("end", *[Unavailable("no")] * 9)
        gate = anyio.Event()
        await on.ask(on.work("a", gate))
        [running] = on.live.at_work()
        on.live.close()
        gate.set()
        with anyio.fail_after(5):
            await running.done.wait()
        assert await on.log.unended() == ["ans_1"]


async def test_a_log_that_refuses_a_stream_ends_it() -> None:
    async with stage() as on:
        answered = await on.ask(on.work("a", anyio.Event()))
        on.trouble.plan("append", Unavailable("full", code="full"))
        assert (await heard(answered))[-1] == ("ended", b"me: full")


@pytest.mark.parametrize("at", ["append", "end"])
@pytest.mark.parametrize("error", [Fenced(), Gone("deleted")])
async def test_who_lost_its_log_writes_nothing_more(at: str, error: Exception) -> None:
    async with stage() as on:
        gate = anyio.Event()
        await on.ask(on.work(gate, "a"))
        [running] = on.live.at_work()
        await anyio.wait_all_tasks_blocked()
        on.trouble.plan(at, error)
        if isinstance(error, Gone):
            on.trouble.plan("append", error)
        gate.set()
        with anyio.fail_after(5):
            await running.done.wait()
        assert "log 3 answer.ended" not in on.happened


@pytest.mark.parametrize(("error", "then"), [(Fenced(), []), (Gone("deleted"), ["row ended"])])
async def test_who_lost_its_log_stops_its_work_and_frees_no_key(error: Exception, then: list[str]) -> None:
    async with stage() as on:
        gate = anyio.Event()
        await on.ask(on.work(gate, "a", anyio.Event()))
        [running] = on.live.at_work()
        await anyio.wait_all_tasks_blocked()
        on.trouble.plan("append", error, error)
        gate.set()
        with anyio.fail_after(5):
            await running.done.wait()
        assert on.happened == ["row", "log 0 answer.begun", "asked", *then]
        assert on.requests.keys == ["key"]


async def test_a_log_that_lags_holds_the_work_back() -> None:
    async with stage() as on:
        full: list[bool] = []

        async def work(recorder: Recorder) -> None:
            recorder.head(b"head")
            on.log.taking = anyio.Event()
            full.extend(not recorder.write(b"x") for _ in range(BACKLOG_EVENTS))
            recorder.write(b"")
            on.log.taking.set()
            await recorder.drained()
            full.append(not recorder.write(b"y"))
            recorder.end(b"")

        told = await on.heard(work)
        assert (full[-2:], full.count(True)) == ([True, False], 2)
        assert len(told) == BACKLOG_EVENTS + 4


async def test_what_the_log_no_longer_has_is_gone_and_not_made_again() -> None:
    async with stage() as on:
        await on.heard(on.work("a"))
        await on.log.delete("ans_1")
        with pytest.raises(Conflict) as gone:
            await on.ask(on.work("a"))
        assert (gone.value.code, on.made) == ("idempotent_result_gone", 1)


async def test_a_log_that_is_deleted_under_a_reader_ends_it() -> None:
    async with stage(idle_s=0.01) as on:
        answered = await on.ask(on.work("a", anyio.Event()))
        [running] = on.live.at_work()
        await on.log.delete("ans_1")
        running.stop(interrupted())
        await running.done.wait()
        assert await heard(answered) == []


async def test_of_a_thousand_answers_at_once_no_more_are_made_than_a_user_may_have() -> None:
    async with stage(max_running=9_999, per_user=10) as on:
        refused: list[str | None] = []

        async def ask(number: int) -> None:
            try:
                await on.ask(on.work(anyio.Event()), key=f"{number}")
            except RateLimited as error:
                refused.append(error.code)

        async with anyio.create_task_group() as group:
            for number in range(1_000):
                group.start_soon(ask, number)
        assert (on.made, len(on.requests.rows), refused) == (10, 10, ["too_many_responses"] * 990)
        [running, *_] = on.live.at_work()
        running.stop(interrupted())
        await running.done.wait()
        assert (await on.ask(on.work("a"))).fresh


async def test_answers_take_the_room_that_responses_take() -> None:
    async with stage(max_running=1) as on:
        await on.ask(on.work(anyio.Event()))
        with pytest.raises(Unavailable) as refused:
            await on.ask(on.work("a"), key="another")
        assert refused.value.code == "overloaded"
        on.live.close()
        with pytest.raises(Unavailable) as refused:
            await on.ask(on.work("a"), key="another")
        assert refused.value.code == "stopping"


ANOTHERS = 7  # a fence


async def test_an_answer_that_another_server_makes_is_followed_from_before_its_beginning() -> None:
    async with stage() as on:
        on.requests.rows["ans_9"] = Kept("key", "body", ANOTHERS)
        answered = await on.ask(on.work("other"))
        told: list[tuple[str, bytes]] = []

        async def listen() -> None:
            told.extend(await heard(answered))

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            await on.log.open("ans_9", fence=ANOTHERS)
            events = [LogEvent(number, f"answer.{kind}", data) for number, (kind, data) in enumerate(TOLD)]
            await on.log.append("ans_9", fence=ANOTHERS, expected=0, events=events, ended=True)
        assert (answered.fresh, told, on.made) == (False, TOLD, 0)


async def test_one_that_another_server_could_not_begin_ends_for_whoever_waits_for_it() -> None:
    async with stage(idle_s=0.001) as on:
        on.requests.rows["ans_9"] = Kept("key", "body", ANOTHERS)
        answered = await on.ask(on.work("other"))
        on.requests.rows["ans_9"].fence = 0
        assert await heard(answered) == []


async def test_who_lost_its_answer_before_it_began_asks_nobody_and_tells_what_the_other_says() -> None:
    async with stage() as on:

        async def taken() -> None:
            on.requests.rows["ans_1"].fence = ANOTHERS
            await on.log.open("ans_1", fence=ANOTHERS)
            end = LogEvent(0, "answer.whole", b"interrupted")
            await on.log.append("ans_1", fence=ANOTHERS, expected=0, events=[end], ended=True)

        on.log.meanwhile = taken
        assert await on.heard(on.work("a")) == [("whole", b"interrupted")]
        await anyio.wait_all_tasks_blocked()
        assert (on.made, on.requests.rows["ans_1"].fence) == (0, ANOTHERS)


async def test_a_key_that_is_anothers_by_now_is_not_freed() -> None:
    async with stage() as on:

        async def work(recorder: Recorder) -> None:
            on.requests.rows["ans_1"].fence = ANOTHERS
            raise InvalidRequest("wrong")

        answered = await on.ask(work)
        [running] = on.live.at_work()
        await running.done.wait()
        assert (on.requests.keys, await on.log.unended()) == (["key"], ["ans_1"])
        await answered.events.aclose()


@pytest.mark.parametrize("owner", [1, ANOTHERS])
async def test_a_log_that_forgot_everything_gets_it_again_if_the_truth_says_whose_it_is(owner: int) -> None:
    async with stage() as on:
        gate = anyio.Event()
        await on.ask(on.work("a", gate, "b"))
        [running] = on.live.at_work()
        await anyio.wait_all_tasks_blocked()
        on.requests.rows["ans_1"].fence = owner
        await forget_events(on, 0)
        gate.set()
        await running.done.wait()
        kept = [
            (event.type.removeprefix("answer."), event.data) for event in await on.log.read("ans_1", after=-1, limit=9)
        ]
        assert kept == (TOLD if owner == 1 else [])


async def test_an_answer_whose_log_lost_what_nobody_has_any_more_is_never_made_to_look_whole() -> None:
    async with stage() as on:
        gate, filler = anyio.Event(), "x" * (COPY_BYTES // 2)
        await on.ask(on.work("a", filler, filler, filler, gate, "b"))
        [running] = on.live.at_work()
        await anyio.wait_all_tasks_blocked()
        await forget_events(on, 2)
        gate.set()
        with anyio.fail_after(5):
            await running.done.wait()
        assert [event.type for event in await on.log.read("ans_1", after=-1, limit=9)] == [
            "answer.begun",
            "answer.head",
        ]
        assert (on.requests.rows["ans_1"].fence, on.requests.keys) == (0, ["key"])  # whoever looks next ends it


async def forget_events(on: AnswerStage, kept: int) -> None:
    """Let the log come back with so many of the first events, and without an owner."""
    events = await on.log.read("ans_1", after=-1, limit=kept)
    await on.log.delete("ans_1")
    await on.log.open("ans_1", fence=0)
    if events:
        await on.log.append("ans_1", fence=0, expected=0, events=events, ended=False)
