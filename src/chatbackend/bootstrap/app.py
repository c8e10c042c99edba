"""A built server, and how it is stopped."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from chatbackend.domain.responses import interrupted
from chatbackend.infra.web.app import WebApp
from chatbackend.infra.web.draining import Draining
from chatbackend.usecases.live import Entry, Live

STOP_S = 2.0  # to save what was cut short; what cannot be saved is ended by the next start
LOOK_S = 0.02  # between two looks for requests that are still being answered


@dataclass(slots=True)
class App:
    """A built server: its ASGI application, how to get its first key, and how to stop it.

    `first_key` makes and returns a key where there is none yet: called once it is sure that it can be shown.
    """

    live: Live
    draining: Draining
    first_key: Callable[[], Awaitable[str | None]]
    web: WebApp = field(init=False)

    async def drain(self, seconds: float, answering: Callable[[], bool]) -> None:
        """Take no new work; let what runs end for `seconds`, then end responses `interrupted` and let sockets go.

        Among others a response that has shown nothing yet is left to them: they find it when this server has gone.
        `answering` says whether requests are being answered that are no response of ours: relayed ones, say.
        """
        self.live.close()
        self.draining.begin(seconds)
        with anyio.move_on_after(seconds):
            await self._responses_ended()
            while answering() or self.draining.working:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(LOOK_S)
        for entry in self.live.at_work():
            if self.draining.elsewhere and isinstance(entry, Entry) and entry.movable:
                entry.leave()
            else:
                entry.stop(interrupted())
        with anyio.move_on_after(STOP_S):
            await self._responses_ended()
        self.draining.end()

    async def _responses_ended(self) -> None:
        for entry in self.live.at_work():
            await entry.done.wait()
