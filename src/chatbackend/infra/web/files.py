"""HTTP routes of the Files API: an upload streams to disk as it comes, everything else is a read or a use case."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace

import anyio

from chatbackend.adapters.api import files as shapes
from chatbackend.adapters.api.listing import envelope, window
from chatbackend.adapters.wire.multipart import (
    Field,
    FileData,
    FileStart,
    MultipartError,
    MultipartLimits,
    MultipartReader,
    MultipartTooLarge,
    Part,
)
from chatbackend.domain.errors import InvalidRequest, TooLarge
from chatbackend.domain.uploads import File
from chatbackend.infra.db.files import StoredFiles
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Disconnected, Request, encode
from chatbackend.infra.web.responses import once_of
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import send_events
from chatbackend.usecases.delete_file import DeleteFile, file_not_found
from chatbackend.usecases.file_ports import Blobs, Changes, StoredBlob
from chatbackend.usecases.ports import LogEvent, Once
from chatbackend.usecases.upload_file import Draft, UploadFile

PATH = "/v1/files"
IDLE_S = 15.0  # the longest silence in the middle of a body
SIGN_OF_LIFE_S = 10.0
LIST_MAX = 10_000


@dataclass(slots=True)
class _Form:
    """What came of an upload so far."""

    fields: dict[str, str] = field(default_factory=dict[str, str])
    draft: Draft | None = None
    declared: str | None = None


class FileRoutes:
    """`/v1/files` and below."""

    def __init__(
        self,
        upload: UploadFile,
        delete: DeleteFile,
        *,
        stored: StoredFiles,
        blobs: Blobs,
        changes: Changes,
        draining: Draining,
        max_file_bytes: int,
    ) -> None:
        self._upload = upload
        self._delete = delete
        self._stored = stored
        self._blobs = blobs
        self._changes = changes
        self._draining = draining
        self._limits = MultipartLimits(total_bytes=max_file_bytes + 2**20)

    def routes(self) -> list[Route]:
        """Return the routes."""
        one = f"{PATH}/{{file_id}}"
        return [
            ("POST", PATH, self.create),
            ("GET", PATH, self.list),
            ("GET", one, self.get),
            ("DELETE", one, self.delete),
            ("GET", f"{one}/content", self.content),
            ("GET", f"{one}/events", self.events),
        ]

    async def create(self, request: Request) -> None:
        """Upload a file (multipart: file, purpose, expires_after)."""
        async with AsyncExitStack() as stack:
            form = _Form()
            parts = await stack.enter_async_context(aclosing(self._parts(request)))
            async for part in parts:
                await self._take(form, part, stack)
            if form.draft is None:
                raise InvalidRequest("Missing required parameter: 'file'.", param="file")
            file = await self._upload.finish(
                form.draft,
                request.principal,
                purpose=shapes.read_purpose(form.fields.get("purpose")),
                expires_after_s=shapes.read_expiry(form.fields),
                once=lambda blob: _once(request, form, blob),
            )
        await request.answer_json(shapes.file_object(file))

    async def list(self, request: Request) -> None:
        """List the caller's files."""
        wanted = window(request.query, max_limit=LIST_MAX)
        if request.one("limit") is None:
            wanted = replace(wanted, limit=LIST_MAX)
        found, more = await self._stored.page(request.principal, wanted, request.one("purpose"))
        shown = [shapes.file_object(file) for file in found]
        await request.answer_json(envelope(shown, more=more, ids=[file.id for file in found]))

    async def get(self, request: Request) -> None:
        """Return a file: its state, how far it is, why it failed."""
        await request.answer_json(shapes.file_object(await self._get(request)))

    async def delete(self, request: Request) -> None:
        """Delete a file for good, from every vector store too."""
        file_id = request.path_params["file_id"]
        await self._delete(request.principal, file_id)
        await request.answer_json(shapes.deleted_object(file_id))

    async def content(self, request: Request) -> None:
        """Download a file as it was uploaded."""
        file = await self._get(request)
        async with aclosing(self._blobs.read(file.blob_key)) as pieces:
            first = await anext(pieces, b"")  # before the answer begins: the content may be gone
            await request.start(200, shapes.content_headers(file))
            await request.send({"type": "http.response.body", "body": first, "more_body": True})
            async for piece in pieces:
                await request.send({"type": "http.response.body", "body": piece, "more_body": True})
        await request.send({"type": "http.response.body", "body": b""})

    async def events(self, request: Request) -> None:
        """Follow a file as server-sent events until it is ready, has failed or is deleted."""
        await self._get(request)
        with anyio.CancelScope() as scope, self._draining.telling(scope.cancel):
            await send_events(request, self._follow(request))
        if scope.cancelled_caught:
            await request.send({"type": "http.response.body", "body": b""})

    async def _follow(self, request: Request) -> AsyncGenerator[Sequence[LogEvent], None]:
        """Yield the file whenever it has changed; numbers count what this connection was sent."""
        file_id, shown, number = request.path_params["file_id"], b"", 0
        while True:
            moved = self._changes.event(file_id)
            file = await self._stored.get(request.principal, file_id)
            now = encode(shapes.deleted_object(file_id) if file is None else shapes.file_object(file))
            if now != shown:
                yield [LogEvent(number, "chatbackend.file", now)]
                shown, number = now, number + 1
            if file is None or file.ended:
                return
            with anyio.move_on_after(SIGN_OF_LIFE_S) as scope:
                await moved.wait()
            if scope.cancelled_caught:
                yield ()

    async def _get(self, request: Request) -> File:
        file_id = request.path_params["file_id"]
        file = await self._stored.get(request.principal, file_id)
        if file is None:
            raise file_not_found(file_id)
        return file

    async def _parts(self, request: Request) -> AsyncGenerator[Part, None]:
        """Yield the parts of the body as they come, never more in memory than one piece of it."""
        if int(request.headers.get("content-length") or 0) > self._limits.total_bytes:
            raise TooLarge(f"The body is larger than {self._limits.total_bytes} bytes.", param="file")
        try:
            reader = MultipartReader(request.headers.get("content-type", ""), self._limits)
            more = True
            while more:
                body, more = await _piece(request)
                for part in reader.feed(body):
                    yield part
            reader.close()
        except MultipartTooLarge as error:
            raise TooLarge(error.message) from error
        except MultipartError as error:
            raise InvalidRequest(error.message, code="invalid_multipart") from error

    async def _take(self, form: _Form, part: Part, stack: AsyncExitStack) -> None:
        match part:
            case Field(name, value):
                form.fields[name] = value
                if name == "purpose":
                    shapes.read_purpose(value)  # a wrong one is refused before the file has come
            case FileStart(name, filename, declared):
                if name != "file" or form.draft is not None:
                    raise InvalidRequest("An upload has one file, in the part 'file'.", param="file")
                form.draft = await stack.enter_async_context(self._upload.begin(filename, declared))
                form.declared = declared
            case FileData(data) if form.draft is not None:
                await form.draft.feed(data)
            case _:
                pass


async def _piece(request: Request) -> tuple[bytes, bool]:
    """Return the next piece of the body, and whether there is more. Raises: InvalidRequest, Disconnected."""
    try:
        with anyio.fail_after(IDLE_S):
            message = await request.receive()
    except TimeoutError as error:
        raise InvalidRequest("The body stopped coming.", code="request_timeout") from error
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _once(request: Request, form: _Form, blob: StoredBlob) -> Once:
    """Recognise an upload by its decoded parts: a boundary is made anew at every try."""
    filename = form.draft.filename if form.draft else ""
    parts = {"fields": form.fields, "filename": filename, "type": form.declared, "sha256": blob.sha256}
    return once_of(parts, request.headers, path=PATH)
