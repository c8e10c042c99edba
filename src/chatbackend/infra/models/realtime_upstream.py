"""Realtime sessions at a provider: one WebSocket each, dialled without compression, proxies or redirects.

Source: RFC 6455; a redirect would carry the key to an address that nobody has configured.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

import anyio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from chatbackend.adapters.providers.provider_errors import fault_of, http_error
from chatbackend.adapters.realtime.upstreams import RealtimeAddress
from chatbackend.domain.errors import ChatError, UpstreamError, UpstreamTimeout
from chatbackend.domain.realtime import Dialect, Ended
from chatbackend.infra.delivery import undelivered
from chatbackend.infra.models.credentials import Credential

MAX_FRAME_BYTES = 22 << 20
UNSENT_BYTES = 8 << 20  # that may wait to be taken by a provider; one frame more may lie on top
MAX_FRAMES = 4  # read ahead, while nobody takes them
LOOK_S = 0.2
CLOSE_S = 1.0  # for a provider's answer to our close frame
UNACKNOWLEDGED_MS = 12_000
MAX_ERROR_BYTES = 64 << 10
_SHORTEST_SECRET = 8


class _Dial(connect):
    """`connect` that follows no redirect."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Give every redirect back as what it is: no answer."""
        return exc


class RealtimeUpstream:
    """`RealtimeModel` at one address; `tls` gives what its certificate is checked by."""

    def __init__(self, address: RealtimeAddress, credential: Credential, tls: Callable[[], ssl.SSLContext]) -> None:
        self.dialect: Final[Dialect] = address.dialect
        self._url = address.url
        self._credential = credential
        self._tls = tls

    async def connect(self, timeout_s: float) -> "RealtimeSocket":
        """See `RealtimeModel.connect`."""
        proof = await self._credential()
        try:
            connection = await _Dial(
                self._url,
                additional_headers=proof,
                user_agent_header=None,
                compression=None,
                proxy=None,
                ssl=self._tls() if self._url.startswith("wss:") else None,
                open_timeout=timeout_s,
                close_timeout=CLOSE_S,
                ping_interval=None,  # asked by who knows whether an answer could have been read
                max_size=MAX_FRAME_BYTES,
                max_queue=(MAX_FRAMES, 1),
                write_limit=(UNSENT_BYTES, UNSENT_BYTES // 2),
            )
        except (InvalidHandshake, InvalidURI, OSError, TimeoutError, EOFError) as error:
            raise translate(error) from error
        return RealtimeSocket(connection, [value.removeprefix("Bearer ") for value in proof.values()])


class RealtimeSocket:
    """`RealtimeLink` over a WebSocket."""

    def __init__(self, connection: ClientConnection, secrets: Sequence[str]) -> None:
        self.secrets = [secret for secret in secrets if len(secret) >= _SHORTEST_SECRET]
        self._connection = connection
        _give_up_on_the_gone(connection.transport)

    @property
    def ended(self) -> Ended:
        """See `RealtimeLink.ended`."""
        return Ended(self._connection.close_code or 1006, self._connection.close_reason or "")

    async def frames(self) -> AsyncIterator[str | bytes]:
        """See `RealtimeLink.frames`."""
        receive = self._connection.recv
        while True:
            try:
                yield await receive()
            except ConnectionClosed:
                return

    async def send(self, frame: str | bytes) -> None:
        """See `RealtimeLink.send`."""
        connection = self._connection
        if isinstance(frame, str) and connection.state is State.OPEN and not connection.paused:
            connection.protocol.send_text(frame.encode())  # as `send` does, without its context manager's share
            connection.send_data()
            if connection.paused:
                with suppress(OSError):  # a reset, which `frames` and `ended` tell
                    await connection.drain()
            return
        with suppress(ConnectionClosed, OSError):
            await connection.send(frame)

    async def alive(self) -> None:
        """See `RealtimeLink.alive`."""
        with suppress(ConnectionClosed):
            before = undelivered(self._connection.transport)
            answered = asyncio.ensure_future(await self._connection.ping())
            while not answered.done():  # it lies behind all that was not taken yet: taking that is life, too
                await asyncio.wait((answered,), timeout=LOOK_S)
                if before not in (None, undelivered(self._connection.transport)):
                    return
            await answered

    async def close(self, ended: Ended) -> None:
        """See `RealtimeLink.close`."""
        with anyio.move_on_after(2 * CLOSE_S, shield=True):
            await self._connection.close(ended.code, ended.reason)
        self._connection.transport.abort()  # what was not taken by now never will be


def translate(error: Exception) -> ChatError:
    """Return the domain's error for a session that could not be opened."""
    match error:
        case InvalidStatus(response=response):
            headers = {name.lower(): value for name, value in response.headers.raw_items()}
            return http_error(response.status_code, headers, fault_of(bytes(response.body or b"")[:MAX_ERROR_BYTES]))
        case TimeoutError():
            return UpstreamTimeout("The provider did not answer in time.")
        case OSError():
            return UpstreamError("The provider cannot be reached.")
        case _:
            return UpstreamError("The provider answered with no WebSocket.")


def _give_up_on_the_gone(transport: asyncio.BaseTransport) -> None:
    """Have the kernel cut a connection whose peer acknowledges nothing."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)
