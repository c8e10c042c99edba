"""Turns of one conversation run one after the other, in the order of their numbers."""

import anyio

from chatbackend.domain.errors import Unavailable
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.replica_ports import TurnsAlive


class Turns:
    """Who waits for whom, in this process. A turn must `enter` before any later turn of its conversation waits."""

    def __init__(self) -> None:
        self._entered: dict[str, dict[int, anyio.Event]] = {}

    def enter(self, conversation_id: str | None, turn: int) -> None:
        """Announce a turn; done in the order of the commits, before anything else is awaited."""
        if conversation_id is not None:
            self._entered.setdefault(conversation_id, {})[turn] = anyio.Event()

    async def wait(self, conversation_id: str | None, turn: int, *, behind: bool = True) -> None:
        """Return once every earlier turn has left. `behind`: there were such when this one was committed."""
        if conversation_id is None:
            return
        while earlier := [left for number, left in self._entered[conversation_id].items() if number < turn]:
            await earlier[0].wait()

    def leave(self, conversation_id: str | None, turn: int) -> None:
        """Let the next turn run."""
        if conversation_id is None:
            return
        entered = self._entered[conversation_id]
        entered.pop(turn).set()
        if not entered:
            del self._entered[conversation_id]


class SharedTurns(Turns):
    """Turns in several processes on one truth: one may run once no earlier one is alive there, wherever it runs.

    `changes` are those of conversations: an end that is committed wakes who waits. Whoever heard nothing looks every
    `poll_s`, so a turn that was deleted, taken over or left without a word holds nobody up.
    """

    def __init__(self, alive: TurnsAlive, changes: Changes, *, poll_s: float = 1.0) -> None:
        super().__init__()
        self._alive = alive
        self._changes = changes
        self._poll_s = poll_s

    async def wait(self, conversation_id: str | None, turn: int, *, behind: bool = True) -> None:
        """See `Turns.wait`; one that nothing was before at its commit asks nobody: nothing earlier can come later."""
        await super().wait(conversation_id, turn)
        while behind and conversation_id is not None:
            moved = self._changes.event(conversation_id)
            if await self._is_first(conversation_id, turn):
                return
            with anyio.move_on_after(self._poll_s):
                await moved.wait()
            await super().wait(conversation_id, turn)  # an earlier one may have been taken over to here

    async def _is_first(self, conversation_id: str, turn: int) -> bool:
        try:
            lowest = await self._alive.lowest(conversation_id)
        except Unavailable:  # nothing is lost by waiting until the store can tell
            return False
        return lowest is None or lowest >= turn
