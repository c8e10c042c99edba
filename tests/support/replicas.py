"""Several servers' use cases in one process: each with its own connections to one truth, one log and one bus."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from chatbackend.adapters.api import responses as shapes
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.domain.conversations import Conversation
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.responses import Response
from chatbackend.domain.routing import Health
from chatbackend.infra.db import migrate
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.postgres import PostgresDatabase
from chatbackend.infra.db.replicas import StoredTurns, StoredWishes
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.steers import StoredSteers
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.cancel_elsewhere import CancelElsewhere, HeedWishes
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.create_response import CreateResponse
from chatbackend.usecases.delete_conversation import DeleteConversation
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import EventLog
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.replica_ports import Signals
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import SharedTurns
from tests.support.fakes import ME, FakeAttachments, FakeClock, FakeModel, FakeModels, FakeSearch, Step
from tests.support.file_fakes import Numbered
from tests.support.postgres import migrated
from tests.support.truths import Kind


@asynccontextmanager
async def two_databases(kind: Kind, folder: Path) -> AsyncGenerator[tuple[Database, Database], None]:
    """Open one truth twice, as two processes would."""
    async with AsyncExitStack() as stack:
        if kind == "sqlite":
            path = folder / "truth.db"
            await anyio.to_thread.run_sync(migrate.migrate, path)
            opened = partial(SqliteDatabase, path, synchronous="NORMAL")
        else:
            opened = partial(PostgresDatabase, await stack.enter_async_context(migrated()))
        yield await stack.enter_async_context(opened()), await stack.enter_async_context(opened())


class Replica:
    """One server: what it runs is its own, everything else it shares. `poll_s`: how often it looks unasked."""

    def __init__(
        self,
        group: TaskGroup,
        scripts: Sequence[Sequence[Step]],
        *,
        database: Database,
        log: EventLog,
        signals: Signals,
        new_id: Numbered,
        poll_s: float,
        patience_s: float = 10.0,
    ) -> None:
        clock, changes, cancels = FakeClock(), signals.topic("conversation"), signals.topic("cancel")
        self.group, self.new_id, self.log = group, new_id, log
        self.reports: list[tuple[str, BaseException]] = []
        self.truth = Responses(database, clock, changes=changes)
        self.conversations = Conversations(database, clock, changes)
        self.wishes = StoredWishes(database)
        self.model = FakeModel(scripts, ModelProfile())
        self.live = Live(clock.now, max_running=100)
        self.turns = SharedTurns(StoredTurns(database), changes, poll_s=poll_s)
        ports = Ports(
            self.truth,
            log,
            MemoryEventLog(clock.now),
            ask=AskModel(FakeModels(self.model), Health(), new_id, lambda: 0.5, anyio.current_time),
            search=FakeSearch([]),
            prepare=PrepareRequest(FakeAttachments()),
            renderer=ResponseEvents(),
            clock=clock,
            new_id=new_id,
            report=self.report,
            fence=1,
            deadline_s=20,
        )
        succeed = Succeed(
            self.truth,
            StoredSteers(database),
            live=self.live,
            spawn=self.spawn,
            clock=clock,
            new_id=new_id,
            report=self.report,
            fence=ports.fence,
        )
        run = RunResponse(ports, self.live, self.turns, succeed)
        self.create = CreateResponse(ports, run, live=self.live, turns=self.turns, spawn=self.spawn)
        elsewhere = CancelElsewhere(self.truth, self.wishes, cancels, poll_s=poll_s)
        self.cancel = CancelResponse(self.truth, self.live, elsewhere=elsewhere, patience_s=patience_s)
        self.delete = DeleteResponse(self.truth, log, self.cancel)
        self.follow = FollowConversation(ConversationLog(database), changes, idle_s=poll_s)
        self.delete_conversation = DeleteConversation(self.conversations, self.cancel, log)
        group.start_soon(HeedWishes(self.wishes, self.live, cancels, self.report, poll_s=poll_s).run)

    def spawn(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """See `Spawn`."""

        async def owned() -> None:
            await work()

        self.group.start_soon(owned, name=name)

    def report(self, message: str, error: BaseException) -> None:
        """See `Report`."""
        self.reports.append((message, error))

    async def conversation(self, name: str = "conv") -> str:
        """Make a conversation."""
        return (await self.conversations.create(ME, Conversation(name, 0), [], once=None)).id

    async def started(self, text: str = "hi", **body: object) -> str:
        """Create a response that runs here, and return its id."""
        ask = shapes.ask(shapes.read({"model": "m", "input": text, **body}), self.new_id)
        return (await self.create(ask, ME)).response_id

    async def ended(self, response_id: str) -> Response:
        """Wait until a response that runs here has ended, and return what the truth says."""
        entry = self.live.running(response_id)
        if entry is not None:
            await entry.done.wait()
        found = await self.truth.get(ME, response_id)
        assert found is not None
        return found

    async def speaking(self, count: int = 1) -> None:
        """Wait until the model here has said so many things."""
        while self.model.said < count:  # noqa: ASYNC110 - a model tells nobody
            await anyio.sleep(0.005)
