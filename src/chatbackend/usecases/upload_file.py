"""Upload a file: checked and hashed while it streams in, kept only once it is whole; nothing is left of a refusal.

Where nobody can tell whether it was committed its content stays, for the next start to judge.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

import anyio

from chatbackend.domain.errors import ChatError, InvalidRequest, TooLarge, Unavailable, Unprocessable
from chatbackend.domain.files import FileRejected, Format
from chatbackend.domain.identity import Principal
from chatbackend.domain.uploads import File, UploadPurpose
from chatbackend.usecases.file_ports import Blobs, BlobWriter, FileChecks, Files, Jobs, SizeCheck, StoredBlob
from chatbackend.usecases.ports import Clock, NewId, Once


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The largest files taken, in bytes, and the longest file name, in characters."""

    max_file_bytes: int = 512 * 1024 * 1024
    max_image_bytes: int = 20 * 1024 * 1024
    max_filename_chars: int = 255

    def max_bytes(self, known: Format) -> int:
        """Return the limit for files of a format."""
        return min(self.max_image_bytes, self.max_file_bytes) if known.purpose == "vision" else self.max_file_bytes


def refused(error: FileRejected) -> ChatError:
    """Return what the owner of a refused upload is told."""
    match error.code:
        case "file_too_large":
            return TooLarge(error.message, param="file", code=error.code)
        case "unsupported_file":
            return InvalidRequest(error.message, param="file", code=error.code)
        case _:
            return Unprocessable(error.message, param="file", code=error.code)


class _Accepted:
    """A file whose first bytes were accepted: the rest is counted, its end remembered, all of it kept."""

    def __init__(self, known: Format, size: SizeCheck, writer: BlobWriter, checks: FileChecks) -> None:
        self.known = known
        self.writer = writer
        self._size = size
        self._checks = checks
        self._tail = bytearray()

    async def take(self, data: bytes) -> None:
        with _refusals():
            self._size.feed(len(data))
        self._tail += data
        if len(self._tail) > 4 * self._checks.tail_bytes:  # cut now and then, not at every piece
            del self._tail[: -self._checks.tail_bytes]
        await self.writer.write(data)

    def end(self) -> None:
        with _refusals():
            self._size.close()
            self._checks.tail(self.known, bytes(self._tail[-self._checks.tail_bytes :]))


class Draft:
    """A file that is coming in. Nothing reaches the disk before its first bytes are accepted."""

    def __init__(
        self, blobs: Blobs, checks: FileChecks, limits: UploadLimits, *, filename: str, declared: str | None
    ) -> None:
        self.filename = filename
        self._declared = declared
        self._blobs = blobs
        self._checks = checks
        self._limits = limits
        self._head = bytearray()
        self._accepted: _Accepted | None = None

    async def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises: InvalidRequest and below when the file is refused, Unavailable."""
        if self._accepted is not None:
            return await self._accepted.take(data)
        self._head += data
        if len(self._head) >= self._checks.head_bytes:
            await self._accept()
        return None

    async def commit(self) -> tuple[StoredBlob, Format]:
        """Check the file as a whole and keep it. Raises: as `feed`."""
        accepted = self._accepted or await self._accept()
        accepted.end()
        return await accepted.writer.commit(), accepted.known

    async def discard(self) -> None:
        """Forget the content, unless it was committed."""
        if self._accepted is not None:
            await self._accepted.writer.discard()

    async def _accept(self) -> _Accepted:
        """Decide on the first bytes what the file is, and begin to keep it."""
        head = bytes(self._head)
        with _refusals():
            known = self._checks.head(self.filename, self._declared, head[: self._checks.head_bytes])
            size = self._checks.size(self._limits.max_bytes(known))
        self._accepted = _Accepted(known, size, await self._blobs.create(), self._checks)
        await self._accepted.take(head)
        return self._accepted


class UploadFile:
    """Takes files in: `begin`, feed the draft, `finish`."""

    def __init__(
        self,
        files: Files,
        blobs: Blobs,
        jobs: Jobs,
        *,
        checks: FileChecks,
        limits: UploadLimits,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._jobs = jobs
        self._checks = checks
        self._limits = limits
        self._clock = clock
        self._new_id = new_id

    @asynccontextmanager
    async def begin(self, filename: str, declared: str | None) -> AsyncGenerator[Draft, None]:
        """Begin a file; what was not finished when this is left is forgotten. Raises: InvalidRequest (its name)."""
        if not 1 <= len(filename) <= self._limits.max_filename_chars:
            message = f"A file name has 1 to {self._limits.max_filename_chars} characters."
            raise InvalidRequest(message, param="file")
        draft = Draft(self._blobs, self._checks, self._limits, filename=filename, declared=declared)
        try:
            yield draft
        finally:
            await draft.discard()

    async def finish(
        self,
        draft: Draft,
        principal: Principal,
        *,
        purpose: UploadPurpose,
        expires_after_s: int | None,
        once: Callable[[StoredBlob], Once | None],
    ) -> File:
        """Acknowledge a file: once this returns it is committed with its job. `once` is asked when the hash is known.

        Returns the file that this very request had made before, if it had.
        Raises: InvalidRequest and below when the file is refused, Unavailable, Conflict `idempotent_result_gone`.
        """
        with anyio.CancelScope(shield=True):
            blob, known = await draft.commit()
            file = self._file(principal, draft.filename, blob, known)
            file = replace(
                file,
                purpose=purpose,
                expires_at=None if expires_after_s is None else file.created_at + expires_after_s,
            )
            try:
                kept = await self._files.add(principal, file, once(blob))
            except Unavailable:  # it may be committed all the same: what nothing names is swept at the next start
                raise
            except ChatError:
                await self._blobs.delete(blob.key)
                raise
            if kept.id != file.id:
                await self._blobs.delete(blob.key)
            self._jobs.wake()
            return kept
        raise AssertionError("a shielded scope swallows nothing")  # pragma: no cover

    def _file(self, principal: Principal, filename: str, blob: StoredBlob, known: Format) -> File:
        searchable = known.purpose == "text"
        return File(
            id=self._new_id("file"),
            tenant=principal.tenant,
            owner=principal.owner,
            filename=filename,
            purpose="user_data",
            bytes=blob.bytes,
            sha256=blob.sha256,
            media_type=known.media_types[0],
            format=known.name,
            searchable=searchable,
            blob_key=blob.key,
            created_at=int(self._clock.now()),
            stage="queued" if searchable else "ready",
            percent=0 if searchable else 100,
        )


@contextmanager
def _refusals() -> Generator[None, None, None]:
    try:
        yield
    except FileRejected as error:
        raise refused(error) from error
