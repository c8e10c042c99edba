"""Open a realtime session with a model: at the first provider of its route that takes one."""

from dataclasses import dataclass
from functools import partial

from chatbackend.domain.errors import NotFound, UpstreamError
from chatbackend.domain.realtime import Dialect, SessionKind
from chatbackend.domain.routing import Journey, Route, Step
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.realtime_ports import FindTranscriber, RealtimeLink
from chatbackend.usecases.travel import travel

CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class OpenedRealtime:
    """A session at a provider. `names` are those that its model may be called by."""

    link: RealtimeLink
    deployment: Deployment
    names: frozenset[str]
    dialect: Dialect
    transcriber: FindTranscriber


class OpenRealtime:
    """Opens sessions."""

    def __init__(self, ask: AskModel) -> None:
        self._ask = ask

    def takes(self, model: str, kind: SessionKind = "realtime") -> bool:
        """Whether every deployment behind a public name has such sessions. Raises: NotFound."""
        route = self._ask.models.route(model)
        return all(kind in self._ask.models.find(target.deployment).realtime.sessions for target in route.targets)

    async def __call__(self, model: str, kind: SessionKind = "realtime") -> OpenedRealtime:
        """Dial along the route. Raises: NotFound, UpstreamError (and below)."""
        route = self._ask.models.route(model)
        journey = Journey(route, self._ask.health, self._ask.chance)

        async def dial(step: Step) -> OpenedRealtime:
            deployment = self._ask.models.find(step.deployment)
            if kind not in deployment.realtime.sessions:
                raise UpstreamError("This deployment has no such sessions.")
            upstream = deployment.realtime.sessions[kind]
            link = await upstream.connect(CONNECT_S)
            names = self._names(model, route, deployment)
            transcriber = partial(self._transcriber, deployment, names)
            return OpenedRealtime(link, deployment, names, upstream.dialect, transcriber)

        return await travel(journey, dial, self._ask.now)

    def _names(self, model: str, route: Route, deployment: Deployment) -> frozenset[str]:
        """Return what the model may be called by, bare names only where they mean this very deployment."""
        known = frozenset((model, route.name, deployment.name))
        try:
            bare = self._ask.models.find(deployment.upstream_name)
        except NotFound:
            return known
        return known | {deployment.upstream_name} if bare is deployment else known

    def _transcriber(self, opened: Deployment, names: frozenset[str], name: str) -> str | None:
        """See `FindTranscriber`: a bare name is the provider's own, whoever else has one of that name."""
        if name in names and "transcription" in opened.realtime.sessions:
            return opened.upstream_name
        for known in (f"{opened.provider}/{name}", name) if "/" not in name else (name,):
            try:
                route = self._ask.models.route(known)
            except NotFound:
                continue
            for target in route.targets:
                found = self._ask.models.find(target.deployment)
                if found.provider == opened.provider and "transcription" in found.realtime.sessions:
                    return found.upstream_name
        return None
