"""Commands of many callers on one connection: what waits at the same time shares a round trip.

No timer: a round begins when the last one ends. While Redis is away commands wait, for as long as the pipe is
patient; a command whose reply was lost is sent again, so every command must bear being run twice.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
from redis.exceptions import NoScriptError

from chatbackend.domain.errors import Internal, Unavailable
from chatbackend.infra.log.redis.links import LOST, Link, Links, Words, not_now
from chatbackend.infra.log.redis.scripts import Script

ROUND_COMMANDS = 1_024  # in a round trip, unless a pipe is made for long replies
WAITING_MAX = 16_384
BACKOFF_S = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # before each further attempt to reach Redis; the last again and again


class _Waiting:
    __slots__ = ("reply", "script", "until", "words")

    def __init__(self, words: Words, script: Script | None, until: float, reply: asyncio.Future[object]) -> None:
        self.words = words
        self.script = script
        self.until = until
        self.reply = reply

    def refuse(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)

    def answer(self, reply: object) -> None:
        if self.reply.done():  # nobody waits any more
            return
        if isinstance(reply, Exception):
            fault = Internal("The event log failed.")
            fault.__cause__ = reply
            self.reply.set_exception(fault)
        else:
            self.reply.set_result(reply)


class Pipe:
    """One connection, kept up by `run`. `timeout_s` bounds each round trip, `patience_s` each call."""

    def __init__(
        self, links: Links, *, timeout_s: float, patience_s: float, round_commands: int = ROUND_COMMANDS
    ) -> None:
        self._links = links
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._round_commands = round_commands
        self._waiting: deque[_Waiting] = deque()
        self._wanted = anyio.Event()
        self._failures = 0
        self._closed = False

    async def call(self, *words: bytes | str | int) -> object:
        """Return the reply of a command. Raises: Unavailable (it may have been run), Internal (refused)."""
        return await self._enqueue(words, None)

    async def script(self, script: Script, keys: tuple[str, str], *words: bytes | str | int) -> object:
        """Return the reply of a script over two keys. Raises: as `call`."""
        return await self._enqueue((2, *keys, *words), script)

    def post(self, *words: bytes | str | int) -> None:
        """Send a command some time soon; nobody is told what came of it."""
        self._enqueue(words, None).add_done_callback(lambda reply: reply.cancelled() or reply.exception())

    def _enqueue(self, words: Words, script: Script | None) -> asyncio.Future[object]:
        if self._closed:
            raise _stopping()
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("Too many calls to the event log are waiting.", code="overloaded")
        reply: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(words, script, time.monotonic() + self._patience_s, reply))
        self._wanted.set()
        return reply

    async def run(self) -> None:
        """Serve what is called, until cancelled; reconnect for as long as somebody waits."""
        batch: list[_Waiting] = []
        try:
            while True:
                try:
                    async with AsyncExitStack() as stack:
                        batch = await self._taken()
                        link = await stack.enter_async_context(self._links.link(timeout_s=self._timeout_s))
                        while True:
                            await self._round(link, batch)
                            batch = await self._taken()
                except LOST as error:
                    self._put_back(batch, error)
                await self._back_off()
        finally:
            self._closed = True
            for waiting in (*batch, *self._waiting):
                waiting.refuse(_stopping())

    async def _taken(self) -> list[_Waiting]:
        """Wait until somebody calls; return what waits, but for those who have gone."""
        while True:
            await self._wanted.wait()
            count = min(len(self._waiting), self._round_commands)
            batch = [waiting for waiting in (self._waiting.popleft() for _ in range(count)) if not waiting.reply.done()]
            if not self._waiting:
                self._wanted = anyio.Event()
            if batch:
                return batch

    async def _round(self, link: Link, batch: Sequence[_Waiting]) -> None:
        """Send a batch, and tell each caller its own reply. Raises: LOST, also when Redis refuses for now."""
        batch = [waiting for waiting in batch if not waiting.reply.done()]
        with anyio.fail_after(self._timeout_s):
            replies = await link.exchange([_by_hash(waiting) for waiting in batch])
            unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            again = await link.exchange([_by_text(batch[at]) for at in unknown])
        for at, reply in zip(unknown, again, strict=True):
            replies[at] = reply
        refusal: Exception | None = None
        for waiting, reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception) and not_now(reply):
                refusal = reply
            else:
                waiting.answer(reply)
        if refusal is not None:
            raise ConnectionError(str(refusal)) from refusal
        self._failures = 0

    def _put_back(self, batch: Sequence[_Waiting], error: Exception) -> None:
        """Let the unanswered wait again, in their order, as far as they have time."""
        self._waiting.extendleft(reversed([waiting for waiting in batch if not waiting.reply.done()]))
        now = time.monotonic()
        for waiting in [late for late in self._waiting if late.until <= now]:
            refusal = Unavailable("The event log cannot be reached now.", code="storage_unavailable")
            refusal.__cause__ = error
            waiting.refuse(refusal)
        if self._waiting:
            self._wanted.set()

    async def _back_off(self) -> None:
        wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1
        await anyio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads replicas, guards nothing


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping.", code="stopping")


def _by_hash(waiting: _Waiting) -> Words:
    return waiting.words if waiting.script is None else ("EVALSHA", waiting.script.sha, *waiting.words)


def _by_text(waiting: _Waiting) -> Words:
    assert waiting.script is not None  # noqa: S101 - only scripts are unknown to Redis
    return ("EVAL", waiting.script.text, *waiting.words)
