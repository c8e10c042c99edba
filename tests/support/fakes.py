"""The ports of the response use cases, by hand; and a stage on which the use cases play with them.

What happens is written down in one list (`happened`), so that a test can see the order of truth and log.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.domain.errors import NotFound
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.identity import Principal
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import Ask, FileSearch, Response
from chatbackend.domain.routing import Health, Route, Target, Timeouts
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.create_response import CreateResponse
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.follow_response import FollowResponse
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Deployment, Extent, LogEvent, Renderer
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.steer_response import SteeringFate, SteerResponse
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import Turns
from tests.support.fake_truth import FakeFences, FakeTruth, Row, Trouble
from tests.support.file_fakes import Numbered
from tests.support.openai_types import checked_event

ME = Principal("t", "app", "app", "key_1")
OTHER = Principal("t", "app", "app/eve", "key_1")


class FakeClock:
    """`Clock`, and monotonic seconds; moved by hand."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        """Return the time."""
        return self.time


class RecordingLog(MemoryEventLog):
    """A memory log that writes down what is appended, and fails when told to; nothing is taken at once by default."""

    def __init__(self, happened: list[str], trouble: Trouble, clock: FakeClock, *, prompt: bool = False) -> None:
        super().__init__(clock.now)
        self.prompt = self.room = prompt
        self._happened = happened
        self._trouble = trouble
        self.open_streams: list[str] = []
        self.taking = anyio.Event()
        self.taking.set()
        self.name = "log"
        self.meanwhile: Callable[[], Awaitable[None]] | None = None  # is done once, before a stream is opened
        self.steps: list[str] = []

    async def open(self, response_id: str, *, fence: int, fresh: bool = False) -> int:
        await anyio.lowlevel.checkpoint()
        self._trouble.strike("open")
        self.open_streams.append(response_id)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        self.steps.append("open")
        return await super().open(response_id, fence=fence)

    async def append(
        self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent], ended: bool
    ) -> None:
        await self.taking.wait()
        self._trouble.strike("end" if ended else "append")
        await super().append(response_id, fence=fence, expected=expected, events=events, ended=ended)
        self._happened += [f"log {event.number} {event.type}" for event in events]

    def take(self, response_id: str, *, fence: int, expected: int, events: Sequence[LogEvent]) -> bool:
        """Take events at once, while there is room."""
        taken = self.room and super().take(response_id, fence=fence, expected=expected, events=events)
        self._happened += [f"log {event.number} {event.type}" for event in events if taken]
        return taken

    async def read(self, response_id: str, *, after: int, limit: int) -> Sequence[LogEvent]:
        self.steps.append("read")
        return await super().read(response_id, after=after, limit=limit)

    async def unended(self) -> list[str]:
        """See `LastingLog.unended`."""
        extents = {name: await self.extent(name) for name in self.open_streams}
        return [name for name, extent in extents.items() if extent is not None and not extent.ended]

    async def lose_end(self, response_id: str) -> None:
        """Come back without a stream's last event."""
        kept = await self.read(response_id, after=-1, limit=100_000)
        await self.delete(response_id)
        await super().open(response_id, fence=1)
        await super().append(response_id, fence=1, expected=0, events=kept[:-1], ended=False)

    async def identity(self) -> str:
        """See `LastingLog.identity`."""
        self._trouble.strike("identity")
        return self.name


async def forever() -> None:
    """Say nothing more; a step of a model's script."""
    await anyio.sleep_forever()


Step = ModelEvent | Exception | anyio.Event | Callable[[], Awaitable[None]]


class FakeModel:
    """`Model` that says a script for each call, the last one again and again: events, errors, waits, actions."""

    def __init__(self, scripts: Sequence[Sequence[Step]], profile: ModelProfile) -> None:
        self.profile = profile
        self.requests: list[ModelRequest] = []
        self.hung_up = 0
        self.said = 0
        self._scripts = scripts

    async def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
        self.requests.append(request)
        try:
            for step in self._scripts[min(len(self.requests), len(self._scripts)) - 1]:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, anyio.Event):
                    await step.wait()
                elif callable(step):
                    await step()
                else:
                    await anyio.lowlevel.checkpoint()
                    self.said += 1
                    yield step
        finally:
            self.hung_up += 1


class FakeModels:
    """`Models` with one, named `m`."""

    def __init__(self, model: FakeModel) -> None:
        self._deployment = Deployment("provider/m", "provider", "upstream-m", model)

    def find(self, name: str) -> Deployment:
        if name not in {"m", "provider/m"}:
            raise NotFound(f"The model '{name}' does not exist. Known models: provider/m.", param="model")
        return self._deployment

    def route(self, name: str) -> Route:
        return Route(self.find(name).name, ((Target("provider/m"),),))

    def names(self) -> Sequence[str]:
        return []

    def all(self) -> Sequence[Deployment]:
        return [self._deployment]


class FakeSearch:
    """`SearchPassages` that finds what it was given."""

    def __init__(self, passages: list[Passage]) -> None:
        self.passages = passages
        self.asked: list[tuple[Principal, str, FileSearch]] = []
        self.error: Exception | None = None

    async def __call__(self, principal: Principal, query: str, search: FileSearch) -> list[Passage]:
        self.asked.append((principal, query, search))
        if self.error is not None:
            raise self.error
        return self.passages


class FakeAttachments:
    """`Attachments`: one file, `file-1`."""

    async def text(self, principal: Principal, file_id: str) -> tuple[str, str]:
        self._check(file_id)
        return "a.txt", "words"

    async def data_url(self, principal: Principal, file_id: str) -> tuple[str, str]:
        self._check(file_id)
        return "a.png", "data:image/png;base64,AA=="

    def _check(self, file_id: str) -> None:
        if file_id != "file-1":
            raise NotFound(f"No file with id '{file_id}'.")


class Stage:
    """Everything that responses need; `happened` is what truth and log were told, in order."""

    def __init__(
        self,
        group: TaskGroup,
        scripts: Sequence[Sequence[Step]],
        *,
        passages: Sequence[Passage],
        profile: ModelProfile,
        deadline_s: float,
        max_running: int,
        per_user: int | None,
        renderer: Renderer,
        prompt: bool,
    ) -> None:
        self.group = group
        self.clock = FakeClock()
        self.happened: list[str] = []
        self.trouble = Trouble()
        self.reports: list[tuple[str, BaseException]] = []
        self.truth = FakeTruth(self.happened, self.trouble)
        self.log = RecordingLog(self.happened, self.trouble, self.clock, prompt=prompt)
        self.fences = FakeFences(self.truth.living, self.truth.logs)
        self.unstored_log = RecordingLog(self.happened, self.trouble, self.clock)
        self.model = FakeModel(scripts, profile)
        self.search = FakeSearch(list(passages))
        self.new_id = Numbered()
        self.ports = Ports(
            self.truth,
            self.log,
            self.unstored_log,
            ask=AskModel(FakeModels(self.model), Health(), self.new_id, lambda: 0.5, anyio.current_time),
            search=self.search,
            prepare=PrepareRequest(FakeAttachments()),
            renderer=renderer,
            clock=self.clock,
            new_id=self.new_id,
            report=lambda message, error: self.reports.append((message, error)),
            fence=1,
            deadline_s=deadline_s,
        )
        self.live, self.turns = Live(self.clock.now, max_running=max_running, per_user=per_user), Turns()
        steers = self.truth.steers
        self.succeed = Succeed(
            self.truth,
            steers,
            live=self.live,
            spawn=self.spawn,
            clock=self.clock,
            new_id=self.new_id,
            report=self.ports.report,
            fence=self.ports.fence,
        )
        self.steer = SteerResponse(self.truth, steers, self.ports.ask.models, live=self.live, new_id=self.new_id)
        self.fate = SteeringFate(steers, self.live, patience_s=0.01)
        self.run = RunResponse(self.ports, self.live, self.turns, self.succeed)
        self.create = CreateResponse(self.ports, self.run, live=self.live, turns=self.turns, spawn=self.spawn)
        self.cancel = CancelResponse(self.truth, self.live)
        self.delete = DeleteResponse(self.truth, self.log, self.cancel)
        self.follow = FollowResponse(self.truth, self.live, stored_log=self.log, unstored_log=self.unstored_log)

    def spawn(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """See `Spawn`."""

        async def guarded() -> None:
            try:
                await work()
            except Exception as error:
                self.reports.append(("a task failed", error))

        self.group.start_soon(guarded, name=name)

    def ask(self, text: str = "hi", **body: object) -> Ask:
        """Return what a client asks."""
        return shapes.ask(shapes.read({"model": "m", "input": text, **body}), self.new_id)

    async def started(self, text: str = "hi", **body: object) -> str:
        """Create a response and return its id."""
        return (await self.create(self.ask(text, **body), ME)).response_id

    async def answered(self, text: str = "hi", **body: object) -> Response:
        """Create a response, wait for its end and return what the truth says (what the process says, unstored)."""
        response_id = await self.started(text, **body)
        return await self.ended(response_id)

    async def ended(self, response_id: str) -> Response:
        """Wait until a response has ended; return what the truth says (what the process says, unstored)."""
        entry = self.live.running(response_id) or self.live.unstored(ME, response_id)
        if entry is not None:
            with anyio.fail_after(20):
                await entry.done.wait()
            if not entry.response.store:
                return entry.response
        return self.truth.rows[response_id].response

    async def events(self, response_id: str, *, store: bool = True) -> list[dict[str, Any]]:
        """Return the logged events of a response, each seen to fit the SDK's types."""
        log = self.log if store else self.unstored_log
        return [checked_event(event.data) for event in await log.read(response_id, after=-1, limit=100_000)]

    async def types(self, response_id: str, *, store: bool = True) -> list[str]:
        """Return the types of the logged events of a response, without their common prefix."""
        return [event["type"].removeprefix("response.") for event in await self.events(response_id, store=store)]

    async def extent(self, response_id: str) -> Extent | None:
        """Return the extent of a stored response's log."""
        return await self.log.extent(response_id)

    def orphan(self, text: str = "hi", *, calls: int = 0, **body: object) -> Response:
        """Put a response into the truth that a dead owner left, with `calls` started calls in the ledger."""
        asked = self.ask(text, **body)
        found = Response(
            self.new_id("resp"),
            ME,
            "provider/m",
            int(self.clock.now()),
            status="in_progress" if calls else "queued",
            conversation_id=asked.conversation_id,
            previous_response_id=asked.previous_response_id,
            shown=asked.shown,
        )
        self.truth.rows[found.id] = Row(replace(found), asked)
        for number in range(calls):
            last = number == calls - 1
            self.truth.ledger[self.new_id("call")] = found.id, "started" if last else "interrupted", None
        return found


@asynccontextmanager
async def stage(
    *scripts: Sequence[Step],
    passages: Sequence[Passage] = (),
    profile: ModelProfile | None = None,
    deadline_s: float = 20.0,
    max_running: int = 100,
    prompt: bool = False,
    per_user: int | None = None,
    renderer: Renderer | None = None,
) -> AsyncGenerator[Stage, None]:
    """Open a stage; what still runs when it is left is cancelled."""
    async with anyio.create_task_group() as group:
        yield Stage(
            group,
            scripts,
            passages=passages,
            profile=profile or ModelProfile(),
            deadline_s=deadline_s,
            max_running=max_running,
            prompt=prompt,
            per_user=per_user,
            renderer=renderer or ResponseEvents(),
        )
        group.cancel_scope.cancel()
