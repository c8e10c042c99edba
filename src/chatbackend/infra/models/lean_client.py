"""A lean HTTP client for one job, relaying: POST bytes, hand the bytes of the answer on, keep connections alive.

No redirects, cookies, proxies, retries or decompression; a general client's cost is what this one leaves out.
Source: RFC 9112.
"""

import asyncio
import base64
import re
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.lean_connection import LeanConnection

IDLE_S = 15.0
TRUSTED_S = 0.5  # a connection used this recently is not asked whether its peer has hung up; no server gives up so soon
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PATH_SAFE = "/%:@!$&'()*+,;=~"


class Unreachable(OSError):
    """No connection could be made."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post to, and the head of every request but its length (the key is in it, so never logged)."""

    host: str
    port: int
    tls: bool
    head: bytes = field(repr=False)

    @property
    def origin(self) -> tuple[str, int, bool]:
        """What connections are shared by."""
        return self.host, self.port, self.tls


def target(url: str, headers: Mapping[str, str], method: str = "POST") -> Target:
    """Return where a URL points. Raises: ValueError for what is no URL or no header."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) address")
    tls = parts.scheme == "https"
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    path = quote(parts.path or "/", safe=_PATH_SAFE) + (
        f"?{quote(parts.query, safe=_PATH_SAFE + '?')}" * bool(parts.query)
    )
    shown = f"[{host}]" if ":" in host else host
    fields = {
        "host": shown if parts.port is None else f"{shown}:{parts.port}",
        "accept-encoding": "identity",
        **headers,
    }
    if parts.username and not any(name.lower() == "authorization" for name in headers):
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        fields["authorization"] = f"Basic {base64.b64encode(secret).decode()}"
    lines = [f"{method} {path} HTTP/1.1", *(_line(name, value) for name, value in fields.items()), "content-length: "]
    return Target(host, parts.port or (443 if tls else 80), tls, "\r\n".join(lines).encode())


def _line(name: str, value: str) -> str:
    if not _NAME.fullmatch(name) or _UNSAFE.search(value):
        raise ValueError(f"not a header: {name!r}")
    return f"{name}: {value}"


class LeanClient:
    """Connections of a process to every upstream. Use with `async with`; leaving it hangs up on all of them."""

    def __init__(self, *, idle_s: float = IDLE_S, trusted_s: float = TRUSTED_S) -> None:
        self._idle_s = idle_s
        self._trusted_s = trusted_s
        self._idle: dict[tuple[str, int, bool], deque[tuple[float, LeanConnection]]] = {}
        self._busy: set[LeanConnection] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in [*self._busy, *(one for pool in self._idle.values() for _, one in pool)]:
            connection.close()
        self._idle.clear()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """How servers are checked: by name, against the system's authorities."""
        return ssl.create_default_context()

    async def post(self, to: Target, body: bytes, timeouts: Timeouts, *, whole: bool) -> LeanConnection:
        """Send, and return the connection once the head of an answer is there; give it back with `release`.

        Never sent twice: a connection that dies under a request may have carried it to the provider.
        Raises: TimeoutError, OSError (Unreachable before anything was sent), Garbled.
        """
        loop = asyncio.get_running_loop()
        connection = self._take(to, loop.time()) or await self._connect(loop, to, timeouts.connect_s)
        self._busy.add(connection)
        try:
            connection.send(
                b"%b%d\r\n\r\n" % (to.head, len(body)),
                body,
                first_byte_s=timeouts.first_byte_s,
                between_s=timeouts.between_s,
                whole=whole,
            )
            await connection.head()
        except BaseException:
            self._busy.discard(connection)
            connection.close()
            raise
        return connection

    def release(self, to: Target, connection: LeanConnection) -> None:
        """Take a connection back: to use it again where its answer was read to the end, else to close it."""
        self._busy.discard(connection)
        if connection.release():
            self._idle.setdefault(to.origin, deque()).append((connection.heard, connection))
            if self._sweep_timer is None:
                loop = asyncio.get_running_loop()
                self._sweep_timer = loop.call_later(self._idle_s, self._sweep, loop)

    def _take(self, to: Target, now: float) -> LeanConnection | None:
        """Return the connection used last, if one is still good."""
        pool = self._idle.get(to.origin)
        while pool:
            since, connection = pool.pop()
            if since > now - self._idle_s and connection.ready(ask=since <= now - self._trusted_s):
                return connection
            connection.close()
        return None

    async def _connect(self, loop: asyncio.AbstractEventLoop, to: Target, wait_s: float) -> LeanConnection:
        connection = LeanConnection(loop)
        try:
            async with asyncio.timeout(wait_s):
                try:
                    await loop.create_connection(lambda: connection, to.host, to.port, ssl=self.tls if to.tls else None)
                except OSError as error:
                    raise Unreachable(str(error)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close what has been idle for too long."""
        oldest = loop.time() - self._idle_s
        for pool in self._idle.values():
            while pool and pool[0][0] <= oldest:
                pool.popleft()[1].close()
        left = any(self._idle.values())
        self._sweep_timer = loop.call_later(self._idle_s, self._sweep, loop) if left else None
