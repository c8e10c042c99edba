"""Open a realtime session with a model: at the first provider of its route that takes one."""

from dataclasses import dataclass

from chatbackend.domain.errors import NotFound, UpstreamError
from chatbackend.domain.routing import Journey, Route, Step
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.realtime_ports import RealtimeLink
from chatbackend.usecases.travel import travel

CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class OpenedRealtime:
    """A session at a provider. `names` are those that its model may be called by."""

    link: RealtimeLink
    deployment: Deployment
    names: frozenset[str]


class OpenRealtime:
    """Opens sessions."""

    def __init__(self, ask: AskModel) -> None:
        self._ask = ask

    def talks(self, model: str) -> bool:
        """Whether every deployment behind a public name has a Realtime API. Raises: NotFound."""
        route = self._ask.models.route(model)
        return all(self._ask.models.find(target.deployment).realtime is not None for target in route.targets)

    async def __call__(self, model: str) -> OpenedRealtime:
        """Dial along the route. Raises: NotFound, UpstreamError (and below)."""
        route = self._ask.models.route(model)
        journey = Journey(route, self._ask.health, self._ask.chance)

        async def dial(step: Step) -> OpenedRealtime:
            deployment = self._ask.models.find(step.deployment)
            if deployment.realtime is None:
                raise UpstreamError("This deployment has no Realtime API.")
            link = await deployment.realtime.connect(CONNECT_S)
            return OpenedRealtime(link, deployment, self._names(model, route, deployment))

        return await travel(journey, dial, self._ask.now)

    def _names(self, model: str, route: Route, deployment: Deployment) -> frozenset[str]:
        """Return what the model may be called by, bare names only where they mean this very deployment."""
        known = frozenset((model, route.name, deployment.name))
        try:
            bare = self._ask.models.find(deployment.upstream_name)
        except NotFound:
            return known
        return known | {deployment.upstream_name} if bare is deployment else known
