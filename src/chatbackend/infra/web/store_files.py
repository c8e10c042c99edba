"""HTTP routes of the files in vector stores, and of batches of them."""

from chatbackend.adapters.api import vector_stores as shapes
from chatbackend.adapters.api.listing import envelope, window
from chatbackend.domain.errors import Conflict, InvalidRequest
from chatbackend.domain.vector_stores import FileBatch
from chatbackend.infra.db.files import StoredFiles
from chatbackend.infra.db.store_files import StoreFiles
from chatbackend.infra.web.http import Request, decode_object
from chatbackend.infra.web.responses import keyed, once_of
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.vector_stores import MAX_BODY_BYTES, PATH
from chatbackend.usecases.manage_vector_stores import ManageVectorStores
from chatbackend.usecases.ports import Clock, NewId

STATUSES = ("in_progress", "completed", "failed", "cancelled")


class StoreFileRoutes:
    """`/v1/vector_stores/{vector_store_id}/files` and `/file_batches`."""

    def __init__(
        self, manage: ManageVectorStores, *, stored: StoreFiles, texts: StoredFiles, clock: Clock, new_id: NewId
    ) -> None:
        self._manage = manage
        self._stored = stored
        self._texts = texts
        self._clock = clock
        self._new_id = new_id

    def routes(self) -> list[Route]:
        """Return the routes."""
        files, batches = f"{PATH}/{{vector_store_id}}/files", f"{PATH}/{{vector_store_id}}/file_batches"
        return [
            ("POST", files, self.attach),
            ("GET", files, self.list),
            ("GET", f"{files}/{{file_id}}", self.get),
            ("POST", f"{files}/{{file_id}}", self.update),
            ("DELETE", f"{files}/{{file_id}}", self.detach),
            ("GET", f"{files}/{{file_id}}/content", self.content),
            ("POST", batches, self.create_batch),
            ("GET", f"{batches}/{{batch_id}}", self.batch),
            ("POST", f"{batches}/{{batch_id}}/cancel", self.cancel_batch),
            ("GET", f"{batches}/{{batch_id}}/files", self.list),
        ]

    async def attach(self, request: Request) -> None:
        """Attach a file to a vector store; attached again, it takes the new attributes and strategy."""
        body = decode_object(await request.body(MAX_BODY_BYTES))
        wanted = shapes.read(body, shapes.AttachFile)
        once = keyed(once_of(body, request.headers, path=f"{PATH}/{_store_id(request)}/files"))
        made = await self._manage.attach(request.principal, _store_id(request), wanted.to_domain(), once)
        await request.answer_json(shapes.store_file_object(made))

    async def list(self, request: Request) -> None:
        """List the files of a vector store, or of one batch (`filter` by status)."""
        status = request.one("filter")
        if status is not None and status not in STATUSES:
            raise InvalidRequest(f"'filter' must be one of {', '.join(STATUSES)}.", param="filter")
        found, more = await self._stored.page(
            request.principal,
            _store_id(request),
            window(request.query),
            status=status,
            batch_id=request.path_params.get("batch_id"),
        )
        shown = [shapes.store_file_object(file) for file in found]
        await request.answer_json(envelope(shown, more=more, ids=[file.file_id for file in found]))

    async def get(self, request: Request) -> None:
        """Return a file of a vector store."""
        found = await self._stored.get(request.principal, _store_id(request), request.path_params["file_id"])
        await request.answer_json(shapes.store_file_object(found))

    async def update(self, request: Request) -> None:
        """Replace the attributes of a file in a vector store."""
        wanted = shapes.read(decode_object(await request.body(MAX_BODY_BYTES)), shapes.UpdateFile)
        file_id = request.path_params["file_id"]
        changed = await self._stored.set_attributes(
            request.principal, _store_id(request), file_id, wanted.attributes or {}
        )
        await request.answer_json(shapes.store_file_object(changed))

    async def detach(self, request: Request) -> None:
        """Take a file out of a vector store; the file stays."""
        file_id = request.path_params["file_id"]
        await self._manage.detach(request.principal, _store_id(request), file_id)
        await request.answer_json(shapes.store_file_deleted(file_id))

    async def content(self, request: Request) -> None:
        """Return a file's text: what the offsets of citations count in."""
        file_id = request.path_params["file_id"]
        await self._stored.get(request.principal, _store_id(request), file_id)
        text = await self._texts.text(request.principal, file_id)
        if text is None:
            raise Conflict(f"The file '{file_id}' has no text, or none yet.", param="file_id", code="file_has_no_text")
        await request.answer_json(shapes.content_page(text))

    async def create_batch(self, request: Request) -> None:
        """Attach several files at once."""
        body = decode_object(await request.body(MAX_BODY_BYTES))
        wanted = shapes.read(body, shapes.CreateBatch)
        batch = FileBatch(self._new_id("vsfb"), _store_id(request), int(self._clock.now()))
        once = once_of(body, request.headers, path=f"{PATH}/{_store_id(request)}/file_batches")
        made = await self._manage.attach_batch(request.principal, batch, shapes.attachments(wanted), once)
        await request.answer_json(shapes.batch_object(made))

    async def batch(self, request: Request) -> None:
        """Return a batch of files."""
        found = await self._stored.batch(request.principal, _store_id(request), request.path_params["batch_id"])
        await request.answer_json(shapes.batch_object(found))

    async def cancel_batch(self, request: Request) -> None:
        """Cancel a batch: its files that are not indexed yet are left out of the vector store's searches."""
        found = await self._stored.cancel_batch(request.principal, _store_id(request), request.path_params["batch_id"])
        await request.answer_json(shapes.batch_object(found))


def _store_id(request: Request) -> str:
    return request.path_params["vector_store_id"]
