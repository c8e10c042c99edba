"""The file half of a server inside the test's own process: real SQLite, blobs, parser children and worker."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx2
import openai
from sqlalchemy import create_engine, text

from chatbackend.adapters.validation import file_type
from chatbackend.adapters.validation.file_size import FileSize
from chatbackend.domain.identity import ApiKey, Principal
from chatbackend.domain.jobs import Job
from chatbackend.infra.blobs.local import LocalBlobs
from chatbackend.infra.db.chunk_sets import StoredIndexing
from chatbackend.infra.db.client_secrets import ClientSecrets
from chatbackend.infra.db.files import StoredFiles
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.keys import Keys
from chatbackend.infra.db.passages import StoredPassages
from chatbackend.infra.db.sqlite import SqliteDatabase
from chatbackend.infra.db.store_files import StoreFiles
from chatbackend.infra.db.tables import METADATA
from chatbackend.infra.db.tables.files import FILES
from chatbackend.infra.db.transaction import Row, Transaction
from chatbackend.infra.db.vector_stores import VectorStores
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from chatbackend.infra.queues.embedded import EmbeddedQueue
from chatbackend.infra.system import new_id, report
from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.auth import Resolver, hash_key
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.files import FileRoutes
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.origins import Origins
from chatbackend.infra.web.store_files import StoreFileRoutes
from chatbackend.infra.web.vector_stores import VectorStoreRoutes
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.delete_file import DeleteFile
from chatbackend.usecases.do_job import DoJob
from chatbackend.usecases.file_ports import Embedder, FileChecks, Parser
from chatbackend.usecases.index_file import IndexFile
from chatbackend.usecases.manage_vector_stores import ManageVectorStores
from chatbackend.usecases.read_attachment import ReadAttachment
from chatbackend.usecases.search_passages import SearchPassages
from chatbackend.usecases.upload_file import UploadFile, UploadLimits
from tests.support.wireless import into

CHECKS = FileChecks(file_type.check, file_type.check_tail, FileSize, file_type.HEAD_BYTES, file_type.TAIL_BYTES)
assert FILES.metadata is METADATA


class TestClock:
    """A clock that tests turn."""

    __test__ = False

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        """See `Clock.now`."""
        return self.time


@dataclass
class FileApp:
    """Everything, by name."""

    database: SqliteDatabase
    blobs: LocalBlobs
    clock: TestClock
    reports: list[str] = field(default_factory=list[str])
    web: WebApp = field(init=False)
    files: StoredFiles = field(init=False)
    indexing: StoredIndexing = field(init=False)
    passages: StoredPassages = field(init=False)
    stores: VectorStores = field(init=False)
    store_files: StoreFiles = field(init=False)
    jobs: StoredJobs = field(init=False)
    queue: EmbeddedQueue = field(init=False)
    changes: Wakeups = field(init=False)
    index: IndexFile = field(init=False)
    work: DoJob = field(init=False)
    search: SearchPassages = field(init=False)
    manage: ManageVectorStores = field(init=False)
    delete: DeleteFile = field(init=False)
    attachments: ReadAttachment = field(init=False)

    def client(self, key: str = "sk-a", user: str | None = None) -> openai.AsyncOpenAI:
        """Return the official SDK, speaking to this app without a socket."""
        transport = into(self.web)
        return openai.AsyncOpenAI(
            api_key=key,
            base_url="http://test/v1",
            max_retries=0,
            default_headers={"chatbackend-user": user} if user else None,
            http_client=httpx2.AsyncClient(transport=transport, timeout=30),
            _strict_response_validation=True,
        )

    def raw(self, key: str = "sk-a") -> httpx2.AsyncClient:
        """Return a plain HTTP client."""
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.AsyncClient(transport=into(self.web), base_url="http://test", headers=headers)

    async def rows(self, statement: str) -> list[Row]:
        """Return what a statement reads."""

        async def work(tx: Transaction) -> list[Row]:
            return await tx.rows(text(statement))

        return await self.database.read(work)

    async def count(self, statement: str) -> int:
        """Return the one number, named n, that a statement reads."""
        return (await self.rows(statement))[0]["n"]

    async def settled(self) -> None:
        """Return once no job is waiting or running."""
        with anyio.move_on_after(30):
            while await self.count("SELECT count(*) AS n FROM jobs WHERE state != 'given_up'"):  # noqa: ASYNC110 - what it waits for is in the database
                await anyio.sleep(0.01)
            return
        raise TimeoutError(self.reports)


def principal(tenant: str = "t1", owner: str = "a", user: str | None = None) -> Principal:
    """Return a caller."""
    return Principal(tenant, owner, owner if user is None else f"{owner}/{user}", f"key_{tenant}_{owner}")


@asynccontextmanager
async def file_app(
    folder: Path,
    *,
    embedder: Embedder | None = None,
    parser: Parser | None = None,
    keys: Sequence[ApiKey] = (ApiKey("key_t1_a", "t1", "a", "", 0),),
    worker: bool = True,
    max_file_bytes: int = 32 * 2**20,
    wrap: Callable[[DoJob], DoJob] = lambda work: work,
) -> AsyncGenerator[FileApp, None]:
    """Open the file half on `folder`; the secret of a key is `sk-` and its account."""
    async with AsyncExitStack() as stack:
        engine = create_engine(f"sqlite:///{folder / 'truth.db'}")
        METADATA.create_all(engine)
        engine.dispose()
        database = await stack.enter_async_context(SqliteDatabase(folder / "truth.db"))
        blobs = LocalBlobs(folder / "blobs", new_id)
        await blobs.open()
        app = FileApp(database, blobs, TestClock())
        if parser is None:
            parser = await stack.enter_async_context(ParserPool(ParseLimits()))
        _compose(app, embedder, parser, max_file_bytes)
        known = Keys(database)
        for key in keys:
            await known.add(key, hash_key(f"sk-{key.account}"))
        app.web = _web(app, Resolver(known, ClientSecrets(database), lambda: 0.0, lambda: 0.0), max_file_bytes)
        group = await stack.enter_async_context(anyio.create_task_group())
        if worker:
            group.start_soon(app.queue.run, wrap(app.work))
        yield app
        group.cancel_scope.cancel()


def _compose(app: FileApp, embedder: Embedder | None, parser: Parser, max_file_bytes: int) -> None:
    def report(message: str, error: BaseException) -> None:
        app.reports.append(f"{message}: {error!r}")

    app.files = StoredFiles(app.database, app.clock)
    app.indexing = StoredIndexing(app.database, app.clock)
    app.passages = StoredPassages(app.database, app.clock, max_cache_bytes=2**20)
    app.stores = VectorStores(app.database, app.clock)
    app.store_files = StoreFiles(app.database, app.clock)
    app.jobs = StoredJobs(app.database, app.clock)
    app.queue = EmbeddedQueue(app.jobs, report)
    app.changes = Wakeups()
    clean_up = CleanUp(app.indexing, app.passages, app.blobs, app.queue)
    app.index = IndexFile(app.indexing, app.blobs, parser, embedder=embedder, changes=app.changes)
    app.delete = DeleteFile(app.files, clean_up, app.changes)
    app.work = DoJob(app.index, clean_up, app.delete)
    app.search = SearchPassages(app.passages, app.stores, embedder=embedder, report=report)
    app.manage = ManageVectorStores(app.stores, app.store_files, clean_up, app.queue)
    app.attachments = ReadAttachment(app.files, app.blobs, app.changes)


def _web(app: FileApp, resolver: Resolver, max_file_bytes: int) -> WebApp:
    upload = UploadFile(
        app.files,
        app.blobs,
        app.queue,
        checks=CHECKS,
        limits=UploadLimits(max_file_bytes=max_file_bytes),
        clock=app.clock,
        new_id=new_id,
    )
    files = FileRoutes(
        upload,
        app.delete,
        stored=app.files,
        blobs=app.blobs,
        changes=app.changes,
        draining=Draining(),
        max_file_bytes=max_file_bytes,
    )
    stores = VectorStoreRoutes(app.manage, app.search, stored=app.stores, clock=app.clock, new_id=new_id)
    store_files = StoreFileRoutes(app.manage, stored=app.store_files, texts=app.files, clock=app.clock, new_id=new_id)
    return WebApp(
        [*files.routes(), *stores.routes(), *store_files.routes()],
        [],
        resolver=resolver,
        watch=KeyWatch(resolver.still_valid, report, lambda: 0.0),
        origins=Origins([]),
        new_request_id=lambda: new_id("req"),
    )


def job(kind: str = "index", subject: str = "1") -> Job:
    """Return a job."""
    return Job(1, kind, "t1", "a", subject)  # pyright: ignore[reportArgumentType]  # a test's word for a kind
