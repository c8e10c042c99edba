"""Ends live sockets whose API key was revoked: one look per key and period, however many sockets it has."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import anyio

from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.usecases.ports import Report

PERIOD_S = 2.0

StillValid = Callable[[Principal], Awaitable[bool]]
OnRevoked = Callable[[], None]


class KeyWatch:
    """Knows the sockets of each key. `run` belongs to the process."""

    def __init__(self, still_valid: StillValid, report: Report, *, period_s: float = PERIOD_S) -> None:
        self._still_valid = still_valid
        self._report = report
        self._period_s = period_s
        self._watched: dict[str, dict[OnRevoked, Principal]] = {}

    @contextmanager
    def watching(self, principal: Principal, on_revoked: OnRevoked) -> Generator[None, None, None]:
        """Call `on_revoked` (once or more) if the key behind `principal` is revoked while this context is open."""
        self._watched.setdefault(principal.key_id, {})[on_revoked] = principal
        try:
            yield
        finally:
            sockets = self._watched[principal.key_id]
            del sockets[on_revoked]
            if not sockets:
                del self._watched[principal.key_id]

    async def run(self) -> None:
        """Look every period, until cancelled."""
        while True:
            await anyio.sleep(self._period_s)
            for sockets in list(self._watched.values()):
                if sockets and not await self._valid(next(iter(sockets.values()))):
                    for on_revoked in list(sockets):
                        on_revoked()

    async def _valid(self, principal: Principal) -> bool:
        try:
            return await self._still_valid(principal)
        except ChatError as error:  # a store that cannot answer now revokes nobody
            self._report("a key could not be checked", error)
            return True
