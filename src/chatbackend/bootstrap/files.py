"""Files composed: uploads, indexing and search on the data folder."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio.to_thread
import structlog

from chatbackend.adapters.validation import file_type
from chatbackend.adapters.validation.file_size import FileSize
from chatbackend.bootstrap.stores import Stores
from chatbackend.config import Settings
from chatbackend.infra.blobs.local import LocalBlobs
from chatbackend.infra.db.chunk_sets import StoredIndexing
from chatbackend.infra.db.files import StoredFiles
from chatbackend.infra.db.jobs import StoredJobs
from chatbackend.infra.db.passages import StoredPassages
from chatbackend.infra.db.store_files import StoreFiles
from chatbackend.infra.db.vector_stores import VectorStores
from chatbackend.infra.embedding.minilm import MiniLM, absent
from chatbackend.infra.parsing.limits import ParseLimits
from chatbackend.infra.parsing.pool import ParserPool
from chatbackend.infra.queues.embedded import EmbeddedQueue
from chatbackend.infra.system import SystemClock, new_id, report
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.files import FileRoutes
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.store_files import StoreFileRoutes
from chatbackend.infra.web.vector_stores import VectorStoreRoutes
from chatbackend.usecases.clean_up import CleanUp
from chatbackend.usecases.delete_file import DeleteFile
from chatbackend.usecases.do_job import DoJob
from chatbackend.usecases.file_ports import FileChecks
from chatbackend.usecases.index_file import IndexFile
from chatbackend.usecases.manage_vector_stores import ManageVectorStores
from chatbackend.usecases.read_attachment import ReadAttachment
from chatbackend.usecases.search_passages import SearchPassages
from chatbackend.usecases.sweep_blobs import SweepBlobs
from chatbackend.usecases.upload_file import UploadFile, UploadLimits

_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend")
VECTOR_CACHE_BYTES = 64 * 2**20
LOOK_S = 5.0  # for jobs that another server added and then left


@dataclass(frozen=True, slots=True)
class FileParts:
    """What files are to the rest of the server."""

    search: SearchPassages
    attachments: ReadAttachment
    routes: Callable[[], list[Route]]
    queue: EmbeddedQueue
    work: DoJob
    blobs: LocalBlobs
    sweep: SweepBlobs
    embedder: MiniLM | None


async def files(
    stack: AsyncExitStack, settings: Settings, stores: Stores, *, clock: SystemClock, draining: Draining
) -> FileParts:
    """Compose uploads, indexing and search on the data folder."""
    database, shared = stores.truth, not stores.alone
    blobs = LocalBlobs(settings.chatbackend_data_dir / "blobs", new_id, shared=shared)
    await blobs.open()
    parser = await stack.enter_async_context(ParserPool(ParseLimits()))
    missing = await anyio.to_thread.run_sync(absent)
    if missing is not None:
        _log.warning("files are searched by words alone", missing=missing)
    embedder = MiniLM() if missing is None else None
    stored, indexing = StoredFiles(database, clock), StoredIndexing(database, clock)
    passages = StoredPassages(database, clock, max_cache_bytes=VECTOR_CACHE_BYTES)
    vector_stores, store_files = VectorStores(database, clock), StoreFiles(database, clock)
    jobs, changes = StoredJobs(database, clock, fence=stores.fence, judge=stores.judge), stores.signals.topic("file")
    new_jobs = stores.signals.topic("job")
    queue = EmbeddedQueue(jobs, report, changes=new_jobs, idle_s=LOOK_S) if shared else EmbeddedQueue(jobs, report)
    clean_up = CleanUp(indexing, passages, blobs, queue)
    delete = DeleteFile(stored, clean_up, changes)
    index = IndexFile(indexing, blobs, parser, embedder=embedder, changes=changes)
    search = SearchPassages(passages, vector_stores, embedder=embedder, report=report)
    manage = ManageVectorStores(vector_stores, store_files, clean_up, queue)
    limit = settings.chatbackend_max_file_bytes
    checks = FileChecks(file_type.check, file_type.check_tail, FileSize, file_type.HEAD_BYTES, file_type.TAIL_BYTES)
    limits = UploadLimits(max_file_bytes=limit)
    upload = UploadFile(stored, blobs, queue, checks=checks, limits=limits, clock=clock, new_id=new_id)
    routes = [
        *FileRoutes(
            upload, delete, stored=stored, blobs=blobs, changes=changes, draining=draining, max_file_bytes=limit
        ).routes(),
        *VectorStoreRoutes(manage, search, stored=vector_stores, clock=clock, new_id=new_id).routes(),
        *StoreFileRoutes(manage, stored=store_files, texts=stored, clock=clock, new_id=new_id).routes(),
    ]

    attachments = ReadAttachment(stored, blobs, changes)
    return FileParts(
        search,
        attachments,
        lambda: routes,
        queue,
        DoJob(index, clean_up, delete),
        blobs,
        SweepBlobs(blobs, stored),
        embedder,
    )
