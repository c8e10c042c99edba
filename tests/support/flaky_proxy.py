"""A TCP proxy that counts what passes, and loses replies or keeps requests back when told to."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute, SocketStream


class FlakyProxy:
    """Stands before a server at `host:port` of a URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 6379
        self._local_port = 0
        self.sent = 0  # segments from clients
        self.swallowed = 0
        self.swallow: Callable[[bytes], bool] = lambda _: False  # asked of each request: is its reply to be lost?
        self.hold: Callable[[bytes], bool] = lambda _: False  # asked of each request: is it to wait for `released`?
        self.released = anyio.Event()

    @property
    def url(self) -> str:
        """Its own address."""
        return f"redis://127.0.0.1:{self._local_port}/0"

    def swallow_next(self, word: bytes) -> None:
        """Lose the reply to the next request that holds `word`."""
        before = self.swallowed
        self.swallow = lambda request: word in request and self.swallowed == before

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Take connections while entered."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self._local_port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._serve)
            yield
            group.cancel_scope.cancel()

    async def _serve(self, client: SocketStream) -> None:
        async with client, await anyio.connect_tcp(self._host, self._port) as server:
            doomed = anyio.Event()

            async def forth() -> None:
                async for chunk in client:
                    self.sent += 1
                    if self.swallow(chunk):
                        doomed.set()
                    if self.hold(chunk):
                        await self.released.wait()
                    await server.send(chunk)

            async def back() -> None:
                async for chunk in server:
                    if doomed.is_set():
                        self.swallowed += 1
                        return
                    await client.send(chunk)

            async with anyio.create_task_group() as group:

                async def ending(way: Callable[[], Awaitable[None]]) -> None:
                    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                        await way()
                    group.cancel_scope.cancel()

                group.start_soon(ending, forth)
                group.start_soon(ending, back)
