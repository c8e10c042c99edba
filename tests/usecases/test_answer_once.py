"""An answer under a key: written down before anybody is asked, made once, kept or given up by the rule."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup

from chatbackend.domain.errors import (
    ChatError,
    Conflict,
    Gone,
    InvalidRequest,
    Unavailable,
    Unprocessable,
    UpstreamCut,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import interrupted
from chatbackend.usecases.answer_once import Answered, AnswerOnce
from chatbackend.usecases.journal import BACKLOG_EVENTS
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Begun, Fenced, LogEvent, Once
from chatbackend.usecases.record_answer import AnswerPorts, Recorder, Work
from chatbackend.usecases.recover_answers import RecoverAnswers
from tests.support.fakes import ME, FakeClock, RecordingLog, Trouble
from tests.support.file_fakes import Numbered

pytestmark = pytest.mark.anyio

ONCE = Once("/v1/chat/completions", "body", key="key")


class FakeRequests:
    """`Requests` in memory."""

    def __init__(self, happened: list[str], trouble: Trouble) -> None:
        self.rows: dict[str | None, tuple[str, str]] = {}
        self._happened = happened
        self._trouble = trouble

    async def begin(self, principal: Principal, once: Once, object_id: str) -> Begun:
        await anyio.lowlevel.checkpoint()
        self._trouble.strike("begin")
        known = self.rows.get(once.key)
        if known is not None and known[0] != once.body_hash:
            raise Unprocessable("another body")
        if known is not None:
            await anyio.lowlevel.checkpoint()
            return Begun(known[1], fresh=False)
        self.rows[once.key] = once.body_hash, object_id
        self._happened.append("row")
        await anyio.lowlevel.checkpoint()
        return Begun(object_id, fresh=True)

    async def forget(self, principal: Principal, once: Once, object_id: str) -> None:
        self._trouble.strike("forget")
        assert self.rows[once.key][1] == object_id
        del self.rows[once.key]
        self._happened.append("forgotten")


class FakeTell:
    """`Tell` in plain words."""

    def whole(self, caller: bytes, error: ChatError, *, final: bool) -> bytes:
        return f"{caller.decode()}: {error.code or error.message}{'!' if final else '?'}".encode()

    def last(self, caller: bytes, error: ChatError) -> bytes:
        return f"{caller.decode()}: {error.code or error.message}".encode()


class Stage:
    """Everything that answers need."""

    def __init__(self, group: TaskGroup, *, deadline_s: float, idle_s: float, max_running: int) -> None:
        self.group = group
        self.happened: list[str] = []
        self.trouble = Trouble()
        self.reports: list[tuple[str, BaseException]] = []
        self.clock = FakeClock()
        self.log = RecordingLog(self.happened, self.trouble, self.clock)
        self.requests = FakeRequests(self.happened, self.trouble)
        self.live = Live(self.clock.now, max_running=max_running)
        self.made = 0
        self.ports = AnswerPorts(
            self.requests,
            self.log,
            FakeTell(),
            new_id=Numbered(),
            report=lambda message, error: self.reports.append((message, error)),
            closed=lambda: self.live.closed,
            fence=1,
            deadline_s=deadline_s,
        )
        self.answer = AnswerOnce(self.ports, self.live, self.spawn, idle_s=idle_s)

    def spawn(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """See `Spawn`."""

        async def guarded() -> None:
            try:
                await work()
            except Exception as error:
                self.reports.append(("a task failed", error))

        self.group.start_soon(guarded, name=name)

    def work(self, *steps: str | Exception | anyio.Event | Callable[[], Awaitable[None]], end: bool = True) -> Work:
        """Return what streams texts, waits, fails."""

        async def make(recorder: Recorder) -> None:
            self.made += 1
            self.happened.append("asked")
            for step in steps:
                await anyio.lowlevel.checkpoint()
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, anyio.Event):
                    await step.wait()
                elif callable(step):
                    await step()
                else:
                    if not recorder.begun:
                        recorder.head(b"head")
                    recorder.write(step.encode())
            if end:
                recorder.end(b".")

        return make

    async def ask(self, work: Work, *, body: str = "body", key: str = "key") -> Answered:
        """Ask under a key."""
        return await self.answer(ME, Once(ONCE.path, body, key=key), work, caller=b"me")

    async def heard(self, work: Work, *, body: str = "body") -> list[tuple[str, bytes]]:
        """Ask and hear the answer out."""
        return await heard(await self.ask(work, body=body))


async def heard(answered: Answered) -> list[tuple[str, bytes]]:
    found: list[LogEvent] = []
    with anyio.fail_after(20):
        async with aclosing(answered.events) as batches:
            async for batch in batches:
                found += batch
    assert [event.number for event in found] == list(range(len(found)))
    return [(event.type.removeprefix("answer."), event.data) for event in found]


@asynccontextmanager
async def stage(*, deadline_s: float = 20, idle_s: float = 20, max_running: int = 9) -> AsyncGenerator[Stage, None]:
    async with anyio.create_task_group() as group:
        yield Stage(group, deadline_s=deadline_s, idle_s=idle_s, max_running=max_running)
        group.cancel_scope.cancel()


TOLD = [("begun", b"me"), ("head", b"head"), ("chunk", b"a"), ("chunk", b"b"), ("ended", b".")]


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
        assert on.happened[-2:] == ["forgotten", "log 1 answer.whole"]  # truth first, then the log
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
        assert on.requests.rows


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
        assert on.requests.rows


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
        assert (on.made, on.requests.rows, on.live.at_work()) == (0, {}, [])


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
        assert on.requests.rows == {}


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


async def test_who_is_fenced_stops_its_work() -> None:
    async with stage() as on:
        gate = anyio.Event()
        await on.ask(on.work(gate, "a", anyio.Event()))
        [running] = on.live.at_work()
        await anyio.wait_all_tasks_blocked()
        on.trouble.plan("append", Fenced())
        gate.set()
        with anyio.fail_after(5):
            await running.done.wait()
        assert on.happened == ["row", "log 0 answer.begun", "asked"]


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


def recovery(on: Stage) -> RecoverAnswers:
    return RecoverAnswers(on.log, FakeTell(), fence=2, report=on.ports.report, spawn=on.spawn, retry_s=0.001)


async def left(on: Stage, answer_id: str, *kinds: str) -> None:
    """Leave a log as a dead owner did."""
    await on.log.open(answer_id, fence=1)
    events = [LogEvent(number, f"answer.{kind}", b"me") for number, kind in enumerate(kinds)]
    await on.log.append(answer_id, fence=1, expected=0, events=events, ended=False)


async def logged(on: Stage, answer_id: str) -> list[tuple[str, bytes]]:
    return [(event.type, event.data) for event in await on.log.read(answer_id, after=-1, limit=99)]


async def test_what_a_dead_owner_left_gets_its_end_and_nothing_else() -> None:
    async with stage() as on:
        await left(on, "ans_1", "begun")
        await left(on, "ans_2", "begun", "head", "chunk")
        await left(on, "ans_3")
        await left(on, "resp_1", "begun")
        assert await recovery(on)() == 3
        await anyio.wait_all_tasks_blocked()
        assert (await logged(on, "ans_1"))[1:] == [("answer.whole", b"me: interrupted!")]
        assert (await logged(on, "ans_2"))[3:] == [("answer.ended", b"me: interrupted")]
        assert await logged(on, "ans_3") == [("answer.whole", b": interrupted!")]
        assert await on.log.unended() == ["resp_1"]


async def test_a_log_that_refuses_is_tried_again_and_what_cannot_be_helped_harms_no_other() -> None:
    async with stage() as on:
        for number in range(1, 5):
            await left(on, f"ans_{number}", "begun")
        on.trouble.plan("end", Fenced(), Unavailable("no"), ValueError("broken"))
        await recovery(on)()
        with anyio.fail_after(5):
            while await on.log.unended() != ["ans_1", "ans_2"]:
                await anyio.wait_all_tasks_blocked()
        assert [message for message, _ in on.reports] == [
            "recovery of answers waits for the log",
            "recovery failed for an answer",
        ]
