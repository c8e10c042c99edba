"""One list for CORS and sockets: whole origins, compared whole."""

import pytest

from chatbackend.infra.web.origins import Origins

APP = "https://app.example.com"
FOREIGN = [
    "https://evil.example",
    "null",
    "",
    "https://app.example.com.evil.example",
    "https://evil.example/https://app.example.com",
    "https://evilapp.example.com",
    "https://app.example.com:8443",
    "https://app.example.com:443",
    "http://app.example.com",
    "https://app.example.com/",
    "https://app.example.com@evil.example",
    "https://sub.app.example.com",
    "app.example.com",
    "https://app.example.comé",
]


def headers(origin: str, host: str = "api.example.com") -> list[tuple[bytes, bytes]]:
    return [(b"host", host.encode()), (b"origin", origin.encode("latin-1"))]


def allowed(origins: Origins, origin: str, host: str = "api.example.com") -> bool:
    """Return the verdict, which is one for pages and sockets."""
    given = headers(origin, host)
    cors = dict(origins.cors_headers(given))
    assert cors.get(b"access-control-allow-origin", origin.encode("latin-1")) == origin.encode("latin-1")
    assert origins.socket_allowed(given) == bool(cors)
    return bool(cors)


@pytest.mark.parametrize("origin", FOREIGN)
def test_nothing_but_the_listed_origin_itself_passes(origin: str) -> None:
    assert not allowed(Origins([APP]), origin)


def test_the_listed_and_the_pages_own_origin_pass() -> None:
    origins = Origins([f"{APP}/"])
    assert allowed(origins, APP)
    assert allowed(origins, "https://api.example.com:8000", "api.example.com:8000")
    assert not allowed(origins, "https://api.example.com:8001", "api.example.com:8000")
    assert not allowed(origins, "http://localhost:3000")


def test_this_machine_passes_while_nothing_is_listed() -> None:
    for origin in ("http://localhost", "http://localhost:3000", "https://127.0.0.1:1", "http://[::1]:5173"):
        assert allowed(Origins([]), origin)
    for origin in (
        "http://localhost.evil.example",
        "http://localhost:3000.evil.example",
        "http://127.0.0.1.evil",
        "null",
    ):
        assert not allowed(Origins([]), origin)


def test_any_origin_passes_a_star_and_none_passes_twice() -> None:
    assert allowed(Origins(["*"]), "https://evil.example")
    assert not Origins(["*"]).socket_allowed([*headers(APP), (b"origin", APP.encode())])
    assert Origins([APP]).socket_allowed([(b"host", b"h")])  # a program
