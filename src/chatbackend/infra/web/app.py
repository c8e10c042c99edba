"""The ASGI application: match, resolve the caller, run the handler, render what went wrong, log one line."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio
import structlog

from chatbackend.adapters import errors as wire_errors
from chatbackend.domain.errors import ChatError, Forbidden, Internal, NotAllowed, NotFound, Unauthenticated, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.infra.metrics import Metrics
from chatbackend.infra.telemetry import AccessLog
from chatbackend.infra.web.auth import Resolver, refuse_credential_in_url
from chatbackend.infra.web.client_secrets import FOR_BROWSERS
from chatbackend.infra.web.draining import Draining
from chatbackend.infra.web.http import Disconnected, Message, Receive, Request, Scope, Send, encode
from chatbackend.infra.web.key_watch import KeyWatch
from chatbackend.infra.web.origins import Origins
from chatbackend.infra.web.routes import Handler, Route, Router

EVENTS = b"text/event-stream"
_NOBODY = Principal("", "", "", "")
_log: structlog.stdlib.BoundLogger = structlog.get_logger("chatbackend.web")


@dataclass
class _Answer:
    """What was sent, for the log line and to know whether an error can still be shown."""

    send: Send
    metrics: Metrics
    status: int = 0
    streamed: bool = False
    cors: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if message["headers"][0][1].startswith(EVENTS):
                self.streamed = True
                self.metrics.streams_open += 1
            if self.cors:
                message["headers"] = [*message["headers"], *self.cors]
        await self.send(message)

    def end(self) -> None:
        """Note that nothing more is sent."""
        if self.streamed:
            self.metrics.streams_open -= 1


class WebApp:
    """Plain ASGI. `public` routes need no credential; every other path is closed without one.

    `aliases` are further paths of `routes`, which no description repeats.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        public: Iterable[Route],
        *,
        aliases: Iterable[Route] = (),
        resolver: Resolver,
        watch: KeyWatch,
        origins: Origins,
        draining: Draining | None = None,
        new_request_id: Callable[[], str],
        access_log: AccessLog | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.routes, public = list(routes), list(public)
        self._router = Router([*self.routes, *aliases])
        self._public = Router(public)
        self.routes += public
        self._resolver = resolver
        self._watch = watch
        self._origins = origins
        self._draining = draining or Draining()
        self._new_request_id = new_request_id
        self._access_log = access_log
        self._metrics = metrics or Metrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or WebSocket."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        answer = _Answer(send, self._metrics, cors=self._origins.cors_headers(scope["headers"]))
        request = Request(scope, receive, answer, {}, _NOBODY, self._new_request_id())
        pattern = ""
        try:
            if scope["method"] == "OPTIONS" and answer.cors:
                await request.start(204, self._origins.preflight_headers(scope["headers"]))
                await answer({"type": "http.response.body", "body": b""})
            else:
                pattern, handler = await self._resolve(request, scope["method"])
                await self._handle(request, answer, handler)
        except Disconnected:
            pass
        except anyio.get_cancelled_exc_class():  # only the end of the server's grace does that
            if answer.status:
                raise
            await _show(request, answer, Unavailable("The server is stopping.", code="stopping"))
        except ChatError as error:
            await _show(request, answer, error)
        except Exception as error:  # the edge of a request: logged whole, shown without detail
            _log.error("request failed", request_id=request.request_id, route=pattern, exc_info=error)
            await _show(request, answer, Internal("The server failed on this request; the log has the cause."))
        finally:
            answer.end()
        seconds, status = time.perf_counter() - began, answer.status or 499
        self._metrics.answered(scope["method"], pattern, status, seconds)
        if self._access_log is not None:
            self._access_log(
                method=scope["method"],
                route=pattern or None,
                status=status,
                ms=round(seconds * 1000, 2),
                request_id=request.request_id,
                key=request.principal.key_id or None,
            )

    async def _handle(self, request: Request, answer: _Answer, handler: Handler) -> None:
        """Run a handler; what it does for a client secret ends when that does. Raises: ChatError."""
        if request.principal.secret is None:
            return await handler(request)
        with anyio.CancelScope() as scope, self._watch.watching(request.principal, lambda _: scope.cancel()):
            return await handler(request)
        if not answer.streamed:
            raise Unauthenticated("This client secret has ended.", code="client_secret_expired")
        return await answer({"type": "http.response.body", "body": b""})  # coming back is refused

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse before the upgrade, or hand the socket to its handler."""
        # uvicorn leaves the names of a handshake's headers as they came.
        scope["headers"] = [(name.lower(), value) for name, value in scope["headers"]]
        request = Request(scope, receive, send, {}, _NOBODY, self._new_request_id())
        await receive()  # websocket.connect
        try:
            if not self._origins.socket_allowed(scope["headers"]):
                raise Forbidden("This origin is not allowed; see CHATBACKEND_ALLOWED_ORIGINS.")
            _, handler = await self._resolve(request, "WEBSOCKET")
            self._metrics.sockets_open += 1
            try:
                await handler(request)
            finally:
                self._metrics.sockets_open -= 1
        except ChatError as error:  # a handler raises it only before it accepts
            await _refuse_upgrade(scope, send, request, error)
        except Exception as error:  # the edge of a socket
            _log.error("socket failed", request_id=request.request_id, exc_info=error)

    async def _resolve(self, request: Request, method: str) -> tuple[str, Callable[[Request], Any]]:
        """Find the route, then who calls. Unknown paths are told apart only for callers who are known."""
        path = request.scope["path"]
        found = self._public.match(method, path)
        if not isinstance(found, frozenset):
            request.path_params = found[2]
            return found[0], found[1]
        refuse_credential_in_url(request.scope["query_string"])
        request.principal = await self._resolver(request.scope["headers"], request.scope.get("subprotocols", ()))
        found = found or self._router.match(method, path)
        if isinstance(found, frozenset):
            raise _no_route(request.scope.get("method", method), path, found)
        if request.principal.secret is not None and (method, found[0]) not in FOR_BROWSERS:
            raise Forbidden("A client secret is not for this; use an API key, from your own server.")
        if self._draining.begun:
            self._draining.refuse(method, found[0])
        request.path_params = found[2]
        return found[0], found[1]


def _no_route(method: str, path: str, allowed: frozenset[str]) -> ChatError:
    known = sorted(allowed - {"WEBSOCKET"})
    if known:
        return NotAllowed(f"{method} is not allowed on {path}; it takes {', '.join(known)}.", allowed=tuple(known))
    return NotFound(f"Unknown path: {method} {path}.", code="unknown_url")


async def _show(request: Request, answer: _Answer, error: ChatError) -> None:
    """Show an error, unless the answer has begun: then the stream just ends."""
    if answer.status == 0:
        await request.answer_error(error)


async def _refuse_upgrade(scope: Scope, send: Send, request: Request, error: ChatError) -> None:
    """Answer a handshake with a status and JSON instead of the upgrade."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    status = wire_errors.mapped(error).status
    extra = [(name.encode(), value.encode()) for name, value in wire_errors.headers(error).items()]
    headers = [(b"content-type", b"application/json"), (b"x-request-id", request.request_id.encode()), *extra]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    body = encode(wire_errors.envelope(error))
    await send({"type": "websocket.http.response.body", "body": body})
    _log.info("handshake refused", status=status, request_id=request.request_id)
