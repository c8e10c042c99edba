"""`POST /v1/realtime/calls` and `.../hangup`: calls over WebRTC, whose media and events never pass here.

So that they are billed, each is followed by a socket of ours beside it, from its beginning to its end.
"""

from contextlib import ExitStack

from chatbackend.adapters.realtime import calls
from chatbackend.adapters.realtime.handshake import FREE
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import Principal
from chatbackend.domain.limits import PerUser
from chatbackend.domain.realtime import RealtimeCall
from chatbackend.infra.web.call_bills import CallBills
from chatbackend.infra.web.http import Request, header
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.call_realtime import CallRealtime

PATH = "/v1/realtime/calls"


class RealtimeCallRoutes:
    """Makes calls and ends them; `per_user` counts them.

    `key` signs their ids: whoever shares it, before or after a restart, knows them.
    """

    def __init__(self, calling: CallRealtime, bills: CallBills, per_user: PerUser, key: bytes) -> None:
        self._calling = calling
        self._bills = bills
        self._per_user = per_user
        self._key = key

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", PATH, self.create), ("POST", f"{PATH}/{{call_id}}/hangup", self.hang_up)]

    def joined(self, caller: Principal, call_id: str) -> RealtimeCall:
        """Return the call of an id. Raises: NotFound."""
        return calls.opened(call_id, caller, self._key)

    async def create(self, request: Request) -> None:
        """Make a call over WebRTC: an offer of a session in, the provider's answer out."""
        _refuse_key(request)
        calls.refuse_memory(request.query)
        caller = request.principal
        terms = FREE if caller.secret is None else caller.secret.terms
        offer = calls.read(request.headers.get("content-type", ""), await request.body(calls.MAX_BYTES))
        model, session = calls.configured(offer, terms, request.one("model"))
        caller.check_model(model)
        with ExitStack() as stack:
            stack.enter_context(self._per_user.room(caller))
            call, answer = await self._calling.make(model, offer.sdp, session)
            self._bills.follow(caller, call, max_tokens=terms.max_tokens, room=stack.pop_all())
        body, place = answer.encode(), f"{PATH}/{calls.sealed(call, caller, self._key)}"
        headers = {"content-type": calls.SDP, "content-length": str(len(body)), "location": place}
        await request.start(201, [(name.encode(), value.encode("latin-1")) for name, value in headers.items()])
        await request.send({"type": "http.response.body", "body": body})

    async def hang_up(self, request: Request) -> None:
        """End a call of the caller's."""
        _refuse_key(request)
        await self._calling.hang_up(self.joined(request.principal, request.path_params["call_id"]))
        await request.answer_json({})


def _refuse_key(request: Request) -> None:
    if header(request.scope["headers"], b"idempotency-key") is not None:
        message = "Idempotency-Key is not known here: an answer to an offer is good for one connection."
        raise InvalidRequest(message, code="idempotency_unsupported")
