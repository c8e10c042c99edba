"""Turns of one conversation run one after the other, in the order of their numbers."""

import anyio


class Turns:
    """Who waits for whom, in this process. A turn must `enter` before any later turn of its conversation waits."""

    def __init__(self) -> None:
        self._entered: dict[str, dict[int, anyio.Event]] = {}

    def enter(self, conversation_id: str | None, turn: int) -> None:
        """Announce a turn; done in the order of the commits, before anything else is awaited."""
        if conversation_id is not None:
            self._entered.setdefault(conversation_id, {})[turn] = anyio.Event()

    async def wait(self, conversation_id: str | None, turn: int) -> None:
        """Return once every earlier turn has left."""
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
