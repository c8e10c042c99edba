"""The process's own means: clock, ids, owned tasks, the lock on the data folder."""

import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType

import anyio
import structlog
from anyio.abc import TaskGroup

_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend")
_RANDOM_BYTES = 10
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """`Clock` of this machine."""

    def now(self) -> float:
        """See `Clock.now`."""
        return time.time()


def new_id(prefix: str) -> str:
    """See `NewId`."""
    return _id(prefix, os.urandom(_RANDOM_BYTES))


def _id(prefix: str, random: bytes) -> str:
    """Return an id of the milliseconds since the epoch (48 bits) and 80 random bits.

    Ids of about the same time stand side by side in an index: at random places a row would touch a page of its own in
    each, which was half of what writing a ledger row cost.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{random.hex()}"


class Ids:
    """`new_id` for the hot path: the random bits are taken from the system in bulk. For one thread."""

    def __init__(self) -> None:
        self._pool = b""
        self._at = 0

    def __call__(self, prefix: str) -> str:
        """See `NewId`. Not for secrets: only unguessable enough not to repeat."""
        if self._at >= len(self._pool):
            self._pool, self._at = os.urandom(_RANDOM_BYTES * 512), 0
        self._at += _RANDOM_BYTES
        return _id(prefix, self._pool[self._at - _RANDOM_BYTES : self._at])


def report(message: str, error: BaseException) -> None:
    """See `Report`."""
    _log.error(message, exc_info=error)


class Tasks:
    """`Spawn`: tasks that belong to the process. Leaving the context cancels what still runs and waits for it."""

    def __init__(self) -> None:
        self._group: TaskGroup = anyio.create_task_group()

    def __call__(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """See `Spawn`."""
        self._group.start_soon(self._guarded, work, name=name)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # the edge of an owned task
            report("a task of the process failed", error)

    async def __aenter__(self) -> "Tasks":
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._group.cancel_scope.cancel()
        return await self._group.__aexit__(kind, error, trace)


class AlreadyRunning(Exception):
    """Another server holds the data folder."""


class DataLock:
    """An exclusive lock on a data folder, held until closed or until the process dies: the lease of its owner."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: int | None = None

    def take(self, *, shared: bool = False) -> None:
        """Take the lock; `shared`: together with others who share it. Raises: AlreadyRunning."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise AlreadyRunning(str(self._path.parent)) from error
        self._file = descriptor

    def close(self) -> None:
        """Let go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def boot_id() -> str:
    """Return what changes when the machine starts anew; "" where that is not known (then treated as changed)."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
