"""Delete a conversation: what runs in it is stopped first, then it and its items are gone when this returns.

Erasing takes its responses along, with their events: those first, so that a crash in between leaves a conversation
that can be erased again, and nothing that nobody knows of.
"""

from contextlib import suppress

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.ports import Conversations, EventLog

ROUNDS = 3  # responses that begin while others are stopped are stopped too, but not for ever


class DeleteConversation:
    """Deletes conversations; responses of them stay readable by id, unless they are erased."""

    def __init__(self, conversations: Conversations, cancel: CancelResponse, log: EventLog) -> None:
        self._conversations = conversations
        self._cancel = cancel
        self._log = log

    async def erase(self, principal: Principal, conversation_id: str) -> None:
        """Delete for good, with all responses. Raises: NotFound, Unavailable when these cannot be stopped now."""
        forgotten: set[str] = set()
        for _ in range(ROUNDS):
            left = await self._conversations.delete(principal, conversation_id, erasing=forgotten)
            if not left:
                return
            for response_id in left:
                with suppress(NotFound):  # deleted meanwhile
                    await self._cancel(principal, response_id)
                await self._log.delete(response_id)
                forgotten.add(response_id)
        raise _still_running()

    async def __call__(self, principal: Principal, conversation_id: str) -> None:
        """Delete for good. Raises: NotFound, Unavailable when its responses cannot be stopped now."""
        for _ in range(ROUNDS):
            running = await self._conversations.delete(principal, conversation_id)
            if not running:
                return
            for response_id in running:
                with suppress(NotFound):  # deleted meanwhile
                    await self._cancel(principal, response_id)
        raise _still_running()


def _still_running() -> Unavailable:
    return Unavailable("Responses of this conversation are still running; try again.")
