"""The process's WebSockets to providers: bounded, reused, and found again by what their providers remember."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

from chatbackend.adapters.providers.responses.turn import Context, Memory
from chatbackend.infra.models.upstream_socket import Address, UpstreamSocket

MOST = 256
MOST_BYTES = 64 << 20  # of contexts that are remembered
IDLE_S = 300.0
AGE_S = 55 * 60.0  # OpenAI ends a connection after an hour, in the middle of an answer
PING_S = 20.0  # between two pings of an idle socket; who has not answered by the next one is gone
TRUSTED_S = 5.0  # a socket that was heard of this recently is not asked whether it is there
REFUSED_S = 600.0  # for which a server that speaks no WebSocket is not asked again


class SocketPool:
    """Sockets of a process to every upstream. Use with `async with`; leaving it closes all of them.

    A socket serves one turn at a time, of its own address only. At `most` in all, the one that was idle longest makes
    room; where all are at work there is none to be had.
    """

    def __init__(
        self,
        tls: Callable[[], ssl.SSLContext],
        *,
        most: int = MOST,
        most_bytes: int = MOST_BYTES,
        idle_s: float = IDLE_S,
        age_s: float = AGE_S,
        ping_s: float = PING_S,
        trusted_s: float = TRUSTED_S,
        refused_s: float = REFUSED_S,
    ) -> None:
        self._tls = tls
        self._most = most
        self._most_bytes = most_bytes
        self._idle_s = idle_s
        self._age_s = age_s
        self._ping_s = ping_s
        self._trusted_s = trusted_s
        self._refused_s = refused_s
        self._open: set[UpstreamSocket] = set()
        self._idle: dict[UpstreamSocket, float] = {}  # and since when; who was put back last is last
        self._refused: dict[str, float] = {}  # places that speak no WebSocket, and until when that is believed
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for socket in self._open:
            socket.leave()
        self._open.clear()
        self._idle.clear()

    async def take(self, to: Address, context: Context | None, wait_s: float) -> UpstreamSocket | None:
        """Return a socket; its `memory` is of this context, or None. None: ask in another way.

        Give it back with `release` or `discard`. Raises: TimeoutError, OSError, Garbled, RefusedUpgrade.
        """
        now = asyncio.get_running_loop().time()
        if self._refused.get(to.place, 0.0) > now:
            return None
        socket = self._chosen(to, context, now)
        if socket is not None:
            del self._idle[socket]
            if await self._is_there(socket, wait_s):
                if socket.memory is None or socket.memory.context != context:
                    socket.memory = None
                return socket
            self.discard(socket)  # others may be gone alike, and nobody waits for each of them
        return await self._dial(to, wait_s) if self._has_room() else None

    def release(self, socket: UpstreamSocket, memory: Memory | None) -> None:
        """Take a socket back whose answer was read to its end; `memory` is what its provider remembers now."""
        loop = asyncio.get_running_loop()
        socket.memory = memory
        self._idle[socket] = loop.time()
        self._forget()
        if self._timer is None:
            self._timer = loop.call_later(self._ping_s, self._sweep, loop)

    def _forget(self) -> None:
        """Give up the memories that were made longest ago, where all of them are too much to hold."""
        held = sum(socket.memory.size for socket in self._idle if socket.memory is not None)
        for socket in self._idle:
            if held <= self._most_bytes:
                return
            if socket.memory is not None:
                held -= socket.memory.size
                socket.memory = None

    def discard(self, socket: UpstreamSocket) -> None:
        """Hang up on a socket, whatever is on its way."""
        self._open.discard(socket)
        self._idle.pop(socket, None)
        socket.close()

    def refuse(self, to: Address) -> None:
        """Ask nobody there for a WebSocket for a while."""
        self._refused[to.place] = asyncio.get_running_loop().time() + self._refused_s

    def _chosen(self, to: Address, context: Context | None, now: float) -> UpstreamSocket | None:
        """Return the idle socket that remembers the context, else one that nobody is expected to come back to."""
        free: UpstreamSocket | None = None
        for socket in self._idle:
            if socket.to is not to or not socket.is_quiet or socket.opened_at + self._age_s < now:
                continue
            memory = socket.memory
            if memory is not None and memory.context == context:
                return socket
            if free is None and (memory is None or not memory.awaited):
                free = socket
        return free

    async def _is_there(self, socket: UpstreamSocket, wait_s: float) -> bool:
        if socket.heard + self._trusted_s > asyncio.get_running_loop().time():
            return True
        try:
            return await socket.answers(wait_s)
        except BaseException:
            self.discard(socket)
            raise

    def _has_room(self) -> bool:
        """Whether another socket may be opened, for which the one that was idle longest is closed if need be."""
        if len(self._open) >= self._most and self._idle:
            self.discard(next(iter(self._idle)))
        return len(self._open) < self._most

    async def _dial(self, to: Address, wait_s: float) -> UpstreamSocket:
        socket = UpstreamSocket(to)
        self._open.add(socket)  # before it is: those on their way count
        try:
            async with asyncio.timeout(wait_s):
                await socket.open(self._tls)
        except BaseException:
            self.discard(socket)
            raise
        return socket

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what is idle for too long, too old or gone; ping the others, so that nobody between us forgets them."""
        now = loop.time()
        for socket, since in list(self._idle.items()):
            if not socket.ponged or not socket.is_quiet:
                self.discard(socket)
            elif since + self._idle_s < now or socket.opened_at + self._age_s < now:
                self._open.discard(socket)
                del self._idle[socket]
                socket.leave()
            else:
                socket.ping()
        self._timer = loop.call_later(self._ping_s, self._sweep, loop) if self._idle else None
