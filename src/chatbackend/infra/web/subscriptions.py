"""The conversations that one socket follows: a cursor loop each, into the socket's one bounded outbox."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import anyio
from anyio.abc import TaskGroup

from chatbackend.adapters.api.conversation_events import deleted
from chatbackend.adapters.wire import responses_socket as core
from chatbackend.adapters.wire.responses_socket import Subscribe
from chatbackend.domain.errors import ChatError, Conflict, Gone, NotFound, RateLimited
from chatbackend.domain.identity import Principal
from chatbackend.infra.db.conversation_log import ConversationLog
from chatbackend.infra.web.outbox import Outbox, SlowConsumer
from chatbackend.usecases.follow_conversation import FollowConversation

MAX_SUBSCRIPTIONS = 64  # conversations that one socket follows at once


class Subscriptions:
    """Follows conversations for one socket. `too_slow` is called when its client takes nothing."""

    def __init__(
        self,
        follow: FollowConversation,
        log: ConversationLog,
        *,
        principal: Principal,
        outbox: Outbox,
        group: TaskGroup,
        too_slow: Callable[[], None],
    ) -> None:
        self._follow = follow
        self._log = log
        self._principal = principal
        self._outbox = outbox
        self._group = group
        self._too_slow = too_slow
        self._open: dict[str, anyio.CancelScope] = {}

    def add(self, command: Subscribe) -> None:
        """Follow a conversation, instead of from where it was followed before. Raises: RateLimited, SlowConsumer."""
        name = command.conversation_id
        if name not in self._open and len(self._open) >= MAX_SUBSCRIPTIONS:
            message = f"A connection follows at most {MAX_SUBSCRIPTIONS} conversations."
            raise RateLimited(message, retry_after_s=1.0, code="websocket_queue_full")
        self._stop(name)
        scope = self._open[name] = anyio.CancelScope()
        self._group.start_soon(self._run, command, scope)

    def remove(self, conversation_id: str) -> None:
        """Follow a conversation no more, and say so. Raises: SlowConsumer."""
        self._stop(conversation_id)
        self._outbox.answer(core.unsubscribed_event(conversation_id))

    def _stop(self, conversation_id: str) -> None:
        scope = self._open.pop(conversation_id, None)
        if scope is not None:
            scope.cancel()

    async def _run(self, command: Subscribe, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._send(command)
        except SlowConsumer:
            self._too_slow()
        finally:
            if self._open.get(command.conversation_id) is scope:
                del self._open[command.conversation_id]

    async def _send(self, command: Subscribe) -> None:
        """Send events until the conversation is deleted; what goes wrong is an event, too. Raises: SlowConsumer."""
        name, begun = command.conversation_id, False
        last = deleted(name)
        try:
            async with aclosing(self._events(name, command.after)) as events:
                async for event in events:
                    await self._outbox.put(event, None)
                    begun = True
        except NotFound as error:
            if not begun:
                last = core.error_event(error, None, conversation_id=name)
        except ChatError as error:
            last = core.error_event(error, None, conversation_id=name)
        self._outbox.answer(last)

    async def _events(self, name: str, after: int) -> AsyncGenerator[bytes, None]:
        """Return that it begins, and the events; where they cannot be had without a gap, the state instead."""
        begun = False
        while True:
            try:
                batches = await self._follow(self._principal, name, after=after)
                if not begun:
                    begun = True
                    yield core.subscribed_event(name, after)
                async with aclosing(batches):
                    async for batch in batches:
                        for event in batch:
                            yield event.data
                            after = event.number
            except (Conflict, Gone):
                state = await self._log.state(self._principal, name)
                yield core.conversation_reset_event(state)
                after = state.last_event
