"""`POST /v1/chat/completions`: bytes in, bytes out, beside one ledger row."""

from chatbackend.adapters import errors as wire_errors
from chatbackend.adapters.wire import chat_relay
from chatbackend.domain.errors import UpstreamError
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN
from chatbackend.infra.web.chat_front import ChatFront
from chatbackend.infra.web.http import Request, encode
from chatbackend.infra.web.relayed import send_relayed
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import Watch
from chatbackend.usecases.ports import Models
from chatbackend.usecases.relay_chat import ChatRequest, RelayChat


class ChatRoutes:
    """The Chat Completions front: requests to providers of the same dialect are relayed, `front` answers any other."""

    def __init__(self, models: Models, relay: RelayChat, front: ChatFront, *, max_body_bytes: int) -> None:
        self._models = models
        self._relay = relay
        self._front = front
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", "/v1/chat/completions", self.complete)]

    async def complete(self, request: Request) -> None:
        """Answer a chat; the bytes of a provider that speaks the dialect are passed on as they are."""
        body = await request.body(self._max_body_bytes)
        asked = chat_relay.asked(body)
        streamed = asked.stream is True
        route = self._models.route(asked.model)
        if not self._relay.takes(route):
            return await self._front.complete(request, body)
        passed_on = ChatRequest(
            lambda name: body if name == asked.model else chat_relay.renamed(body, name),
            lambda: chat_relay.Account(len(body), streamed=streamed),
            stream=streamed,
            input_tokens=len(body) // CHARACTERS_PER_TOKEN,
        )
        with Watch(request):
            relayed, attempts = await self._relay(request.principal, route, passed_on)
            await send_relayed(request, relayed, attempts, stream=streamed, told=_told)
        return None


def _told(error: UpstreamError) -> bytes:
    return chat_relay.error_event(encode(wire_errors.envelope(error)))
