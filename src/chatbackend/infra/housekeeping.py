"""Forgets what has served its time: old event streams, idempotency keys and client secrets."""

from collections.abc import Callable

import anyio

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.db import client_secrets, requests
from chatbackend.infra.db.tables.schema import MICROS
from chatbackend.infra.db.transaction import Database, Transaction
from chatbackend.infra.log.sqlite import SqliteEventLog
from chatbackend.usecases.ports import Report

KEEP_EVENTS_S = 48 * 3600  # twice what is promised
EVERY_S = 600.0
STREAMS_AT_ONCE = 20


class Housekeeping:
    """Sweeps now and then, in small transactions that hold nobody up. `now` gives seconds since the epoch.

    Many servers may do it on one database. Without `log`: that forgets by itself.
    """

    def __init__(self, truth: Database, log: SqliteEventLog | None, now: Callable[[], float], report: Report) -> None:
        self._truth = truth
        self._log = log
        self._now = now
        self._report = report

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except Unavailable as error:
                self._report("housekeeping is put off", error)
            await anyio.sleep(EVERY_S)

    async def sweep(self) -> None:
        """Forget everything that is due."""
        now = int(self._now())

        async def expire(tx: Transaction) -> None:
            await requests.expire(tx, now=now * MICROS)
            await client_secrets.expire(tx, now=now)

        await self._truth.write(expire)
        while (
            self._log is not None
            and await self._log.expire(before=now - KEEP_EVENTS_S, limit=STREAMS_AT_ONCE) == STREAMS_AT_ONCE
        ):
            continue  # each slice is a commit of its own, and others get theirs in between
