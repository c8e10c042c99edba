"""A stage for answers under a key: their ports by hand, and the use cases on them."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from chatbackend.domain.errors import ChatError, Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.domain.kept_answers import AT_LAST
from chatbackend.usecases.answer_once import Answered, AnswerOnce
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Begun, Fenced, LogEvent, Once
from chatbackend.usecases.record_answer import AnswerPorts, Recorder, Unended, Work
from tests.support.fakes import ME, FakeClock, RecordingLog, Trouble
from tests.support.file_fakes import Numbered

ONCE = Once("/v1/chat/completions", "body", key="key")


@dataclass
class Kept:
    """A row."""

    key: str | None
    body_hash: str
    fence: int


class FakeRequests:
    """`Requests` in memory; fences in `living` are held by somebody."""

    def __init__(self, happened: list[str], trouble: Trouble) -> None:
        self.rows: dict[str, Kept] = {}
        self.living: set[int] = {1}
        self._happened = happened
        self._trouble = trouble

    @property
    def keys(self) -> list[str | None]:
        """The keys that are taken."""
        return [row.key for row in self.rows.values() if row.key is not None]

    async def begin(self, principal: Principal, once: Once, answer_id: str, *, fence: int) -> Begun:
        await anyio.lowlevel.checkpoint()
        self._trouble.strike("begin")
        for known, row in self.rows.items():
            if row.key == once.key:
                if row.body_hash != once.body_hash:
                    raise Unprocessable("another body")
                await anyio.lowlevel.checkpoint()
                return Begun(known, fresh=False)
        self.rows[answer_id] = Kept(once.key, once.body_hash, fence)
        self._happened.append("row")
        await anyio.lowlevel.checkpoint()
        return Begun(answer_id, fresh=True)

    async def under_way(self, answer_id: str) -> int | None:
        await anyio.lowlevel.checkpoint()
        self._trouble.strike("under_way")
        row = self.rows.get(answer_id)
        return None if row is None else row.fence or None

    async def forget(self, answer_id: str, *, fence: int) -> None:
        self._trouble.strike("forget")
        if self.rows[answer_id].fence != fence:
            raise Fenced
        self.rows[answer_id].key = None
        self._happened.append("forgotten")

    async def end(self, answer_id: str, *, fence: int) -> None:
        self._trouble.strike("ended")
        row = self.rows.get(answer_id)
        if row is not None and row.fence == fence:
            row.fence = 0
            self._happened.append("row ended")

    async def unended(self) -> list[Unended]:
        return [Unended(name, row.fence, row.fence in self.living) for name, row in self.rows.items() if row.fence]

    async def take(self, answer_id: str, *, fence: int, to: int) -> bool:
        self._trouble.strike("take")
        row = self.rows[answer_id]
        if row.fence == fence and fence not in self.living:
            row.fence = to
        return row.fence == to


class FakeTell:
    """`Tell` in plain words."""

    def whole(self, caller: bytes, error: ChatError, *, final: bool) -> bytes:
        return f"{caller.decode()}: {error.code or error.message}{'!' if final else '?'}".encode()

    def last(self, caller: bytes, error: ChatError) -> bytes:
        return f"{caller.decode()}: {error.code or error.message}".encode()


class AnswerStage:
    """Everything that answers need."""

    def __init__(
        self, group: TaskGroup, *, deadline_s: float, idle_s: float, max_running: int, per_user: int | None
    ) -> None:
        self.group = group
        self.happened: list[str] = []
        self.trouble = Trouble()
        self.reports: list[tuple[str, BaseException]] = []
        self.clock = FakeClock()
        self.log = RecordingLog(self.happened, self.trouble, self.clock)
        self.requests = FakeRequests(self.happened, self.trouble)
        self.live = Live(self.clock.now, max_running=max_running, per_user=per_user)
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


TOLD = [("begun", b"me"), ("head", b"head"), ("chunk", b"a"), ("chunk", b"b"), ("ended", b".")]


async def heard(answered: Answered) -> list[tuple[str, bytes]]:
    found: list[LogEvent] = []
    with anyio.fail_after(20):
        async with aclosing(answered.events) as batches:
            async for batch in batches:
                found += batch
    assert [event.number for event in found[:-1]] == list(range(len(found) - 1))
    assert found == [] or found[-1].number in (len(found) - 1, AT_LAST)
    return [(event.type.removeprefix("answer."), event.data) for event in found]


@asynccontextmanager
async def answer_stage(
    *, deadline_s: float = 20, idle_s: float = 20, max_running: int = 9, per_user: int | None = None
) -> AsyncGenerator[AnswerStage, None]:
    async with anyio.create_task_group() as group:
        yield AnswerStage(group, deadline_s=deadline_s, idle_s=idle_s, max_running=max_running, per_user=per_user)
        group.cancel_scope.cancel()
