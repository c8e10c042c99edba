"""uvicorn, told how we want it; signals are ours.

uvicorn by itself closes every socket at once on SIGTERM; here running responses end first.
"""

import gc
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn

from chatbackend.infra.web.certificate import Certificate
from chatbackend.infra.web.deadlines import Deadlines, GuardedProtocol, bounded
from chatbackend.infra.web.http import ASGIApp
from chatbackend.infra.web.lingering import LingeringWebSocket

try:
    import resource
except ImportError:  # Windows bounds no process so
    resource = None

KEEP_ALIVE_S = 75  # longer than a gateway's idle upstream connections (Kong: 60 s)
GRACE_S = 1  # for connections that are still open when everything has ended
GO_S = 1.5  # for sockets to close by themselves
LOOK_S = 0.02
OWN_FILES = 256  # open files that are left to databases, uploads and providers
_CLOSE = (b"connection", b"close")
GC_ALLOCATIONS = 10_000  # more made than dropped, between two rounds of the garbage collector
UNACKNOWLEDGED_MS = 12_000  # a peer that acknowledges nothing for this long is gone

Drain = Callable[[Callable[[], bool]], Awaitable[None]]


class _Server(uvicorn.Server):
    """Leaves signals alone and says when it listens."""

    listening: Callable[[], None] | None = None

    @property
    def sockets(self) -> int:
        """How many WebSockets are open."""
        return sum(isinstance(each, LingeringWebSocket) for each in self.server_state.connections)

    @property
    def answering(self) -> bool:
        """Whether a request is being answered; sockets are none."""
        return len(self.server_state.tasks) > self.sockets

    def let_go(self) -> None:
        """Close idle connections, and every other one behind its answer; sockets stay."""
        self.config.encoded_headers.append(_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in list(self.server_state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.shutdown()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Do nothing: `serve` below watches the signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets=sockets)
        if self.listening is not None and self.started:
            self.listening()


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises: OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # inherited by every accepted connection
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
    listener.bind((host, port))
    listener.listen(4096)
    return listener


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    max_frame_bytes: int,
    max_connections: int,
    ping_s: float,
    certificate: Certificate | None = None,
    listening: Callable[[], None],
    drain: Drain,
) -> None:
    """Serve until SIGTERM or SIGINT; then `drain`, close what is left and return. A second signal cuts it short.

    `drain` is given a function that says whether requests are being answered. `ping_s`: how often sockets are asked
    for a sign of life, and how long they may take for it. With a `certificate` there is nothing but TLS.
    """
    config = uvicorn.Config(
        app,
        http=bounded(_openable(max_connections)),
        ws=LingeringWebSocket,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who may say X-Forwarded-* is decided with the gateway, not by default
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        ws_max_size=max_frame_bytes,
        ws_ping_interval=ping_s,
        ws_ping_timeout=ping_s,
        ws_per_message_deflate=False,
        ssl_context_factory=None if certificate is None else lambda _config, _default: certificate.context,
    )
    server = _Server(config)
    server.listening = listening
    settle_down()
    async with anyio.create_task_group() as group, _stop_on_signal(server, drain) as watch:
        group.start_soon(watch)
        if certificate is not None:
            group.start_soon(certificate.keep_fresh)
        group.start_soon(Deadlines(server.server_state.connections).run)
        await server.serve(sockets=[listener])
        group.cancel_scope.cancel()


def _openable(max_connections: int) -> int:
    """Let this process open as many files as it may, and return how many of them may be connections."""
    if resource is None:
        return max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return max_connections
    return min(max_connections, max(hard - OWN_FILES, hard // 2))


def settle_down() -> None:
    """Take what the start has made out of the garbage collector's rounds, and let it come round less often.

    By default it looks at everything again and again, since requests make and drop many small objects; few are cyclic.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 20)


@asynccontextmanager
async def _stop_on_signal(
    server: _Server, drain: Drain
) -> AsyncGenerator[Callable[[], Coroutine[Any, Any, None]], None]:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

        async def watch() -> None:
            async with anyio.create_task_group() as group:
                stopping = False
                async for _ in signals:
                    if stopping:
                        server.force_exit = server.should_exit = True
                        return
                    stopping = True
                    group.start_soon(stop)

        async def stop() -> None:
            server.let_go()
            await drain(lambda: server.answering)
            with anyio.move_on_after(GO_S):
                while server.sockets:  # noqa: ASYNC110 - uvicorn has no event for it
                    await anyio.sleep(LOOK_S)
            server.should_exit = True

        yield watch
