"""What the scripted upstream says that it saw: its `GET /_log`."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

ARRIVES_S = 10.0  # far above what a busy machine needs for one request
POLL_S = 0.01


class Log:
    """What the upstream saw, from the moment this was made."""

    def __init__(self, upstream: str, since: int = 0) -> None:
        self._url = f"{upstream}/_log"
        self.since = since

    async def rows(self) -> list[dict[str, Any]]:
        """Return the calls since."""
        return (await asyncio.to_thread(self._read))[self.since :]

    async def last(self) -> dict[str, Any]:
        """Return the newest call."""
        rows = await self.rows()
        assert rows, "no call reached the provider"
        return rows[-1]

    async def arrived(self) -> dict[str, Any]:
        """Wait for a call."""
        return await self._until(lambda row: True)

    async def ended(self) -> dict[str, Any]:
        """Wait for the newest call's end."""
        return await self._until(lambda row: row["outcome"] != "open")

    async def _until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        began = time.monotonic()
        while not ((rows := await self.rows()) and true(rows[-1])):
            assert time.monotonic() - began < ARRIVES_S, f"waited {ARRIVES_S} s in vain for the provider; it saw {rows}"
            await asyncio.sleep(POLL_S)
        return rows[-1]

    def _read(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(self._url, timeout=10) as answer:  # noqa: S310 - our own upstream
            return [json.loads(line) for line in answer.read().splitlines()]
