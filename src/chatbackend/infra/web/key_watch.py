"""Ends live sockets whose credential has ended.

A revoked API key takes the sockets of the client secrets that it made with it: one look per key and period, however
many sockets it has. When a client secret expires is known from the start.
"""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import anyio

from chatbackend.domain.errors import ChatError
from chatbackend.domain.identity import Principal
from chatbackend.usecases.ports import Report

PERIOD_S = 2.0

StillValid = Callable[[Principal], Awaitable[bool]]
OnEnded = Callable[[str], None]  # told the reason


class KeyWatch:
    """Knows the sockets of each key. `run` belongs to the process; `now` gives seconds since the epoch."""

    def __init__(
        self, still_valid: StillValid, report: Report, now: Callable[[], float], *, period_s: float = PERIOD_S
    ) -> None:
        self._still_valid = still_valid
        self._report = report
        self._now = now
        self._period_s = period_s
        self._watched: dict[str, dict[OnEnded, Principal]] = {}
        self._expiring: dict[OnEnded, int] = {}

    @contextmanager
    def watching(self, principal: Principal, on_ended: OnEnded) -> Generator[None, None, None]:
        """Call `on_ended` (once or more) if the credential behind `principal` ends while this context is open."""
        self._watched.setdefault(principal.key_id, {})[on_ended] = principal
        if principal.secret is not None:
            self._expiring[on_ended] = principal.secret.expires_at
        try:
            yield
        finally:
            self._expiring.pop(on_ended, None)
            sockets = self._watched[principal.key_id]
            del sockets[on_ended]
            if not sockets:
                del self._watched[principal.key_id]

    async def run(self) -> None:
        """Look every period, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._revoke)
            group.start_soon(self._expire)  # by itself: a store that does not answer holds no end up

    async def _revoke(self) -> None:
        while True:
            await anyio.sleep(self._period_s)
            for sockets in list(self._watched.values()):
                if sockets and not await self._valid(next(iter(sockets.values()))):
                    for on_ended in list(sockets):
                        on_ended("the API key was revoked")

    async def _expire(self) -> None:
        while True:
            await anyio.sleep(self._period_s)
            now = self._now()
            for on_ended in [each for each, expires_at in self._expiring.items() if expires_at <= now]:
                on_ended("the client secret expired")

    async def _valid(self, principal: Principal) -> bool:
        try:
            return await self._still_valid(principal)
        except ChatError as error:  # a store that cannot answer now revokes nobody
            self._report("a key could not be checked", error)
            return True
