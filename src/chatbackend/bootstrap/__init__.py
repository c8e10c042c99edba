"""The only composition root: settings in, a running `App` out."""

import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import SystemRandom

import anyio.to_thread

from chatbackend import __version__
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.adapters.api.responses import read_stored
from chatbackend.bootstrap.answers import Answers, answers
from chatbackend.bootstrap.app import App
from chatbackend.bootstrap.files import FileParts, files
from chatbackend.bootstrap.models import models
from chatbackend.bootstrap.operate import TENANT, new_key
from chatbackend.bootstrap.routing import blamed, read_file
from chatbackend.bootstrap.truth import open_spool, open_truth
from chatbackend.config import BadSetting, Settings
from chatbackend.domain.identity import ApiKey
from chatbackend.domain.limits import PerUser
from chatbackend.domain.pricing import Prices
from chatbackend.domain.responses import interrupted as interrupted
from chatbackend.domain.routing import Health
from chatbackend.infra.counted_truth import CountedResponses
from chatbackend.infra.db import migrate
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.db.conversation_export import ConversationExport
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.facts import Facts
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.ledger import Ledger
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.spool import Spool
from chatbackend.infra.db.sqlite import SqliteDatabase, Unflushed
from chatbackend.infra.db.steers import StoredSteers
from chatbackend.infra.db.transaction import Database
from chatbackend.infra.housekeeping import Housekeeping
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.infra.metrics import CountedLedger, Metrics
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.system import DataLock, Ids, SystemClock, Tasks, boot_id, new_id, report
from chatbackend.infra.telemetry import AccessLog
from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.auth import Resolver, hash_key
from chatbackend.infra.web.azure import azure_routes
from chatbackend.infra.web.chat import ChatRoutes
from chatbackend.infra.web.chat_front import ChatFront
from chatbackend.infra.web.client_secrets import ClientSecretRoutes
from chatbackend.infra.web.compact import CompactRoutes
from chatbackend.infra.web.conversation_streams import ConversationStreams
from chatbackend.infra.web.conversations import ConversationRoutes
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.embeddings import EmbeddingRoutes
from chatbackend.infra.web.kept_answers import KeptAnswers
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.lane_work import SocketPorts
from chatbackend.infra.web.messages import MessageRoutes
from chatbackend.infra.web.metrics import MetricsRoutes, metrics_port
from chatbackend.infra.web.origins import Origins
from chatbackend.infra.web.reference import ReferenceRoutes
from chatbackend.infra.web.responses import ResponseRoutes
from chatbackend.infra.web.sockets import ResponseSockets
from chatbackend.infra.web.system import SystemRoutes
from chatbackend.infra.web.token_counts import TokenCountRoutes
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.compact_conversation import CompactConversation
from chatbackend.usecases.count_tokens import CountTokens
from chatbackend.usecases.create_response import CreateResponse
from chatbackend.usecases.delete_conversation import DeleteConversation
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.follow_response import FollowResponse
from chatbackend.usecases.generate import Generate
from chatbackend.usecases.live import Live
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.recover_responses import RecoverResponses
from chatbackend.usecases.relay_chat import RelayChat
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.steer_response import SteeringFate, SteerResponse
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import Turns

ACCOUNT = "default"


@dataclass(frozen=True, slots=True)
class _Base:
    """What everything stands on: databases, the folder's epoch, the process's own means."""

    settings: Settings
    truth: Database
    spool: Spool | None
    log: SqliteEventLog
    tasks: Tasks
    files: FileParts
    ask: AskModel
    prices: Prices
    metrics: Metrics
    facts: Facts
    clock: SystemClock
    ids: Ids
    draining: Draining
    conversation_changes: Wakeups = field(default_factory=Wakeups)


@dataclass(frozen=True, slots=True)
class _Engine:
    """The use cases of responses, wired to each other."""

    truth: Responses
    live: Live
    create: CreateResponse
    cancel: CancelResponse
    steer: SteerResponse
    fate: SteeringFate
    follow: FollowResponse
    recover: RecoverResponses
    answers: Answers


@asynccontextmanager
async def build(settings: Settings) -> AsyncGenerator[App, None]:
    """Open everything under the data folder's lock, recover, and yield a server that may take requests.

    Raises: AlreadyRunning when another server holds the folder, BadSetting.
    """
    async with AsyncExitStack() as stack:
        base = await _open(settings, stack)
        engine = await _engine(base)
        keys = Keys(base.truth)
        await _bootstrap_key(settings, keys)
        app = App(engine.live, base.draining, partial(_first_key, keys))
        resolver = Resolver(keys, ClientSecrets(base.truth), time.monotonic, base.clock.now)
        app.web = _web(base, engine, resolver, ready=lambda: app.ready, log=_access_log(settings, stack))
        await engine.recover()
        await engine.answers.recover()
        base.tasks(partial(base.files.queue.run, base.files.work), name="worker")
        base.tasks(base.files.sweep, name="blob sweep")
        base.tasks(Housekeeping(base.truth, base.log, base.clock.now, report).run, name="housekeeping")
        yield app


@contextmanager
def _metrics(settings: Settings) -> Generator[Metrics]:
    """Return the process's numbers, served on their own port where there is one. Raises: BadSetting."""
    metrics, port = Metrics(), settings.chatbackend_metrics_port
    with ExitStack() as stack:
        try:
            if port is not None:
                stack.enter_context(metrics_port(metrics, settings.chatbackend_host, port))
        except OSError as error:
            raise BadSetting(f"CHATBACKEND_METRICS_PORT is {port}: cannot listen there ({error.strerror}).") from error
        yield metrics


async def _open(settings: Settings, stack: AsyncExitStack) -> _Base:
    """Open what must be closed again; the tasks last, so that they end before what they use."""
    folder = settings.chatbackend_data_dir
    await anyio.to_thread.run_sync(_prepare, folder, stack)
    metrics = stack.enter_context(_metrics(settings))
    truth = await open_truth(settings, stack)
    spool = await open_spool(folder, truth, stack)
    log = await stack.enter_async_context(SqliteDatabase(folder / "events.db", synchronous="NORMAL"))
    path = settings.chatbackend_config
    file = await anyio.to_thread.run_sync(read_file, path)
    client = await stack.enter_async_context(LeanClient())
    clock, ids = SystemClock(), Ids()
    draining = Draining()
    parts = await files(stack, settings, truth, clock=clock, draining=draining)
    with blamed(path):
        catalog = models(settings, file, client, embedder=parts.embedder, stack=stack)
        prices = Prices.parse(file.prices)
    return _Base(
        settings,
        truth,
        spool,
        SqliteEventLog(log, clock.now),
        await stack.enter_async_context(Tasks()),
        files=parts,
        prices=prices,
        metrics=metrics,
        ask=AskModel(catalog, Health(), ids, SystemRandom().random, time.monotonic),
        facts=Facts(truth),
        clock=clock,
        ids=ids,
        draining=draining,
    )


async def _engine(base: _Base) -> _Engine:
    truth = CountedResponses(
        base.truth, base.clock, base.prices, metrics=base.metrics, changes=base.conversation_changes
    )
    turns = Turns()
    live = Live(
        time.monotonic,
        max_running=base.settings.chatbackend_max_running,
        per_user=base.settings.chatbackend_max_running_per_user,
    )
    base.metrics.running = lambda: len(live.at_work())
    ports = _ports(base, truth, fence=await base.facts.next_epoch())
    steers = StoredSteers(base.truth)
    succeed = Succeed(truth, steers, live=live, spawn=base.tasks, clock=base.clock, new_id=base.ids, report=report)
    run = RunResponse(ports, live, turns, succeed)
    lost_tail = await _booted_since(base.facts)
    return _Engine(
        truth,
        live,
        CreateResponse(ports, run, live=live, turns=turns, spawn=base.tasks),
        CancelResponse(truth, live),
        SteerResponse(truth, steers, base.ask.models, live=live, new_id=base.ids),
        SteeringFate(steers, live),
        follow=FollowResponse(truth, live, stored_log=base.log, unstored_log=ports.unstored_log),
        recover=RecoverResponses(
            ports,
            run,
            read_stored,
            log=base.log,
            steers=steers,
            succeed=succeed,
            live=live,
            turns=turns,
            spawn=base.tasks,
            lost_tail=lost_tail,
        ),
        answers=answers(
            base.truth,
            base.log,
            live,
            spawn=base.tasks,
            clock=base.clock,
            new_id=base.ids,
            fence=ports.fence,
            deadline_s=ports.deadline_s,
        ),
    )


def _ports(base: _Base, truth: Responses, *, fence: int) -> Ports:
    return Ports(
        truth,
        base.log,
        MemoryEventLog(time.monotonic),
        ask=base.ask,
        search=base.files.search,
        prepare=PrepareRequest(base.files.attachments),
        renderer=ResponseEvents(),
        clock=base.clock,
        new_id=base.ids,
        report=report,
        fence=fence,
        deadline_s=base.settings.chatbackend_response_deadline_s,
    )


def _web(
    base: _Base, engine: _Engine, resolver: Resolver, *, ready: Callable[[], bool], log: AccessLog | None
) -> WebApp:
    limit = base.settings.chatbackend_max_body_bytes
    watch = KeyWatch(resolver.still_valid, report, base.clock.now)
    base.tasks(watch.run, name="key watch")
    rows = Unflushed(base.truth) if isinstance(base.truth, SqliteDatabase) else base.truth
    stored = Ledger(rows, base.clock, base.prices, report=report, spawn=base.tasks, spool=base.spool)
    ledger = CountedLedger(stored, base.metrics)
    generate = Generate(base.ask, PrepareRequest(base.files.attachments), ledger)
    system = SystemRoutes(base.ask.models, ready, started_at=int(base.clock.now()))
    parts = (
        *_responses(base, engine, generate),
        *_fronts(base, generate, ledger),
        *_conversations(base, engine, watch, limit=limit),
        ClientSecretRoutes(ClientSecrets(base.truth), now=base.clock.now, new_id=base.ids),
        base.files,
        MetricsRoutes(base.metrics),
        system,
    )
    kept = KeptAnswers(engine.answers.once, max_body_bytes=limit)
    routes = kept.routes([route for part in parts for route in part.routes()])
    return WebApp(
        routes,
        [*system.public(), *ReferenceRoutes(routes, system.public(), version=__version__).public()],
        aliases=azure_routes(routes, max_body_bytes=limit),
        resolver=resolver,
        watch=watch,
        draining=base.draining,
        origins=Origins(base.settings.chatbackend_allowed_origins),
        access_log=log,
        metrics=base.metrics,
        new_request_id=lambda: base.ids("req"),
    )


def _responses(
    base: _Base, engine: _Engine, generate: Generate
) -> tuple[ResponseRoutes, CompactRoutes, TokenCountRoutes]:
    """Return the routes of the Responses API."""
    limit, models = base.settings.chatbackend_max_body_bytes, base.ask.models
    return (
        ResponseRoutes(
            engine.create,
            engine.cancel,
            DeleteResponse(engine.truth, base.log, engine.cancel),
            follow=engine.follow,
            stored=engine.truth,
            live=engine.live,
            new_id=base.ids,
            max_body_bytes=limit,
        ),
        CompactRoutes(
            CompactConversation(models, generate, engine.truth, clock=base.clock, new_id=base.ids),
            new_id=base.ids,
            max_body_bytes=limit,
        ),
        TokenCountRoutes(
            models,
            CountTokens(models, PrepareRequest(base.files.attachments)),
            truth=engine.truth,
            conversations=Conversations(base.truth, base.clock, base.conversation_changes),
            new_id=base.ids,
            max_body_bytes=limit,
        ),
    )


def _fronts(
    base: _Base, generate: Generate, ledger: CountedLedger
) -> tuple[ChatRoutes, EmbeddingRoutes, MessageRoutes]:
    """Return the routes that relay to providers of their dialect."""
    limit = base.settings.chatbackend_max_body_bytes
    return (
        ChatRoutes(
            base.ask.models,
            RelayChat(base.ask, ledger),
            ChatFront(generate, base.clock, base.ids),
            max_body_bytes=limit,
        ),
        EmbeddingRoutes(base.ask.models, RelayChat(base.ask, ledger, "embeddings"), max_body_bytes=limit),
        MessageRoutes(
            base.ask.models,
            RelayChat(base.ask, ledger, "messages"),
            generate,
            new_id=base.ids,
            max_body_bytes=limit,
        ),
    )


def _conversations(
    base: _Base, engine: _Engine, watch: KeyWatch, *, limit: int
) -> tuple[ConversationRoutes, ConversationStreams, ResponseSockets]:
    """Return the routes of the Conversations API, and the sockets, which follow conversations too."""
    conversations = Conversations(base.truth, base.clock, base.conversation_changes)
    log = ConversationLog(base.truth)
    follow = FollowConversation(log, base.conversation_changes)
    return (
        ConversationRoutes(
            conversations,
            DeleteConversation(conversations, engine.cancel, base.log),
            log=log,
            new_id=base.ids,
            max_body_bytes=limit,
        ),
        ConversationStreams(
            follow, log, ConversationExport(base.truth), truth=engine.truth, watch=watch, draining=base.draining
        ),
        ResponseSockets(
            SocketPorts(
                engine.create,
                engine.steer,
                engine.fate,
                cancel=engine.cancel,
                follow=engine.follow,
                truth=engine.truth,
                live=engine.live,
                watch=watch,
                draining=base.draining,
                new_id=base.ids,
                follow_conversation=follow,
                conversation_log=log,
                max_frame_bytes=limit,
            ),
            PerUser(base.settings.chatbackend_max_sockets_per_user, what="sockets", code="too_many_sockets"),
        ),
    )


def _access_log(settings: Settings, stack: AsyncExitStack) -> AccessLog | None:
    if settings.chatbackend_log_level not in ("debug", "info"):
        return None
    log = AccessLog(sys.stderr)
    stack.callback(log.flush)
    return log


def _prepare(folder: Path, stack: AsyncExitStack) -> None:
    """Take the folder and make its event log."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = DataLock(folder)
    lock.take()
    stack.callback(lock.close)
    migrate.make_event_log(folder / "events.db")


async def _booted_since(facts: Facts) -> bool:
    """Return whether the machine started anew since this folder was last used: the log may have lost its tail."""
    known, now = await facts.get("boot"), await anyio.to_thread.run_sync(boot_id)
    await facts.set("boot", now)
    return known is not None and (known != now or not now)


async def _bootstrap_key(settings: Settings, keys: Keys) -> None:
    """Store the key that the settings give, if they give one."""
    given = settings.chatbackend_bootstrap_key
    if given is not None:
        await _store_key(keys, given.get_secret_value())


async def _first_key(keys: Keys) -> str | None:
    """Make a key where there is none yet and return its secret: nobody can see it later."""
    if await keys.all():
        return None
    token = new_key()
    await _store_key(keys, token)
    return token


async def _store_key(keys: Keys, token: str) -> None:
    await keys.add(ApiKey(new_id("key"), TENANT, ACCOUNT, "bootstrap", int(time.time())), hash_key(token))
