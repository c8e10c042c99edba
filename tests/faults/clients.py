"""Chat clients that never give up: they create with a key, follow, and resume with their cursor after every cut.

Some hang up in the middle to cancel or to delete, from any server; some steer; some talk in a conversation.
"""

import random
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Literal

import anyio
import msgspec
from anyio.abc import TaskGroup

from tests.faults.history import TERMINAL, History, Resume, Seen, Watch
from tests.faults.transport import CUT, Asked, Refused, Transport, WebSocket

RETRY_S = 0.05
HURRIED = 0.25  # the share of asks that are given up at once, perhaps before the answer came, and made again
FORGETFUL = 0.5  # the share of reconnects with a cursor some events back, as of a client that had not saved them all
GONE = (404, 409, 410)  # what a cursor is told whose events went with an emptied Redis

Manner = Literal["ask", "cancel", "delete", "steer"]


class Client:
    """One client. Chance decides what it does and where it hangs up by itself; with a `manner` it does just that."""

    def __init__(self, transport: Transport, history: History, *, seed: int, manner: Manner | None = None) -> None:
        self._transport = transport
        self._history = history
        self._always: Manner | None = manner
        self._chance = random.Random(seed)  # noqa: S311 - repeatable, not secret

    async def turn(self, key: str, conversation: str = "") -> None:
        """Ask once under an idempotency key and see it through, to the terminal event or to its deletion."""
        asked = Asked(key, Watch(key, ""), conversation)
        manner = "ask" if conversation else self._manner()
        asked.steers = manner == "steer"
        self._history.watches.append(asked.watch)
        try:
            if manner in ("cancel", "delete"):
                await self._listen_on(asked, until=self._chance.randint(2, 30))
                if asked.watch.response_id:  # else all that it had was lost with the log, before it knew an id
                    await self._stop(asked.watch, manner)
            if manner != "delete":
                await self._listen_on(asked)
        except Refused as error:
            self._history.refused.append(f"{asked.watch.response_id or key}: {error}")
        self._history.acknowledged[key] |= asked.named

    async def converse(self, name: str) -> str:
        """Make a conversation; return its id."""
        return (await self._surely("POST", "/v1/conversations", key=name))["id"]

    def _patience(self) -> int:
        """Return after how many events it hangs up of its own will; 0 is never."""
        return 0 if self._always is not None else self._chance.randint(1, 400)

    def _manner(self) -> Manner:
        if self._always is not None:
            return self._always
        weights = (70, 10, 8, 12 if isinstance(self._transport, WebSocket) else 0)
        manners: tuple[Manner, ...] = ("ask", "cancel", "delete", "steer")
        return self._chance.choices(manners, weights)[0]

    async def _listen_on(self, asked: Asked, until: int | None = None) -> None:
        """Listen over as many connections as it takes, to the end, or to `until` events."""
        watch = asked.watch
        while watch.ended_at is None and (until is None or len(watch.events) < until):
            patience = until or self._patience()
            hurried = not watch.events and self._always is None and self._chance.random() < HURRIED
            hurry_s = self._chance.uniform(0.005, 0.05) if hurried else None
            try:
                with anyio.move_on_after(hurry_s):
                    await self._listen(asked, patience)
            except Refused as error:
                if not (self._history.forgetful and error.status in GONE):
                    raise
                await self._ask_how_it_ended(watch)
            except CUT:
                await anyio.sleep(RETRY_S)

    async def _listen(self, asked: Asked, patience: int) -> None:
        watch = asked.watch
        back = self._chance.randint(1, 8) if self._chance.random() < FORGETFUL else 0
        asked.cursor = watch.events[-1 - min(back, len(watch.events) - 1)].number if watch.events else None
        asked.server = self._transport.any_server(self._chance)
        asked_at, waits = time.monotonic(), asked.cursor is not None
        async with aclosing(self._transport.events(asked)) as events:
            async for event in events:
                if event.type.startswith("response.steer."):
                    self._steered(event, asked.watch)
                    continue
                if waits:
                    behind = event.number <= watch.events[-1].number
                    self._history.resumes.append(Resume(asked.server, asked_at, time.monotonic(), behind))
                    waits = False
                self._take(asked, event)
                patience -= 1
                if event.type in TERMINAL or patience == 0:  # one that began at 0 never comes by it again
                    return

    def _take(self, asked: Asked, event: Seen) -> None:
        watch = asked.watch
        if watch.events and event.number <= watch.events[-1].number:
            if event not in watch.events:
                self._history.contradicted.append(f"{watch.response_id} {event.number}")
            return
        if not watch.response_id:
            watch.response_id = msgspec.json.decode(event.data)["response"]["id"]
            self._history.acknowledged[watch.key].add(watch.response_id)
            watch.server, watch.created_at = asked.server, time.monotonic()
            if asked.conversation:
                self._history.talks[asked.conversation].append(watch.key)
        if event.type == "response.created":
            self._history.acknowledged[watch.key].add(msgspec.json.decode(event.data)["response"]["id"])
        if event.type in TERMINAL:
            watch.ended_at = time.monotonic()
        watch.events.append(event)

    def _steered(self, event: Seen, watch: Watch) -> None:
        if event.type == "response.steer.accepted":
            self._history.steered[f"Steer {watch.key}"] = watch.response_id

    async def _stop(self, watch: Watch, manner: Manner) -> None:
        path = f"/v1/responses/{watch.response_id}"
        if manner == "delete":
            await self._surely("DELETE", path, gone=True)
            self._history.deleted.add(watch.response_id)
        else:
            self._history.stopped[watch.response_id] = (await self._surely("POST", f"{path}/cancel"))["status"]

    async def _ask_how_it_ended(self, watch: Watch) -> None:
        """Look at the response itself: its events are no longer kept. Who knows no id yet is not told any."""
        if not watch.response_id:
            watch.ended_at = time.monotonic()
            return
        found = await self._surely("GET", f"/v1/responses/{watch.response_id}")
        if found["status"] not in ("queued", "in_progress"):
            watch.ended_at = time.monotonic()
        else:
            await anyio.sleep(RETRY_S)

    async def _surely(self, method: str, path: str, *, key: str = "", gone: bool = False) -> dict[str, str]:
        """Repeat a request until it is answered. `gone`: that the object is not there is the answer as well."""
        while True:
            try:
                return await self._transport.call(method, path, self._chance, key=key)
            except Refused as error:
                if gone and error.status == 404:
                    return {}
                raise
            except CUT:
                await anyio.sleep(RETRY_S)


async def ask_on(client: Client, history: History, number: int, over: anyio.Event, *, overlap_s: float = 3.0) -> None:
    """Ask one question after the other; one that takes longer than `overlap_s` has the next beside it."""
    turn = 0
    async with anyio.create_task_group() as group:
        while not over.is_set():
            with anyio.move_on_after(overlap_s):
                await _begun(group, partial(_one, client, history, f"client-{number}-turn-{turn}")).wait()
            turn += 1


async def talk_on(client: Client, history: History, number: int, over: anyio.Event) -> None:
    """Ask one question after the other in one conversation."""
    conversation, turn = await client.converse(f"talk-{number}"), 0
    while not over.is_set():
        await _one(client, history, f"talk-{number}-turn-{turn}", conversation)
        turn += 1


def _begun(group: TaskGroup, work: Callable[[], Awaitable[None]]) -> anyio.Event:
    """Start it in a task; return what is set at its end."""
    done = anyio.Event()

    async def all_of_it() -> None:
        await work()
        done.set()

    group.start_soon(all_of_it)
    return done


async def _one(client: Client, history: History, key: str, conversation: str = "") -> None:
    history.unfinished.append(key)
    await client.turn(key, conversation)
    history.unfinished.remove(key)
