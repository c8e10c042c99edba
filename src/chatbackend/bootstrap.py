"""The only composition root: settings in, a running `App` out."""

import os
import re
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import anyio
import anyio.to_thread

from chatbackend import __version__
from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.adapters.api.responses import read_stored
from chatbackend.adapters.validation import file_type
from chatbackend.adapters.validation.file_size import FileSize
from chatbackend.config import Settings
from chatbackend.domain.identity import ApiKey
from chatbackend.domain.responses import interrupted
from chatbackend.infra.blobs.local import LocalBlobs
from chatbackend.infra.db import migrate
from chatbackend.infra.db.chunk_sets import StoredIndexing
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.facts import Facts
from chatbackend.infra.db.files import StoredFiles
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.ledger import Ledger
from chatbackend.infra.db.passages import StoredPassages
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.store_files import StoreFiles
from chatbackend.infra.db.vector_stores import VectorStores
from chatbackend.infra.embedding.minilm import MiniLM, absent
from chatbackend.infra.housekeeping import Housekeeping
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.infra.models.catalog import Catalog
from chatbackend.infra.models.http_model import ChatRelay, HttpModel, Timeouts, client_session
from chatbackend.infra.models.local_model import LocalModel
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from chatbackend.infra.queues.embedded import EmbeddedQueue
from chatbackend.infra.registry import FAMILIES, Family
from chatbackend.infra.system import AlreadyRunning, DataLock, Ids, SystemClock, Tasks, boot_id, new_id, report
from chatbackend.infra.telemetry import AccessLog
from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.auth import Resolver, hash_key
from chatbackend.infra.web.chat import ChatRoutes
from chatbackend.infra.web.conversations import ConversationRoutes
from chatbackend.infra.web.files import FileRoutes
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.lane_work import SocketPorts
from chatbackend.infra.web.origins import Origins
from chatbackend.infra.web.reference import ReferenceRoutes
from chatbackend.infra.web.responses import ResponseRoutes
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.sockets import ResponseSockets
from chatbackend.infra.web.store_files import StoreFileRoutes
from chatbackend.infra.web.system import SystemRoutes
from chatbackend.infra.web.vector_stores import VectorStoreRoutes
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.create_response import CreateResponse
from chatbackend.usecases.delete_conversation import DeleteConversation
from chatbackend.usecases.delete_file import DeleteFile
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.do_job import DoJob
from chatbackend.usecases.file_ports import FileChecks
from chatbackend.usecases.follow_response import FollowResponse
from chatbackend.usecases.index_file import IndexFile
from chatbackend.usecases.live import Live
from chatbackend.usecases.manage_vector_stores import ManageVectorStores
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.read_attachment import ReadAttachment
from chatbackend.usecases.recover_responses import RecoverResponses
from chatbackend.usecases.relay_chat import RelayChat
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.search_passages import SearchPassages
from chatbackend.usecases.sweep_blobs import SweepBlobs
from chatbackend.usecases.turns import Turns
from chatbackend.usecases.upload_file import UploadFile, UploadLimits

TENANT = "default"
VECTOR_CACHE_BYTES = 64 * 2**20
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")
ACCOUNT = "default"


@dataclass(slots=True)
class App:
    """A built server: its ASGI application, its first key where one was made now, and how to stop it."""

    live: Live
    first_key: str | None
    web: WebApp = field(init=False)
    ready: bool = True

    async def drain(self, seconds: float) -> None:
        """Take no new work; let running responses end for `seconds`, then end them `interrupted`."""
        self.ready = False
        self.live.close()
        with anyio.move_on_after(seconds):
            for entry in self.live.all_running():
                await entry.done.wait()
        for entry in self.live.all_running():
            entry.stop(interrupted())
        for entry in self.live.all_running():
            await entry.done.wait()


@asynccontextmanager
async def build(settings: Settings) -> AsyncGenerator[App, None]:
    """Open everything under the data folder's lock, recover, and yield a server that may take requests.

    Raises: AlreadyRunning when another server holds the folder.
    """
    async with AsyncExitStack() as stack:
        folder = settings.chatbackend_data_dir
        await anyio.to_thread.run_sync(_prepare, folder, stack)
        truth_db = await stack.enter_async_context(SqliteDatabase(folder / "truth.db", synchronous="FULL"))
        log_db = await stack.enter_async_context(SqliteDatabase(folder / "events.db", synchronous="NORMAL"))
        session = await stack.enter_async_context(client_session())
        tasks = await stack.enter_async_context(Tasks())
        clock, ids, facts, keys = SystemClock(), Ids(), Facts(truth_db), Keys(truth_db)
        stored_log, unstored_log = SqliteEventLog(log_db, clock.now), MemoryEventLog(time.monotonic)
        truth = Responses(truth_db, clock)
        files = await _files(stack, settings, truth_db, clock)
        ports = Ports(
            truth,
            stored_log,
            unstored_log,
            models=_models(settings, session),
            search=files.search,
            prepare=PrepareRequest(files.attachments),
            renderer=ResponseEvents(),
            clock=clock,
            new_id=ids,
            report=report,
            fence=await facts.next_epoch(),
            deadline_s=settings.chatbackend_response_deadline_s,
        )
        live, turns = Live(time.monotonic, max_running=settings.chatbackend_max_running), Turns()
        run = RunResponse(ports, live, turns)
        recover = RecoverResponses(
            ports,
            run,
            read_stored,
            log=stored_log,
            live=live,
            turns=turns,
            spawn=tasks,
            lost_tail=await _booted_since(facts),
        )
        await recover()
        tasks(partial(files.queue.run, files.work), name="worker")
        tasks(files.sweep, name="blob sweep")
        tasks(Housekeeping(truth_db, stored_log, clock.now, report).run, name="housekeeping")
        cancel = CancelResponse(truth, live)
        create = CreateResponse(ports, run, live=live, turns=turns, spawn=tasks)
        follow = FollowResponse(truth, live, stored_log=stored_log, unstored_log=unstored_log)
        responses = ResponseRoutes(
            create,
            cancel,
            DeleteResponse(truth, stored_log, cancel),
            follow=follow,
            stored=truth,
            live=live,
            new_id=ids,
            max_body_bytes=settings.chatbackend_max_body_bytes,
        )
        stored_conversations = Conversations(truth_db, clock)
        conversations = ConversationRoutes(
            stored_conversations,
            DeleteConversation(stored_conversations, cancel),
            new_id=ids,
            max_body_bytes=settings.chatbackend_max_body_bytes,
        )
        resolver = Resolver(keys, time.monotonic)
        watch = KeyWatch(resolver.still_valid, report)
        tasks(watch.run, name="key watch")
        sockets = ResponseSockets(
            SocketPorts(
                create,
                cancel,
                follow,
                truth=truth,
                live=live,
                watch=watch,
                new_id=ids,
                max_frame_bytes=settings.chatbackend_max_body_bytes,
            )
        )
        relay = RelayChat(ports.models, Ledger(truth_db, clock, report=report, spawn=tasks), ids)
        chat = ChatRoutes(relay, max_body_bytes=settings.chatbackend_max_body_bytes)
        access_log = None
        if settings.chatbackend_log_level in ("debug", "info"):
            access_log = AccessLog(sys.stderr)
            stack.callback(access_log.flush)
        app = App(live, await _first_key(settings, keys, int(clock.now())))
        system = SystemRoutes(ports.models, lambda: app.ready, started_at=int(clock.now()))
        routes = [route for part in (responses, chat, sockets, conversations, files, system) for route in part.routes()]
        reference = ReferenceRoutes(routes, system.public(), version=__version__)
        app.web = WebApp(
            routes,
            [*system.public(), *reference.public()],
            resolver=resolver,
            origins=Origins(settings.chatbackend_allowed_origins),
            access_log=access_log,
            new_request_id=lambda: ids("req"),
        )
        yield app


@dataclass(frozen=True, slots=True)
class _Files:
    """What files are to the rest of the server."""

    search: SearchPassages
    attachments: ReadAttachment
    routes: Callable[[], list[Route]]
    queue: EmbeddedQueue
    work: DoJob
    sweep: Callable[[], Awaitable[None]]


async def _files(stack: AsyncExitStack, settings: Settings, database: SqliteDatabase, clock: SystemClock) -> _Files:
    """Compose uploads, indexing and search on the data folder."""
    blobs = LocalBlobs(settings.chatbackend_data_dir / "blobs", new_id)
    await blobs.open()
    parser = await stack.enter_async_context(ParserPool(ParseLimits()))
    embedder = MiniLM() if await anyio.to_thread.run_sync(absent) is None else None
    stored, indexing = StoredFiles(database, clock), StoredIndexing(database, clock)
    passages = StoredPassages(database, clock, max_cache_bytes=VECTOR_CACHE_BYTES)
    stores, store_files = VectorStores(database, clock), StoreFiles(database, clock)
    queue, changes = EmbeddedQueue(StoredJobs(database, clock), report), Wakeups()
    clean_up = CleanUp(indexing, passages, blobs, queue)
    delete = DeleteFile(stored, clean_up, changes)
    index = IndexFile(indexing, blobs, parser, embedder=embedder, changes=changes)
    search = SearchPassages(passages, stores, embedder=embedder, report=report)
    manage = ManageVectorStores(stores, store_files, clean_up, queue)
    limit = settings.chatbackend_max_file_bytes
    checks = FileChecks(file_type.check, file_type.check_tail, FileSize, file_type.HEAD_BYTES, file_type.TAIL_BYTES)
    limits = UploadLimits(max_file_bytes=limit)
    upload = UploadFile(stored, blobs, queue, checks=checks, limits=limits, clock=clock, new_id=new_id)
    routes = [
        *FileRoutes(upload, delete, stored=stored, blobs=blobs, changes=changes, max_file_bytes=limit).routes(),
        *VectorStoreRoutes(manage, search, stored=stores, clock=clock, new_id=new_id).routes(),
        *StoreFileRoutes(manage, stored=store_files, texts=stored, clock=clock, new_id=new_id).routes(),
    ]

    async def sweep() -> None:
        await SweepBlobs(blobs, stored)(await blobs.keys())

    attachments = ReadAttachment(stored, blobs, changes)
    return _Files(search, attachments, lambda: routes, queue, DoJob(index, clean_up, delete), sweep)


def _prepare(folder: Path, stack: AsyncExitStack) -> None:
    """Take the folder and bring its databases to this version."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = DataLock(folder)
    lock.take()
    stack.callback(lock.close)
    migrate.migrate(folder / "truth.db")
    migrate.make_event_log(folder / "events.db")


async def _booted_since(facts: Facts) -> bool:
    """Return whether the machine started anew since this folder was last used: the log may have lost its tail."""
    known, now = await facts.get("boot"), await anyio.to_thread.run_sync(boot_id)
    await facts.set("boot", now)
    return known is not None and (known != now or not now)


async def _first_key(settings: Settings, keys: Keys, now: int) -> str | None:
    """Store the bootstrap key; without one, make and return the first key when there is none yet."""
    given = settings.chatbackend_bootstrap_key
    if given is None and await keys.all():
        return None
    token = given.get_secret_value() if given else new_key()
    await keys.add(ApiKey(new_id("key"), TENANT, ACCOUNT, "bootstrap", now), hash_key(token))
    return None if given else token


def new_key() -> str:
    """Return a fresh API key: 256 random bits."""
    return f"sk-cb-{secrets.token_urlsafe(32)}"


def _models(settings: Settings, session: aiohttp.ClientSession) -> Catalog:
    """Return the models of every family whose endpoint is set, and the built-in one."""
    deployments = [Deployment("local", "chatbackend", "local", LocalModel())]
    open_families: dict[str, Callable[[str], Deployment]] = {}
    for family in FAMILIES:
        endpoint = settings.endpoint(family.variable)
        if endpoint is None:
            continue
        key = settings.key(family.key_variables)
        codec = family.codec(key, family.profile)
        model = HttpModel(session, base_url=endpoint, codec=codec, timeouts=Timeouts())
        relay = _relay(model, key) if family.relays else None
        names = settings.models(family.variable)
        deployments += [_deployment(family, model, relay, name) for name in names]
        if not names:
            open_families[family.name] = partial(_deployment, family, model, relay)
    return Catalog(deployments, open_families)


def _relay(model: HttpModel, key: str) -> ChatRelay:
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    return ChatRelay(model, headers, Timeouts())


def _deployment(family: Family, model: HttpModel, relay: ChatRelay | None, name: str) -> Deployment:
    return Deployment(f"{family.name}/{name}", family.name, name, model, relay)


@asynccontextmanager
async def keys(settings: Settings) -> AsyncGenerator[Keys, None]:
    """Open the key store, beside a running server or without one."""
    path = settings.chatbackend_data_dir / "truth.db"
    if not path.exists():
        migrate_or_check(settings)
    async with SqliteDatabase(path) as database:
        yield Keys(database)


async def create_key(store: Keys, *, account: str, name: str) -> str:
    """Make a key of a service account and return its secret. Raises: ValueError for a bad account name."""
    if not _ACCOUNT.fullmatch(account):
        raise ValueError("An account name has 1 to 64 letters, digits, '.', '_' or '-'.")
    token = new_key()
    await store.add(ApiKey(new_id("key"), TENANT, account, name, int(time.time())), hash_key(token))
    return token


async def revoke_key(store: Keys, key_id: str) -> bool:
    """Revoke a key; False when there is no active one of that id."""
    return await store.revoke(key_id, at=int(time.time()))


def migrate_or_check(settings: Settings) -> str:
    """Migrate the truth, or only look while a server runs on it; return what was done or found."""
    folder = settings.chatbackend_data_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock, path = DataLock(folder), folder / "truth.db"
    try:
        lock.take()
    except AlreadyRunning:
        missing = migrate.pending(path)
        return f"A server is running; pending: {', '.join(missing) or 'nothing'}."
    try:
        missing = migrate.pending(path)
        migrate.migrate(path)
        return f"Applied: {', '.join(missing)}." if missing else "The database is up to date."
    finally:
        lock.close()


async def check(settings: Settings, tell: Callable[[str], None]) -> int:
    """Check every configured dependency, tell of each; return the number of problems. Calls no provider's model."""
    folder = settings.chatbackend_data_dir
    problems = 0
    if not os.access(folder if folder.exists() else folder.absolute().parent, os.W_OK):
        problems += 1
        tell(f"data folder     FAIL  '{folder}' is not writable: mend its rights or set CHATBACKEND_DATA_DIR")
    else:
        tell(f"data folder     ok    {folder}")
    for family in FAMILIES:
        endpoint = settings.endpoint(family.variable)
        if endpoint is None:
            continue
        parts = urlsplit(endpoint)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            with anyio.fail_after(5):
                stream = await anyio.connect_tcp(parts.hostname or "", port)
                await stream.aclose()
            tell(f"{family.name:<15} ok    {endpoint}")
        except (OSError, TimeoutError):
            problems += 1
            tell(f"{family.name:<15} FAIL  nothing answers at {endpoint}: check {family.variable}_ENDPOINT")
    return problems
