"""Stop a response that another process runs: a wish is committed and told; whoever runs the response heeds it.

Both sides look into the truth now and then, so that a signal that is lost costs a second and nothing else. A wish
outlives both: whoever takes over a response with one ends it `cancelled`.
"""

from typing import Final

import anyio
from anyio.abc import TaskGroup

from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import CANCELLED, Response
from chatbackend.usecases.file_ports import Changes
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.ports import Report, Truth
from chatbackend.usecases.replica_ports import Wishes

WISHES: Final = "wishes"  # the name under which it is told that there is a new one


class CancelElsewhere:
    """Asks others to stop a response, and waits for its end. `changes` are those of the topic `cancel`."""

    def __init__(self, truth: Truth, wishes: Wishes, changes: Changes, *, poll_s: float = 0.25) -> None:
        self._truth = truth
        self._wishes = wishes
        self._changes = changes
        self._poll_s = poll_s

    async def __call__(self, principal: Principal, response_id: str) -> Response | None:
        """Return the response once it is terminal in the truth, None when it is gone. Waits for ever: bound it."""
        ended = self._changes.event(response_id)
        if await self._wishes.wish(principal, response_id):
            self._changes.wake(WISHES)
        while True:
            found = await self._truth.get(principal, response_id)
            if found is None or found.ended:
                return found
            with anyio.move_on_after(self._poll_s):
                await ended.wait()
            ended = self._changes.event(response_id)


class HeedWishes:
    """Stops what runs here and shall be cancelled: `run` looks when it is told of a wish, and every `poll_s`."""

    def __init__(self, wishes: Wishes, live: Live, changes: Changes, report: Report, *, poll_s: float = 1.0) -> None:
        self._wishes = wishes
        self._live = live
        self._changes = changes
        self._report = report
        self._poll_s = poll_s
        self._ending: set[str] = set()

    async def run(self) -> None:
        """Heed wishes, until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                wished = self._changes.event(WISHES)
                if self._live.all_running():
                    await self._heed(group)
                with anyio.move_on_after(self._poll_s):
                    await wished.wait()

    async def _heed(self, group: TaskGroup) -> None:
        try:
            wished = await self._wishes.wished()
        except ChatError as error:
            self._report("the wishes to cancel could not be read", error)
            return
        for entry in filter(None, map(self._live.running, wished)):
            entry.stop(CANCELLED)
            if entry.response.id not in self._ending:
                self._ending.add(entry.response.id)
                group.start_soon(self._tell_end, entry)

    async def _tell_end(self, entry: Entry) -> None:
        await entry.done.wait()
        self._ending.discard(entry.response.id)
        self._changes.wake(entry.response.id)
