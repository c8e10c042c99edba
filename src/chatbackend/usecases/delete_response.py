"""Delete a response: stopped first if it runs, then gone from the truth and the log before this returns."""

from chatbackend.domain.identity import Principal
from chatbackend.usecases.cancel_response import CancelResponse, response_not_found
from chatbackend.usecases.ports import EventLog, Truth


class DeleteResponse:
    """Deletes stored responses."""

    def __init__(self, truth: Truth, log: EventLog, cancel: CancelResponse) -> None:
        self._truth = truth
        self._log = log
        self._cancel = cancel

    async def __call__(self, principal: Principal, response_id: str) -> None:
        """Delete for good. Raises: NotFound."""
        await self._cancel(principal, response_id)
        if not await self._truth.delete(principal, response_id):
            raise response_not_found(response_id)
        await self._log.delete(response_id)
