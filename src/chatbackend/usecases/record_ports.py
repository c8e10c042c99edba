"""What live sessions need of conversations that they are bound to."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.records import Entry


class ConversationRecords(Protocol):
    """Conversations as live sessions read and write them; each method sees one owner's only."""

    async def check(self, principal: Principal, conversation_id: str) -> None:
        """Raise NotFound unless it is a conversation of the caller's."""
        ...

    async def newest(self, principal: Principal, conversation_id: str, *, limit: int) -> Sequence[Item]:
        """Return the newest items, oldest first. Raises: NotFound."""
        ...

    async def write(self, principal: Principal, conversation_id: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Commit entries, at most one an item, in their order; return the spare ids that were taken, by the others.

        The same entries written again change nothing. Raises: NotFound, Unavailable.
        """
        ...
