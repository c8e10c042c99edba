"""Delete a conversation: what runs in it is stopped first, then it and its items are gone when this returns."""

from contextlib import suppress

from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.usecases.cancel_response import CancelResponse
from chatbackend.usecases.ports import Conversations

ROUNDS = 3  # responses that begin while others are stopped are stopped too, but not for ever


class DeleteConversation:
    """Deletes conversations; responses of them stay readable by id."""

    def __init__(self, conversations: Conversations, cancel: CancelResponse) -> None:
        self._conversations = conversations
        self._cancel = cancel

    async def __call__(self, principal: Principal, conversation_id: str) -> None:
        """Delete for good. Raises: NotFound, Unavailable when its responses cannot be stopped now."""
        for _ in range(ROUNDS):
            running = await self._conversations.delete(principal, conversation_id)
            if not running:
                return
            for response_id in running:
                with suppress(NotFound):  # deleted meanwhile
                    await self._cancel(principal, response_id)
        raise Unavailable("Responses of this conversation are still running; try again.")
