"""`POST /v1/embeddings`: passed on to the provider, or made by the built-in embedder; one ledger row each."""

from chatbackend.adapters.api import embeddings
from chatbackend.adapters.wire.chat_relay import renamed
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.usage import CHARACTERS_PER_TOKEN
from chatbackend.infra.web.http import ATTEMPTS, DEPLOYMENT, Request
from chatbackend.infra.web.routes import Route
from chatbackend.infra.web.streams import Watch
from chatbackend.usecases.ports import Models
from chatbackend.usecases.relay_chat import ChatRequest, RelayChat


class EmbeddingRoutes:
    """The Embeddings front."""

    def __init__(self, models: Models, relay: RelayChat, *, max_body_bytes: int) -> None:
        self._models = models
        self._relay = relay
        self._max_body_bytes = max_body_bytes

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [("POST", "/v1/embeddings", self.create)]

    async def create(self, request: Request) -> None:
        """Turn texts into vectors."""
        body = await request.body(self._max_body_bytes)
        name = embeddings.asked(body).model
        route = self._models.route(name)
        if not self._relay.takes(route):
            message = f"The model '{route.name}' makes no embeddings."
            raise InvalidRequest(message, param="model", code="unsupported_by_model")
        passed_on = ChatRequest(
            lambda upstream_name: body if upstream_name == name else renamed(body, upstream_name),
            lambda: embeddings.EmbeddingAccount(len(body)),
            stream=False,
            input_tokens=len(body) // CHARACTERS_PER_TOKEN,
        )
        with Watch(request):
            relayed, attempts = await self._relay(request.principal, route, passed_on)
        request.answered |= {DEPLOYMENT: relayed.call.model, ATTEMPTS: str(attempts)}
        await request.answer(200, relayed.body)
