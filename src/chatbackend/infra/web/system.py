"""Routes about the server itself: liveness, readiness, models, the API's description."""

from collections.abc import Callable

from chatbackend.adapters.api import models as shapes
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
            ("GET", "/v1/models/{provider}/{model}", self.model),
            ("GET", "/v1/models/{provider}/{owner}/{model}", self.model),  # as models of Hugging Face are named
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
        """List the models that can be asked, routes and aliases first."""
        found = [shapes.Listed(name, shapes.ROUTED, self._started_at) for name in self._models.names()]
        found += [self._listed(deployment) for deployment in self._models.all()]
        if request.anthropic:
            return await request.answer_json(shapes.anthropic_page(found, request.query))
        return await request.answer_json(shapes.openai_list(found))

    async def model(self, request: Request) -> None:
        """Return one model; its name may have slashes in it, plain or as `%2F`."""
        name = "/".join(request.path_params.values())
        if name in self._models.names():
            found = shapes.Listed(name, shapes.ROUTED, self._started_at)
        else:
            found = self._listed(self._models.find(name))
        shown = shapes.anthropic_model(found) if request.anthropic else shapes.openai_model(found)
        await request.answer_json(shown)

    def _listed(self, deployment: Deployment) -> shapes.Listed:
        return shapes.Listed(deployment.name, deployment.provider, self._started_at)
