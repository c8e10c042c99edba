"""A device of a conversation is a cursor on its log: read after the cursor, send, wait, repeat."""

from collections.abc import AsyncGenerator, Sequence

import anyio

from chatbackend.domain.identity import Principal
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.ports import ConversationLog, LogEvent

Events = AsyncGenerator[Sequence[LogEvent], None]


class FollowConversation:
    """Opens cursors.

    `idle_s`: after so many seconds without an event the log is looked at anyway, since another process may have
    written to it, and an empty batch says that we live.
    """

    def __init__(self, log: ConversationLog, changes: Changes, *, idle_s: float = 10.0) -> None:
        self._log = log
        self._changes = changes
        self._idle_s = idle_s

    async def __call__(self, principal: Principal, conversation_id: str, *, after: int) -> Events:
        """Return the events above `after` (-1: from the first) of a caller's own conversation, without an end.

        Raises: NotFound, Conflict `cursor_ahead`, Gone `cursor_expired`; so do the events: NotFound once the
        conversation is deleted, Gone where the log has moved too far ahead of a slow reader.
        """
        moved = self._changes.event(conversation_id)
        first = await self._log.read(principal, conversation_id, after=after)
        return self._events(principal, conversation_id, first, after=after, moved=moved)

    async def _events(
        self,
        principal: Principal,
        conversation_id: str,
        batch: Sequence[LogEvent],
        *,
        after: int,
        moved: anyio.Event,
    ) -> Events:
        while True:
            if batch:
                yield batch
                after = batch[-1].number
            else:
                with anyio.move_on_after(self._idle_s):
                    await moved.wait()
                if not moved.is_set():
                    yield ()
            moved = self._changes.event(conversation_id)
            batch = await self._log.read(principal, conversation_id, after=after)
