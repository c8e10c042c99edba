"""One parser child as the parent sees it: started clean, spoken to over pipes, killed and reaped whatever happens."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Final, Self

import anyio
from anyio.abc import Process

from chatbackend.infra.parsing import frames

_REAP_S: Final = 5.0


class ChildEnded(Exception):
    """The child ended, or broke the protocol, before it had answered; `status` is negative for a signal."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"parser child ended with status {status}")
        self.status = status


class ChildProcess:
    """A child that waits for work. The kernel ends it when this process dies; `end` does so before.

    It stays in the server's process group, so that whoever kills the group has killed everything, and starts no process
    of its own. The pipes are read here, by so many bytes as are wanted: a stream of the loop would buffer ahead.
    """

    def __init__(self, process: Process, to_child: int, from_child: int) -> None:
        self._process = process
        self._to_child = to_child
        self._from_child = from_child
        self._handle = _handle(process.pid)

    @classmethod
    async def start(cls) -> Self:
        """Start a child.

        Raises:
            OSError: the system has no process or descriptor for it.
        """
        in_child, to_child = os.pipe()
        from_child, out_child = os.pipe()
        try:
            # Of our environment it gets not a word (it holds keys) but where our modules are.
            process = await anyio.open_process(
                [sys.executable, "-P", "-s", "-X", "utf8", "-m", "chatbackend.infra.parsing.child", str(os.getpid())],
                stdin=in_child,
                stdout=out_child,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except BaseException:
            os.close(to_child)
            os.close(from_child)
            raise
        finally:
            os.close(in_child)
            os.close(out_child)
        os.set_blocking(to_child, False)
        os.set_blocking(from_child, False)
        return cls(process, to_child, from_child)

    async def give(self, work: bytes) -> None:
        """Hand over the work and wait until the child has confined itself and begun.

        Raises:
            ChildEnded: it has not begun; the work may be given to another child.
        """
        view = memoryview(work)
        while view:
            await anyio.wait_writable(self._to_child)
            try:
                view = view[os.write(self._to_child, view) :]
            except BlockingIOError:  # room for one byte is not room for a whole atomic write
                continue
            except BrokenPipeError as error:
                raise ChildEnded(await self._status()) from error
        if bytes(await self.frame(len(frames.STARTED))) != frames.STARTED:
            raise ChildEnded(await self._status())

    async def frame(self, most_bytes: int) -> bytearray:
        """Read the next frame.

        Raises:
            ChildEnded: there is none, or it is larger than `most_bytes`.
        """
        (size,) = frames.LENGTH.unpack(await self._read(frames.LENGTH.size))
        if size > most_bytes:
            raise ChildEnded(None)
        return await self._read(size)

    async def end(self) -> None:
        """Kill the child if it still runs and reap it; never cancelled, never longer than a few seconds."""
        self._kill()
        os.close(self._to_child)
        os.close(self._from_child)
        with anyio.move_on_after(_REAP_S, shield=True):
            await self._process.wait()

    def _kill(self) -> None:
        # Not `Process.kill`: it looks whether the child has ended, and would take its status from the loop that waits
        # for it. A handle, unlike the id, never means another process.
        if sys.platform == "linux" and self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            os.close(self._handle)
        elif self._process.returncode is None:
            self._process.kill()

    async def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            await anyio.wait_readable(self._from_child)
            count = os.readv(self._from_child, [view])
            if not count:
                raise ChildEnded(await self._status())
            view = view[count:]
        return data

    async def _status(self) -> int | None:
        """Return how the child ended; one that lives but has closed its pipe has no status."""
        with anyio.move_on_after(_REAP_S):
            return await self._process.wait()
        return None


def _handle(pid: int) -> int | None:
    """Return a descriptor of the process, where there is such a thing; None when it has ended and was reaped."""
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            return os.pidfd_open(pid)
    return None
