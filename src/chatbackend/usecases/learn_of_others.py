"""Tell a live session what others do in its conversation: text turns, other sessions, other devices."""

from collections.abc import Callable
from contextlib import aclosing

import anyio

from chatbackend.domain.conversations import ItemAdded, ItemDeleted
from chatbackend.domain.errors import Conflict, Gone, Unavailable
from chatbackend.domain.identity import Principal
from chatbackend.usecases.follow_conversation import FollowConversation
from chatbackend.usecases.ports import LogEvent, Report
from chatbackend.usecases.record_ports import ConversationRecords, Mind

RETRY_S = 1.0
ReadChange = Callable[[LogEvent], ItemAdded | ItemDeleted | None]


class LearnOfOthers:
    """Follows the log of a conversation on behalf of a session. `read` says what of it is about items."""

    def __init__(
        self, follow: FollowConversation, records: ConversationRecords, read: ReadChange, report: Report
    ) -> None:
        self._follow = follow
        self._records = records
        self._read = read
        self._report = report

    async def __call__(self, principal: Principal, conversation_id: str, mind: Mind, *, after: int) -> None:
        """Tell `mind` of what happened above event `after`, until cancelled. Raises: NotFound once it is deleted.

        A session that has fallen further behind than the log is kept learns nothing any more.
        """
        while True:
            try:
                async with aclosing(await self._follow(principal, conversation_id, after=after)) as batches:
                    async for batch in batches:
                        for event in batch:
                            await self._take(principal, conversation_id, event, mind)
                            after = event.number
            except Unavailable as error:
                self._report("what others say cannot be read now; trying again", error)
                await anyio.sleep(RETRY_S)
            except (Gone, Conflict) as error:
                return self._report("a live session no longer learns of what others say", error)

    async def _take(self, principal: Principal, conversation_id: str, event: LogEvent, mind: Mind) -> None:
        """Pass on what is news. An item that was amended is deleted and added in the log: it is there all the time."""
        change = self._read(event)
        if change is None or mind.knows(change.item_id) is isinstance(change, ItemAdded):
            return
        item = await self._records.item(principal, conversation_id, change.item_id)
        if isinstance(change, ItemDeleted) and item is None:
            await mind.forget(change.item_id)
        elif isinstance(change, ItemAdded) and item is not None:
            await mind.learn(item)
