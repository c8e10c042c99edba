"""`Signals` by Redis' pub/sub: one channel, one subscribed connection a process and another one that publishes.

A message is `origin name name ...`: names only, of which each is `topic:id`. What a process says wakes its own waiters
at once, and its echo is passed over. Whatever may have been missed counts as moved: everybody is woken when a
subscription is confirmed, and every `poll_s` while there is none. Names that could not be sent wait for Redis to come
back; they are a set, so that they stay few, and where they do not, one word stands for all.
"""

import re
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

import anyio

from chatbackend.domain.errors import ChatError
from chatbackend.infra.log.redis.keys import Keys
from chatbackend.infra.log.redis.links import LOST, Links, Words
from chatbackend.infra.log.redis.pipe import Pipe
from chatbackend.infra.log.redis.subscriber import BACKOFF_S, PING, listen
from chatbackend.infra.log.wakeups import Wakeups
from chatbackend.usecases.replica_ports import Topic

BEAT_S = 0.5  # between pings; a connection that says nothing for two of them is given up
UNSENT_MAX = 4_096
RETRY_S = 0.25  # after a call that has waited for Redis, or was refused
EVERYTHING = "*"
# Clients name things, too; what is no id of ours is nobody's.
_NAME = re.compile(r"[\w:.-]{1,256}", re.ASCII)


class RedisSignals:
    """`Signals` among the processes on one Redis, while it is entered; `poll_s`, `timeout_s` in seconds."""

    def __init__(
        self, url: str, *, prefix: str = "cb", timeout_s: float = 2.0, poll_s: float = 1.0, beat_s: float = BEAT_S
    ) -> None:
        self._links = Links(url)
        self._pipe = Pipe(self._links, timeout_s=timeout_s, patience_s=timeout_s)
        self._channel = Keys(prefix).signals
        self._origin = secrets.token_hex(8)
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._beat_s = beat_s
        self._here = Wakeups()
        self._listening = False
        self._unsent: set[str] = set()
        self._said = anyio.Event()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            for loop in (self._pipe.run, self._publish, self._listen, self._poll):
                group.start_soon(loop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def topic(self, topic: Topic, /) -> "RedisTopic":
        """See `Signals.topic`."""
        return RedisTopic(self, topic)

    def event(self, name: str) -> anyio.Event:
        """Return the event that the next wake-up of a name sets, whoever says it."""
        return self._here.event(name)

    def wake(self, name: str) -> None:
        """Wake who waits here, and tell the others soon."""
        self._here.wake(name)
        if _NAME.fullmatch(name):
            self._tell([name])

    def _tell(self, names: list[str]) -> None:
        self._unsent.update(names)
        if len(self._unsent) > UNSENT_MAX:
            self._unsent = {EVERYTHING}
        self._said.set()

    async def _publish(self) -> None:
        """Send what is said, a round trip at a time: what comes meanwhile goes together with the next."""
        while True:
            await self._said.wait()
            self._said = anyio.Event()
            names, self._unsent = list(self._unsent), set()
            try:
                await self._pipe.call("PUBLISH", self._channel, " ".join((self._origin, *names)))
            except ChatError:  # Redis is away, or forbids it: kept until it is back
                self._tell(names)
                await anyio.sleep(RETRY_S)

    async def _listen(self) -> None:
        """Keep one subscribed connection up, until cancelled."""
        failures = 0
        while True:
            with suppress(*LOST):
                async with self._links.link(timeout_s=self._timeout_s) as link:
                    with anyio.fail_after(self._timeout_s):
                        await link.send([("SUBSCRIBE", self._channel)])
                    await listen(link, self._ping, self._take, timeout_s=self._timeout_s, beat_s=self._beat_s)
            failures = 0 if self._listening else failures + 1
            self._listening = False
            await anyio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    async def _ping(self) -> Sequence[Words]:
        await anyio.sleep(self._beat_s)
        return [PING]

    def _take(self, message: object) -> None:
        match message:
            case [b"message", bytes(), bytes(data)]:
                origin, *names = data.decode(errors="replace").split(" ")
                if origin != self._origin:
                    self._hear(names)
            case [b"subscribe", bytes(), int()]:
                self._listening = True
                self._here.wake_all()
            case _:  # pongs
                return

    def _hear(self, names: list[str]) -> None:
        for name in names:
            if name == EVERYTHING:
                self._here.wake_all()
            else:
                self._here.wake(name)

    async def _poll(self) -> None:
        """Wake everybody now and then while nothing can be heard."""
        while True:
            await anyio.sleep(self._poll_s)
            if not self._listening:
                self._here.wake_all()


class RedisTopic:
    """`Changes` of one topic."""

    def __init__(self, signals: RedisSignals, topic: Topic) -> None:
        self._signals = signals
        self._prefix = f"{topic}:"

    def event(self, name: str, /) -> anyio.Event:
        """See `Changes.event`."""
        return self._signals.event(self._prefix + name)

    def wake(self, name: str, /) -> None:
        """See `Changes.wake`."""
        self._signals.wake(self._prefix + name)
