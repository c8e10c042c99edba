"""Take input for a response that runs, and tell what became of it. The successor is made by `succeed_response`."""

from dataclasses import replace

import anyio

from chatbackend.domain.errors import ChatError, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.steering import Steer, over, refuse_many, refuse_unsteerable, unknown
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.ports import Models, NewId, Truth
from chatbackend.usecases.prepare_request import refuse_if_none_takes
from chatbackend.usecases.steer_ports import Steers


class SteerResponse:
    """Accepts steering: once it returns, the server owns the input, durably where the response is stored."""

    def __init__(self, truth: Truth, steers: Steers, models: Models, *, live: Live, new_id: NewId) -> None:
        self._truth = truth
        self._steers = steers
        self._models = models
        self._live = live
        self._new_id = new_id

    async def __call__(self, principal: Principal, response_id: str, items: list[Item], *, given: bytes) -> Steer:
        """Return the accepted steering; `given` is the input as it came, `items` what it says.

        Raises: NotFound, Conflict, InvalidRequest, RateLimited, each with the API's code; Unavailable.
        """
        if self._live.closed:
            raise Unavailable("The server is stopping.", code="stopping")
        entry = self._live.running(response_id)
        if entry is None or _owner(entry.response.principal) != _owner(principal):
            raise await self._too_late(principal, response_id)
        response = entry.response
        refuse_unsteerable(response, entry.ask)
        targets = self._models.route(response.model).targets
        asked = replace(entry.ask, items=items)
        refuse_if_none_takes(asked, [self._models.find(target.deployment) for target in targets])
        steer = Steer(self._new_id("steer"), response_id, items, given, response.stream_id)
        entry.steered = True  # before the commit: who ends the response then looks for it
        if response.store:
            await self._steers.add(principal, steer)
        else:
            _remember(entry, steer)
        entry.steer()
        return steer

    async def _too_late(self, principal: Principal, response_id: str) -> ChatError:
        entry = self._live.unstored(principal, response_id)
        found = entry.response if entry is not None else await self._truth.get(principal, response_id)
        return over(found) if found is not None and found.ended else unknown(response_id)


class SteeringFate:
    """Tells what became of the steering of a response. `patience_s`: how long a start may take to see to it."""

    def __init__(self, steers: Steers, live: Live, *, patience_s: float = 20.0) -> None:
        self._steers = steers
        self._live = live
        self._patience_s = patience_s

    async def __call__(self, principal: Principal, response_id: str, entry: Entry | None) -> list[Steer]:
        """Return the steering of a response that has ended, in its order; [] where there was none.

        `entry` is what this process knows of the response, None where another one ran it. What is still `queued`
        waits for the next start.
        """
        if entry is not None:
            if not entry.steered:
                return []
            await entry.done.wait()
            if not entry.response.store:
                return entry.steers
        steers = await self._steers.of(principal, response_id)
        if entry is None and any(steer.state == "queued" for steer in steers):
            with anyio.move_on_after(self._patience_s):
                await self._live.recovered.wait()
            steers = await self._steers.of(principal, response_id)
        return steers


def _owner(principal: Principal) -> tuple[str, str]:
    return principal.tenant, principal.owner


def _remember(entry: Entry, steer: Steer) -> None:
    """Keep the steering of an unstored response. Raises: Conflict, RateLimited."""
    if entry.over:
        raise over(entry.response)
    refuse_many(len(entry.steers) + 1, sum(len(each.given) for each in [*entry.steers, steer]))
    entry.steers.append(steer)
