"""Stop a response from any connection: the upstream is closed, the partial answer kept, what was used is billed."""

import anyio

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import CANCELLED, Response
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Truth

SAVE_DEADLINE_S = 10.0


def response_not_found(response_id: str) -> NotFound:
    """Return the error for a response that this caller does not have."""
    return NotFound(f"Response with id '{response_id}' not found.", param="response_id", code="response_not_found")


class CancelResponse:
    """Cancels what runs; a response that has ended is returned as it is."""

    def __init__(self, truth: Truth, live: Live) -> None:
        self._truth = truth
        self._live = live

    async def __call__(self, principal: Principal, response_id: str) -> Response:
        """Return the response once it is terminal. Raises: NotFound, Unavailable when the end was not saved in time."""
        entry = self._live.unstored(principal, response_id)
        if entry is None:
            if await self._truth.get(principal, response_id) is None:
                raise response_not_found(response_id)
            entry = self._live.running(response_id)
        if entry is not None:
            entry.stop(CANCELLED)
            with anyio.move_on_after(SAVE_DEADLINE_S) as scope:
                await entry.done.wait()
            if scope.cancelled_caught:
                raise Unavailable("The response was stopped, but its end is not saved yet.")
            return entry.response
        found = await self._truth.get(principal, response_id)
        if found is None:
            raise response_not_found(response_id)
        return found
