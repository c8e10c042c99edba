"""What live sessions need of conversations that they are bound to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.records import Entry


@dataclass(frozen=True, slots=True)
class Remembered:
    """Items, oldest first, as they are at the event `last_event` of the conversation's log."""

    items: Sequence[Item]
    last_event: int


class Mind(Protocol):
    """What a live session knows of its conversation. Its waits are those of the session's own legs."""

    def knows(self, item_id: str) -> bool:
        """Whether an item is the session's own, or one that it was told of, and was not deleted since."""
        ...

    async def learn(self, item: Item) -> None:
        """Take an item that somebody else has added."""
        ...

    async def forget(self, item_id: str) -> None:
        """Take out an item that somebody else has deleted."""
        ...


class ConversationRecords(Protocol):
    """Conversations as live sessions read and write them; each method sees one owner's only."""

    async def check(self, principal: Principal, conversation_id: str) -> None:
        """Raise NotFound unless it is a conversation of the caller's."""
        ...

    async def newest(self, principal: Principal, conversation_id: str, *, limit: int) -> Remembered:
        """Return the newest items. Raises: NotFound, Unavailable."""
        ...

    async def item(self, principal: Principal, conversation_id: str, item_id: str) -> Item | None:
        """Return an item, None where there is none. Raises: NotFound (the conversation), Unavailable."""
        ...

    async def write(self, principal: Principal, conversation_id: str, entries: Sequence[Entry]) -> Mapping[str, str]:
        """Commit entries, at most one an item, in their order; return the spare ids that were taken, by the others.

        The same entries written again change nothing. Raises: NotFound, Unavailable.
        """
        ...
