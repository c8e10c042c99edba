"""Stop a response from any connection: the upstream is closed, the partial answer kept, what was used is billed."""

import anyio

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import CANCELLED, Response
from chatbackend.usecases.cancel_elsewhere import CancelElsewhere
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.ports import Truth


def response_not_found(response_id: str) -> NotFound:
    """Return the error for a response that this caller does not have."""
    return NotFound(f"Response with id '{response_id}' not found.", param="response_id", code="response_not_found")


async def ended_response(truth: Truth, principal: Principal, entry: Entry) -> Response:
    """Return the response that this process has worked on: what it says is told only once it is committed.

    Raises: NotFound when it was deleted meanwhile, Unavailable while its end is not saved.
    """
    if entry.saved:
        return entry.response
    if entry.response.store:
        found = await truth.get(principal, entry.response.id)
        if found is None:
            raise response_not_found(entry.response.id)
        if found.ended:
            return found
    raise Unavailable("The response has ended, but its end is not saved yet; it will be when the store takes it.")


class CancelResponse:
    """Cancels what runs; a response that has ended is returned as it is. `patience_s`: how long an end may take.

    `elsewhere` stops what other processes run; without it there are none.
    """

    def __init__(
        self, truth: Truth, live: Live, *, elsewhere: CancelElsewhere | None = None, patience_s: float = 10.0
    ) -> None:
        self._truth = truth
        self._live = live
        self._elsewhere = elsewhere
        self._patience_s = patience_s

    async def __call__(self, principal: Principal, response_id: str) -> Response:
        """Return the response once it is terminal. Raises: NotFound, Unavailable when the end was not saved in time."""
        found = await self._look(principal, response_id)
        if found is None and self._elsewhere is not None:
            return await self._ended_elsewhere(self._elsewhere, principal, response_id)
        if found is None:  # not taken over since the start, or it ended between the two looks
            with anyio.move_on_after(self._patience_s):
                await self._live.recovered.wait()
            found = await self._look(principal, response_id)
        if found is None:
            raise Unavailable("The response is not taken over yet; ask again.")
        return await self._stopped(principal, found) if isinstance(found, Entry) else found

    async def _look(self, principal: Principal, response_id: str) -> Entry | Response | None:
        """Return what runs here, or the response that has ended; None where neither is so. Raises: NotFound."""
        entry = self._live.unstored(principal, response_id)
        if entry is not None:
            return entry
        found = await self._truth.get(principal, response_id)
        if found is None:
            raise response_not_found(response_id)
        return self._live.running(response_id) or (found if found.ended else None)

    async def _stopped(self, principal: Principal, entry: Entry) -> Response:
        entry.stop(CANCELLED)
        with anyio.move_on_after(self._patience_s):
            await entry.done.wait()
        if self._elsewhere is not None and entry.done.is_set() and entry.response.store and not entry.saved:
            await self._ended_elsewhere(self._elsewhere, principal, entry.response.id)  # taken over meanwhile, perhaps
        return await ended_response(self._truth, principal, entry)

    async def _ended_elsewhere(self, elsewhere: CancelElsewhere, principal: Principal, response_id: str) -> Response:
        """Have another process end the response, and return that."""
        ended = None
        with anyio.move_on_after(self._patience_s) as patience:
            ended = await elsewhere(principal, response_id)
        if patience.cancelled_caught:
            raise Unavailable("The response was asked to stop, but it has not ended yet; ask again.")
        if ended is None:
            raise response_not_found(response_id)
        return ended
