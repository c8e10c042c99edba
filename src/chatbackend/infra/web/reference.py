"""Routes that describe the API: `/docs`, `/openapi.json`, `/asyncapi.json`, `/llms.txt`; made at the first request."""

from collections.abc import Callable, Iterable
from functools import cached_property

from chatbackend.adapters.api import asyncapi, llms, openapi, reference_page
from chatbackend.adapters.api.openapi import Described
from chatbackend.infra.web.http import Request, encode
from chatbackend.infra.web.routes import Route


class ReferenceRoutes:
    """The API's description, made from the routes that it is given and from its own."""

    def __init__(self, routes: Iterable[Route], public: Iterable[Route], *, version: str) -> None:
        self._routes = tuple(routes)
        self._public = (*public, *self.public())
        self._version = version

    def public(self) -> list[Route]:
        """Return the routes."""
        return [
            ("GET", "/docs", self.docs),
            ("GET", "/openapi.json", self.openapi),
            ("GET", "/asyncapi.json", self.asyncapi),
            ("GET", "/llms.txt", self.llms),
        ]

    async def docs(self, request: Request) -> None:
        """Show the API's reference, for people."""
        policy = (b"content-security-policy", reference_page.POLICY.encode())
        await _send(request, self._page, b"text/html; charset=utf-8", policy)

    async def openapi(self, request: Request) -> None:
        """Return the OpenAPI document of all HTTP routes."""
        await _send(request, encode(self._http), b"application/json")

    async def asyncapi(self, request: Request) -> None:
        """Return the AsyncAPI document of the WebSocket."""
        await _send(request, encode(self._sockets), b"application/json")

    async def llms(self, request: Request) -> None:
        """Return a short description for language models."""
        await _send(request, llms.text(self._described).encode(), b"text/plain; charset=utf-8")

    @cached_property
    def _described(self) -> list[Described]:
        known = [_described(route, public=False) for route in self._routes]
        return known + [_described(route, public=True) for route in self._public]

    @cached_property
    def _http(self) -> dict[str, object]:
        return openapi.document(self._described, version=self._version)

    @cached_property
    def _sockets(self) -> dict[str, object]:
        return asyncapi.document(version=self._version)

    @cached_property
    def _page(self) -> bytes:
        return reference_page.page(self._http, self._sockets).encode()


def _described(route: Route, *, public: bool) -> Described:
    method, path, handler = route
    return Described(method, path, _summary(handler), public)


def _summary(handler: Callable[..., object]) -> str:
    return (handler.__doc__ or "").strip().split("\n")[0]


async def _send(request: Request, body: bytes, media: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", media), (b"content-length", str(len(body)).encode())]
    await request.start(
        200, [*headers, (b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff"), *more]
    )
    await request.send({"type": "http.response.body", "body": body})
