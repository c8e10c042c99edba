"""The only composition root: settings in, a running `App` out."""

import os
import re
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import anyio
import anyio.to_thread

from chatbackend.adapters.api.response_events import ResponseEvents
from chatbackend.adapters.api.responses import read_stored
from chatbackend.config import Settings
from chatbackend.domain.errors import NotFound
from chatbackend.domain.identity import ApiKey, Principal
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import FileSearch, interrupted
from chatbackend.infra.db import migrate
from chatbackend.infra.db.conversations import Conversations
from chatbackend.infra.db.facts import Facts
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.responses import Responses
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.infra.models.catalog import Catalog
from chatbackend.infra.models.http_model import HttpModel, Timeouts, client_session
from chatbackend.infra.models.local_model import LocalModel
from chatbackend.infra.registry import FAMILIES, Family
from chatbackend.infra.system import AlreadyRunning, DataLock, SystemClock, Tasks, boot_id, new_id, report
from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.auth import Resolver, hash_key
from chatbackend.infra.web.conversations import ConversationRoutes
from chatbackend.infra.web.origins import Origins
from chatbackend.infra.web.responses import ResponseRoutes
from chatbackend.infra.web.system import SystemRoutes
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.create_response import CreateResponse
from chatbackend.usecases.delete_conversation import DeleteConversation
from chatbackend.usecases.delete_response import DeleteResponse
from chatbackend.usecases.follow_response import FollowResponse
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.recover_responses import RecoverResponses
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.turns import Turns


class NoFiles:
    """Stands in until files are wired up."""

    async def search(self, principal: Principal, query: str, search: FileSearch) -> list[Passage]:
        raise NotFound("No such vector store.", param="tools")

    async def text(self, principal: Principal, file_id: str) -> tuple[str, str]:
        raise NotFound(f"No such file: {file_id}.", param="input")

    data_url = text


TENANT = "default"
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
        clock, facts, keys = SystemClock(), Facts(truth_db), Keys(truth_db)
        stored_log, unstored_log = SqliteEventLog(log_db, clock.now), MemoryEventLog(time.monotonic)
        truth = Responses(truth_db, clock)
        files = NoFiles()
        ports = Ports(
            truth,
            stored_log,
            unstored_log,
            models=_models(settings, session),
            search=files.search,
            prepare=PrepareRequest(files),
            renderer=ResponseEvents(),
            clock=clock,
            new_id=new_id,
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
        cancel = CancelResponse(truth, live)
        responses = ResponseRoutes(
            CreateResponse(ports, run, live=live, turns=turns, spawn=tasks),
            cancel,
            DeleteResponse(truth, stored_log, cancel),
            follow=FollowResponse(truth, live, stored_log=stored_log, unstored_log=unstored_log),
            stored=truth,
            live=live,
            new_id=new_id,
            max_body_bytes=settings.chatbackend_max_body_bytes,
        )
        stored_conversations = Conversations(truth_db, clock)
        conversations = ConversationRoutes(
            stored_conversations,
            DeleteConversation(stored_conversations, cancel),
            new_id=new_id,
            max_body_bytes=settings.chatbackend_max_body_bytes,
        )
        app = App(live, await _first_key(settings, keys, int(clock.now())))
        system = SystemRoutes(ports.models, lambda: app.ready, started_at=int(clock.now()))
        app.web = WebApp(
            [*responses.routes(), *conversations.routes(), *system.routes()],
            system.public(),
            resolver=Resolver(keys, time.monotonic),
            origins=Origins(settings.chatbackend_allowed_origins),
            new_request_id=lambda: new_id("req"),
        )
        yield app


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
    known, now = await facts.get("boot"), boot_id()
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
        codec = family.codec(settings.key(family.key_variables), family.profile)
        model = HttpModel(session, base_url=endpoint, codec=codec, timeouts=Timeouts())
        names = settings.models(family.variable)
        deployments += [_deployment(family, model, name) for name in names]
        if not names:
            open_families[family.name] = partial(_deployment, family, model)
    return Catalog(deployments, open_families)


def _deployment(family: Family, model: HttpModel, name: str) -> Deployment:
    return Deployment(f"{family.name}/{name}", family.name, name, model)


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
