"""`WS /v1/realtime`, `/translations` below it, and Azure's paths: the handshake, and who serves what comes after it.

A model with a Realtime API of its own is relayed to; any other is talked to in text, by a bridge.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from chatbackend.adapters.realtime import calls, handshake
from chatbackend.adapters.realtime.handshake import Handshake
from chatbackend.domain.errors import Forbidden, InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.limits import PerUser
from chatbackend.domain.realtime import RealtimeCall
from chatbackend.infra.web.beta_front import spoken_in_ga
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.open_realtime import OpenRealtime
from chatbackend.usecases.ports import NewId
from chatbackend.usecases.record_ports import ConversationRecords

PATH = "/v1/realtime"
TRANSLATIONS = f"{PATH}/translations"
FindCall = Callable[[Principal, str], RealtimeCall]  # raises NotFound
Serve = Callable[[Request, Handshake], Awaitable[None]]  # an accepted socket, to its end


class RealtimeRoutes:
    """Makes a session of every handshake; `per_user` bounds how many sockets one user has.

    `relay` serves models with a Realtime API, `bridge` all others, in GA alone; without one they are refused.
    `transcriber` is the model of sessions for transcription whose client names none. `find_call` knows calls by their
    ids.
    """

    def __init__(
        self,
        opening: OpenRealtime,
        relay: Serve,
        per_user: PerUser,
        records: ConversationRecords,
        *,
        new_id: NewId,
        bridge: Serve | None = None,
        transcriber: str | None = None,
        find_call: FindCall,
    ) -> None:
        self._opening = opening
        self._relay = relay
        self._per_user = per_user
        self._records = records
        self._new_id = new_id
        self._bridge = bridge
        self._transcriber = transcriber
        self._find_call = find_call

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("WEBSOCKET", PATH, self.connect), ("WEBSOCKET", TRANSLATIONS, self.translate)]

    async def connect(self, request: Request) -> None:
        """Talk to a model in realtime.

        Raises, before it is accepted: InvalidRequest, Forbidden, NotFound, RateLimited.
        """
        wanted = self._wanted(request)
        request.principal.check_model(wanted.model)
        if wanted.conversation is not None:
            await self._records.check(request.principal, wanted.conversation)
        serve = self._server_of(request, wanted)
        with self._per_user.room(request.principal):
            headers = [(b"x-request-id", request.request_id.encode())]
            await request.send(
                {"type": "websocket.accept", "subprotocol": wanted.subprotocol, "headers": headers},
            )
            await serve()

    async def translate(self, request: Request) -> None:
        """Have what is said in one language said in another, live.

        Raises, before it is accepted: InvalidRequest, Forbidden, NotFound, RateLimited.
        """
        await self.connect(request)

    def _wanted(self, request: Request) -> Handshake:
        """Return what a handshake asks for. Raises: InvalidRequest, Forbidden, NotFound."""
        offered = request.scope.get("subprotocols", ())
        beta = request.headers.get("openai-beta")
        secret, call_id = request.principal.secret, calls.call_id(request.query)
        if call_id is None:
            return handshake.read(
                request.scope["path"],
                request.query,
                offered=offered,
                beta=beta,
                terms=handshake.FREE if secret is None else secret.terms,
                transcriber=self._transcriber,
            )
        if secret is not None:
            raise Forbidden("A client secret joins no call; use an API key, from your own server.")
        return handshake.beside(self._find_call(request.principal, call_id), offered=offered, beta=beta)

    def _server_of(self, request: Request, wanted: Handshake) -> Callable[[], Awaitable[None]]:
        """Return what serves the socket once it is accepted. Raises: NotFound, InvalidRequest."""
        if wanted.call is not None or self._opening.takes(wanted.model, wanted.kind):
            return partial(self._relay, request, wanted)
        if self._bridge is None or wanted.kind != "realtime" or self._answers_nobody(wanted.model):
            message = f"'{wanted.model}' has no sessions of the type '{wanted.kind}'."
            raise InvalidRequest(message, param="model", code="unsupported_by_model")
        front = request if wanted.dialect == "ga" else spoken_in_ga(request, self._new_id)
        return partial(self._bridge, front, wanted)

    def _answers_nobody(self, model: str) -> bool:
        """Whether a model only writes down or translates, so that it cannot be talked to in text, either."""
        return self._opening.takes(model, "transcription") or self._opening.takes(model, "translation")
