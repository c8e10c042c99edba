"""`Blobs` in a local folder: written beside, made durable, then renamed into place; nothing blocks the event loop.

A key is made by the server and checked before it becomes a path; file names of users never come near a disk.
"""

import hashlib
import os
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import anyio
import anyio.to_thread

from chatbackend.domain.errors import Internal, NotFound, Unavailable
from chatbackend.usecases.file_ports import StoredBlob
from chatbackend.usecases.ports import NewId

T = TypeVar("T")
PIECE_BYTES = 256 * 1024  # what is written, hashed or read in one visit to a thread
THREADS = 8
LEFT_BEHIND_S = 24 * 3600.0
_KEY = re.compile(r"blob_[0-9a-f]{8,64}")


class _Threads:
    """Runs blocking work on a few threads of its own, so that slow disks hold up nothing else."""

    def __init__(self) -> None:
        self._limiter: anyio.CapacityLimiter | None = None

    async def __call__(self, work: Callable[[], T]) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(THREADS)
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


class LocalBlobs:
    """Blobs under `folder`; use `open` once before anything else, on the event loop.

    `shared`: other processes write to it, too; then only what is older than a day is taken for left behind.
    """

    def __init__(self, folder: Path, new_id: NewId, *, shared: bool = False) -> None:
        self._folder = folder
        self._shared = shared
        self._unfinished = folder / "unfinished"
        self._new_id = new_id
        self._run = _Threads()

    async def open(self) -> None:
        """Make the folder and drop what dead processes left unfinished; all earlier ones are, unless it is shared."""
        await self._run(self._clear)

    async def create(self) -> "LocalBlobWriter":
        """See `Blobs.create`."""
        key = self._new_id("blob")
        path = self._path(key)
        with anyio.CancelScope(shield=True):  # an open file must reach its owner
            try:
                file = await self._run(lambda: (self._unfinished / key).open("xb", buffering=0))
            except OSError as error:
                raise _unavailable() from error
            return LocalBlobWriter(file, self._unfinished / key, path, self._run)
        raise AssertionError("a shielded scope swallows nothing")

    @asynccontextmanager
    async def as_file(self, key: str) -> AsyncGenerator[Path, None]:
        """See `Blobs.as_file`."""
        path = self._path(key)
        if not await self._run(path.is_file):
            raise _missing()
        yield path

    async def read(self, key: str) -> AsyncGenerator[bytes, None]:
        """See `Blobs.read`."""
        try:
            file = await self._run(lambda: self._path(key).open("rb", buffering=0))
        except FileNotFoundError as error:
            raise _missing() from error
        try:
            while piece := await self._run(lambda: file.read(PIECE_BYTES)):
                yield piece
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        """See `Blobs.delete`."""
        await self._run(lambda: self._path(key).unlink(missing_ok=True))

    async def keys(self) -> list[str]:
        """See `Blobs.keys`."""
        return await self._run(lambda: [path.name for path in self._folder.glob("??/blob_*") if self._old(path)])

    def _clear(self) -> None:
        self._unfinished.mkdir(parents=True, mode=0o700, exist_ok=True)
        for path in self._unfinished.iterdir():
            if self._old(path):
                path.unlink(missing_ok=True)

    def _old(self, path: Path) -> bool:
        """Return whether nobody who lives can be about to finish this, or to name it."""
        try:
            return not self._shared or path.stat().st_mtime < time.time() - LEFT_BEHIND_S
        except FileNotFoundError:  # finished or deleted by another process just now
            return False

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise Internal("A blob has an impossible key.")
        return self._folder / key[-2:] / key


class LocalBlobWriter:
    """`BlobWriter` into a file that nobody sees yet; small pieces are gathered before a thread is visited."""

    def __init__(self, file: BinaryIO, unfinished: Path, path: Path, run: _Threads) -> None:
        self._file = file
        self._unfinished = unfinished
        self._path = path
        self._run = run
        self._waiting = bytearray()
        self._digest = hashlib.sha256()
        self._bytes = 0

    async def write(self, data: bytes) -> None:
        """See `BlobWriter.write`."""
        self._waiting += data
        if len(self._waiting) >= PIECE_BYTES:
            await self._flush()

    async def commit(self) -> StoredBlob:
        """See `BlobWriter.commit`."""
        await self._flush()
        try:
            await self._run(self._finish)
        except OSError as error:
            raise _unavailable() from error
        return StoredBlob(self._path.name, self._bytes, self._digest.hexdigest())

    async def discard(self) -> None:
        """See `BlobWriter.discard`."""
        with anyio.CancelScope(shield=True):
            await self._run(self._drop)

    async def _flush(self) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        try:
            await self._run(partial(self._write, waiting))
        except OSError as error:
            raise _unavailable() from error

    def _write(self, data: bytearray) -> None:
        self._digest.update(data)
        self._bytes += len(data)
        with memoryview(data) as view:
            written = 0
            while written < len(view):
                written += os.write(self._file.fileno(), view[written:])

    def _finish(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._unfinished.rename(self._path)
        for folder in (self._path.parent, self._path.parent.parent):
            _sync_folder(folder)

    def _drop(self) -> None:
        self._file.close()
        with suppress(OSError):
            self._unfinished.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable() -> Unavailable:
    return Unavailable("The file cannot be stored now.", code="storage_unavailable")


def _missing() -> NotFound:
    return NotFound("The file's content is gone.", param="file_id", code="file_not_found")
