"""The only composition root: settings in, a running `App` out."""

import secrets
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from random import SystemRandom

import anyio.to_thread

from chatbackend import __version__
from chatbackend.bootstrap import engine as engines
from chatbackend.bootstrap.app import App
from chatbackend.bootstrap.engine import Base, Engine
from chatbackend.bootstrap.files import files
from chatbackend.bootstrap.models import models
from chatbackend.bootstrap.operate import TENANT, new_key
from chatbackend.bootstrap.realtime import realtime_routes, records_of
from chatbackend.bootstrap.routing import blamed, read_file
from chatbackend.bootstrap.spools import open_spool
from chatbackend.bootstrap.stores import open_stores
from chatbackend.config import BadSetting, Settings
from chatbackend.domain.identity import ApiKey
from chatbackend.domain.limits import PerUser
from chatbackend.domain.pricing import Prices
from chatbackend.domain.routing import Health
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.db.conversation_export import ConversationExport
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.facts import kept
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.ledger import Ledger
from chatbackend.infra.db.sqlite import SqliteDatabase, Unflushed
from chatbackend.infra.housekeeping import Housekeeping
from chatbackend.infra.metrics import CountedLedger, Metrics
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.socket_pool import SocketPool
from chatbackend.infra.system import Ids, SystemClock, Tasks, new_id, report
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
from chatbackend.usecases.compact_conversation import CompactConversation
from chatbackend.usecases.count_tokens import CountTokens
from chatbackend.usecases.delete_conversation import DeleteConversation
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.generate import Generate
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.relay_chat import RelayChat

ACCOUNT = "default"


@asynccontextmanager
async def build(settings: Settings) -> AsyncGenerator[App, None]:
    """Open everything under the data folder's lock, recover, and yield a server that may take requests.

    Raises: AlreadyRunning when another server holds the folder, BadSetting.
    """
    async with AsyncExitStack() as stack:
        base = await _open(settings, stack)
        engine = engines.wire(base)
        keys = Keys(base.truth)
        await _bootstrap_key(settings, keys)
        app = App(engine.live, base.draining, partial(_first_key, keys))
        resolver = Resolver(keys, ClientSecrets(base.truth), time.monotonic, base.clock.now)
        app.web = _web(base, engine, resolver, log=_access_log(settings, stack))
        if base.stores.alone:
            await engine.recover()
            await engine.answers.recover()
            await base.stores.servers.tidy()
        else:
            engines.share(base, engine)
        base.tasks(partial(base.files.queue.run, base.files.work), name="worker")
        left = await base.files.blobs.keys()  # before anybody can upload: what comes now is not named yet, either
        base.tasks(partial(base.files.sweep, left), name="blob sweep")
        base.tasks(Housekeeping(base.truth, base.stores.local_log, base.clock.now, report).run, name="housekeeping")
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


async def _open(settings: Settings, stack: AsyncExitStack) -> Base:
    """Open what must be closed again; the tasks last, so that they end before what they use."""
    clock, ids = SystemClock(), Ids()
    stores = await open_stores(settings, stack, clock)
    metrics = stack.enter_context(_metrics(settings))
    spool = await open_spool(settings.chatbackend_data_dir, stores.truth, stack)
    path = settings.chatbackend_config
    file = await anyio.to_thread.run_sync(read_file, path)
    client = await stack.enter_async_context(LeanClient())
    sockets = await stack.enter_async_context(SocketPool(lambda: client.tls))
    draining = Draining(elsewhere=not stores.alone)
    parts = await files(stack, settings, stores, clock=clock, draining=draining)
    with blamed(path):
        catalog = models(settings, file, client, sockets=sockets, embedder=parts.embedder, stack=stack)
        prices = Prices.parse(file.prices)
    return Base(
        settings,
        stores,
        spool,
        await stack.enter_async_context(Tasks()),
        files=parts,
        prices=prices,
        metrics=metrics,
        ask=AskModel(catalog, Health(), ids, SystemRandom().random, time.monotonic),
        clock=clock,
        ids=ids,
        draining=draining,
        call_key=await kept(stores.truth, "call_key", secrets.token_hex(32)),
    )


def _web(base: Base, engine: Engine, resolver: Resolver, *, log: AccessLog | None) -> WebApp:
    limit = base.settings.chatbackend_max_body_bytes
    watch = KeyWatch(resolver.still_valid, report, base.clock.now)
    base.tasks(watch.run, name="key watch")
    sockets = PerUser(base.settings.chatbackend_max_sockets_per_user, what="sockets", code="too_many_sockets")
    rows = Unflushed(base.truth) if isinstance(base.truth, SqliteDatabase) else base.truth
    stored = Ledger(
        rows,
        base.clock,
        base.prices,
        report=report,
        spawn=base.tasks,
        spool=base.spool,
        fence=base.stores.fence,
    )
    ledger = CountedLedger(stored, base.metrics)
    generate = Generate(base.ask, PrepareRequest(base.files.attachments), ledger)
    system = SystemRoutes(base.ask.models, lambda: not base.draining.begun, started_at=int(base.clock.now()))
    parts = (
        *_responses(base, engine, generate),
        *_fronts(base, generate, ledger),
        *_conversations(base, engine, watch, sockets, limit=limit),
        *realtime_routes(base, generate, ledger, watch, sockets=sockets, call_key=base.call_key),
        ClientSecretRoutes(ClientSecrets(base.truth), records_of(base), now=base.clock.now, new_id=base.ids),
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
    base: Base, engine: Engine, generate: Generate
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


def _fronts(base: Base, generate: Generate, ledger: CountedLedger) -> tuple[ChatRoutes, EmbeddingRoutes, MessageRoutes]:
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
    base: Base, engine: Engine, watch: KeyWatch, sockets: PerUser, *, limit: int
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
            sockets,
        ),
    )


def _access_log(settings: Settings, stack: AsyncExitStack) -> AccessLog | None:
    if settings.chatbackend_log_level not in ("debug", "info"):
        return None
    log = AccessLog(sys.stderr)
    stack.callback(log.flush)
    return log


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
