"""Which browser origins may call us: one list for CORS and for WebSocket handshakes.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol, RFC 6455 section 10.2.
"""

import re
from collections.abc import Iterable

from chatbackend.infra.web.http import header

_LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")
_EXPOSED = b"x-request-id, x-chatbackend-response-id, retry-after, location"
Headers = Iterable[tuple[bytes, bytes]]


class Origins:
    """The allowed origins: those listed, localhost when none is listed, and always the page's own.

    `listed` holds whole origins (`https://app.example.com`), or `*` for any.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(origin.rstrip("/") for origin in listed)

    def cors_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Return the headers that let this request's page read the answer; none without or for a foreign origin."""
        origin = _one(headers, b"origin")
        if origin is None or not self._allowed(origin, headers):
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"vary", b"origin"),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    def preflight_headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        """Return what a preflight of an allowed origin is answered with."""
        wanted = _one(headers, b"access-control-request-headers") or "authorization, content-type"
        return [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-allow-headers", wanted.encode("latin-1")),
            (b"access-control-max-age", b"600"),
            (b"content-length", b"0"),
        ]

    def socket_allowed(self, headers: Headers) -> bool:
        """Return whether a handshake may go on: programs send no Origin, browsers always do."""
        headers = list(headers)
        origins = [value for name, value in headers if name == b"origin"]
        if not origins:
            return True
        return len(origins) == 1 and self._allowed(origins[0].decode("latin-1"), headers)

    def _allowed(self, origin: str, headers: Headers) -> bool:
        host = _one(headers, b"host")
        if host is not None and origin in (f"http://{host}", f"https://{host}"):
            return True
        if "*" in self._listed or origin in self._listed:
            return True
        return not self._listed and _LOCAL.fullmatch(origin) is not None


def _one(headers: Headers, wanted: bytes) -> str | None:
    value = header(headers, wanted)
    return None if value is None else value.decode("latin-1")
