"""Clients that upload files under keys, wait until these are indexed, and delete some."""

import hashlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import anyio

from tests.faults.history import History
from tests.faults.transport import CUT, Refused, Sse

RETRY_S = 0.1
DELETED = 0.3  # the share of files that are deleted, at any stage
TEXTS = tuple(
    "".join(
        f"# Section {n} of book {book}\n\nThe sluice number {n} opens at {n * book % 24} o'clock. "
        + f"Its keeper is called Keeper{n * book}. " * 12
        + "\n\n"
        for n in range(10 * book)
    ).encode()
    for book in (1, 4, 7)
)


class Uploader:
    """Uploads one file after the other."""

    def __init__(self, transport: Sse, history: History, *, seed: int) -> None:
        self._transport = transport
        self._history = history
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret

    async def in_peace(self) -> list[str]:
        """Upload each text once and have it indexed: what all later ones are held against."""
        return [await self._indexed(await self._upload(f"peace-{n}", text)) for n, text in enumerate(TEXTS)]

    async def one(self, key: str, text: bytes) -> None:
        """Upload a text and see it indexed."""
        await self._indexed(await self._upload(key, text))

    async def upload_on(self, number: int, over: anyio.Event) -> None:
        """Upload until it is over; see the last one through."""
        turn = 0
        while not over.is_set():
            key = f"upload-{number}-{turn}"
            self._history.unfinished.append(key)
            try:
                await self._one(key)
            except Refused as error:
                self._history.refused.append(f"{key}: {error}")
            self._history.unfinished.remove(key)
            turn += 1

    async def _one(self, key: str) -> None:
        file_id = await self._upload(key, self._chance.choice(TEXTS))
        if self._chance.random() < DELETED:
            with anyio.move_on_after(self._chance.uniform(0, 2)):
                await self._indexed(file_id)
            await self._delete(file_id)
        else:
            await self._indexed(file_id)

    async def _upload(self, key: str, text: bytes) -> str:
        headers = {**self._transport.target.headers, "idempotency-key": key}

        async def attempt() -> dict[str, Any]:
            form = aiohttp.FormData({"purpose": "assistants"})
            form.add_field("file", text, filename=f"{key}.md", content_type="text/markdown")
            url = f"{self._transport.any_server(self._chance)}/v1/files"
            async with self._transport.session.post(url, data=form, headers=headers) as answer:
                if answer.status == 503:
                    raise aiohttp.ClientConnectionError
                if answer.status != 200:
                    raise Refused(answer.status, await answer.text())
                return await answer.json()

        file_id: str = (await _surely(attempt))["id"]
        self._history.files.by_key[key].add(file_id)
        self._history.files.uploaded[file_id] = hashlib.sha256(text).hexdigest()
        return file_id

    async def _indexed(self, file_id: str) -> str:
        """Wait until a file has come to its end."""

        async def look() -> dict[str, Any]:
            return await self._transport.call("GET", f"/v1/files/{file_id}", self._chance)

        while (await _surely(look))["chatbackend_stage"] not in ("ready", "failed"):  # noqa: ASYNC110 - elsewhere
            await anyio.sleep(RETRY_S)
        return file_id

    async def _delete(self, file_id: str) -> None:
        async def attempt() -> dict[str, Any]:
            try:
                return await self._transport.call("DELETE", f"/v1/files/{file_id}", self._chance)
            except Refused as error:
                if error.status != 404:
                    raise
                return {}  # an earlier attempt, whose answer was lost

        await _surely(attempt)
        self._history.files.deleted.add(file_id)


async def _surely(attempt: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    while True:
        try:
            return await attempt()
        except CUT:
            await anyio.sleep(RETRY_S)
