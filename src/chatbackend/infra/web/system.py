"""Routes about the server itself: liveness, readiness, models, the API's description."""

from collections.abc import Callable

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.web.http import Request
from chatbackend.infra.web.routes import Route
from chatbackend.usecases.ports import Deployment, Models


class SystemRoutes:
    """`/livez`, `/readyz`, `/health`, `/v1/models`."""

    def __init__(self, models: Models, ready: Callable[[], bool], *, started_at: int) -> None:
        self._models = models
        self._ready = ready
        self._started_at = started_at

    def public(self) -> list[Route]:
        """Return the routes that need no credential."""
        return [("GET", "/livez", self.livez), ("GET", "/readyz", self.readyz), ("GET", "/health", self.readyz)]

    def routes(self) -> list[Route]:
        """Return the routes for known callers."""
        return [
            ("GET", "/v1/models", self.models),
            ("GET", "/v1/models/{model}", self.model),
            ("GET", "/v1/models/{provider}/{model}", self.model_of),
        ]

    async def livez(self, request: Request) -> None:
        """Say that the process answers."""
        await request.answer_json({"status": "ok"})

    async def readyz(self, request: Request) -> None:
        """Say whether new work is taken: 200, or 503 while starting or stopping."""
        if not self._ready():
            raise Unavailable("Not ready: starting or stopping.", code="not_ready")
        await request.answer_json({"status": "ok"})

    async def models(self, request: Request) -> None:
        """List the models that can be asked."""
        data = [self._shown(deployment) for deployment in self._models.all()]
        await request.answer_json({"object": "list", "data": data})

    async def model(self, request: Request) -> None:
        """Return one model."""
        await request.answer_json(self._shown(self._models.find(request.path_params["model"])))

    async def model_of(self, request: Request) -> None:
        """Return one model by its full name."""
        name = f"{request.path_params['provider']}/{request.path_params['model']}"
        await request.answer_json(self._shown(self._models.find(name)))

    def _shown(self, deployment: Deployment) -> dict[str, object]:
        return {
            "id": deployment.name,
            "object": "model",
            "created": self._started_at,
            "owned_by": deployment.provider,
        }
