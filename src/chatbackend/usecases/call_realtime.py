"""Make a call over WebRTC at the first provider of a route that takes it; hang up on it, and join it."""

from collections.abc import Mapping
from typing import Any

from chatbackend.domain.errors import InvalidRequest, NotFound
from chatbackend.domain.realtime import RealtimeCall
from chatbackend.domain.routing import Journey, Step
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.open_realtime import CONNECT_S, OpenedRealtime
from chatbackend.usecases.ports import Deployment
from chatbackend.usecases.realtime_ports import RealtimeCalls
from chatbackend.usecases.travel import travel


class CallRealtime:
    """Calls with models."""

    def __init__(self, ask: AskModel) -> None:
        self._ask = ask

    async def make(self, model: str, offer: str, session: Mapping[str, Any]) -> tuple[RealtimeCall, str]:
        """Return a new call, and the answer to its offer; `session` lacks its model.

        Raises: NotFound, InvalidRequest, UpstreamError (and below).
        """
        route = self._ask.models.route(model)
        for target in route.targets:
            self._taking(target.deployment)
        journey = Journey(route, self._ask.health, self._ask.chance)

        async def dial(step: Step) -> tuple[RealtimeCall, str]:
            deployment, calls = self._taking(step.deployment)
            call_id, answer = await calls.create(offer, {**session, "model": deployment.upstream_name})
            return RealtimeCall(call_id, deployment.name, model), answer

        return await travel(journey, dial, self._ask.now)

    async def hang_up(self, call: RealtimeCall) -> None:
        """End a call. Raises: NotFound, UpstreamError (and below)."""
        await self._calls(call).hang_up(call.id)

    async def join(self, call: RealtimeCall) -> OpenedRealtime:
        """Open a socket beside a call. Raises: NotFound, UpstreamError (and below)."""
        calls = self._calls(call)
        deployment = self._ask.models.find(call.deployment)
        link = await calls.join(call.id, CONNECT_S)
        names = frozenset((call.model, deployment.name, deployment.upstream_name))
        return OpenedRealtime(link, deployment, names, "ga", dict[str, str]().get)

    def _taking(self, name: str) -> tuple[Deployment, RealtimeCalls]:
        """Return a deployment, and its calls. Raises: InvalidRequest for one that takes none."""
        deployment = self._ask.models.find(name)
        calls = deployment.realtime.calls
        if calls is None:
            message = f"'{name}' takes no calls."
            raise InvalidRequest(message, param="session.model", code="unsupported_by_model")
        return deployment, calls

    def _calls(self, call: RealtimeCall) -> RealtimeCalls:
        found = self._ask.models.find(call.deployment).realtime.calls
        if found is None:
            raise NotFound("There is no such call.", param="call_id", code="call_not_found")
        return found
