"""Where the heads of watched streams are: one subscribed connection a process, for the streams watched here.

A message carries only the new next number. A head is known exactly from the moment when its subscription is
confirmed and Redis was asked once more; a lost connection makes every head unknown again. While it is lost,
waiting is polling.
"""

import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager

import anyio

from chatbackend.domain.errors import Unavailable
from chatbackend.infra.log.redis.links import LOST, Link, Links, Words
from chatbackend.infra.log.redis.subscriber import BACKOFF_S, PING, listen

BEAT_S = 5.0  # between pings; a connection that says nothing for two of them is given up
IDLE_S = 30.0  # a subscription without a waiter is kept for so long: its reader is about to come back
CHANNELS_A_COMMAND = 512

DELETED = -1
Ask = Callable[[str], Awaitable[int]]  # returns the next number of a stream, 0 for an unknown one, or DELETED


class _Watch:
    __slots__ = ("changed", "deletions", "head", "idle_since", "live", "waiters")

    def __init__(self) -> None:
        self.head: int | None = None  # the next number; None: ask
        self.live = False  # the subscription is confirmed
        self.deletions = 0
        self.waiters = 0
        self.idle_since = 0.0
        self.changed = anyio.Event()

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class Heads:
    """Waits for heads to move. `channel` names a stream's channel; `run` keeps the subscriptions up."""

    def __init__(
        self,
        links: Links,
        ask: Ask,
        channel: Callable[[str], str],
        *,
        timeout_s: float,
        poll_s: float,
        beat_s: float = BEAT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._links = links
        self._ask = ask
        self._channel = channel
        self._timeout_s = timeout_s
        self._poll_s = poll_s
        self._beat_s = beat_s
        self._idle_s = idle_s
        self._watches: dict[bytes, _Watch] = {}
        self._orders: list[Words] = []
        self._ordered = anyio.Event()

    async def moved(self, response_id: str, *, after: int, timeout_s: float) -> bool:
        """See `EventLog.moved`."""
        with anyio.move_on_after(timeout_s), self._watching(response_id) as watch:
            deletions = watch.deletions
            while True:
                changed, live = watch.changed, watch.live
                head, deleted = watch.head, False
                if head is None:
                    head = await self._asked(response_id)
                    deleted = head == DELETED
                    if live and watch.live and watch.head is None:
                        watch.head = head
                if deleted or watch.deletions > deletions or (head or 0) > after + 1:
                    return True
                with anyio.move_on_after(None if watch.head is not None else self._poll_s):
                    await changed.wait()
        return False

    def doubt(self, response_id: str, *, after: int) -> None:
        """Forget a head that promised what could not be read behind `after`: the log has lost events."""
        watch = self._watches.get(self._channel(response_id).encode())
        if watch is not None and watch.head is not None and watch.head > after + 1:
            watch.head = None

    async def _asked(self, response_id: str) -> int | None:
        try:
            return await self._ask(response_id)
        except Unavailable:
            return None  # whoever reads will be told

    @contextmanager
    def _watching(self, response_id: str) -> Generator[_Watch, None, None]:
        channel = self._channel(response_id)
        watch = self._watches.get(channel.encode())
        if watch is None:
            watch = self._watches[channel.encode()] = _Watch()
            self._order("SUBSCRIBE", channel)
        watch.waiters += 1
        try:
            yield watch
        finally:
            watch.waiters -= 1
            watch.idle_since = time.monotonic()

    def _order(self, word: str, *channels: str | bytes) -> None:
        self._orders.append((word, *channels))
        self._ordered.set()

    async def run(self) -> None:
        """Keep one subscribed connection up, until cancelled."""
        failures = 0
        while True:
            try:
                async with self._links.link(timeout_s=self._timeout_s) as link:
                    await self._resubscribe(link)
                    failures = 0
                    await listen(link, self._next_orders, self._take, timeout_s=self._timeout_s, beat_s=self._beat_s)
            except LOST:
                self._unknown()
            await anyio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])
            failures += 1

    async def _resubscribe(self, link: Link) -> None:
        """Subscribe to all that is watched; each confirmation wakes its waiters, who ask for the head anew."""
        self._orders.clear()
        with anyio.fail_after(self._timeout_s):
            await link.send([PING, *_in_groups("SUBSCRIBE", self._watches)])

    async def _next_orders(self) -> Sequence[Words]:
        """Wait for orders, or until it is time for a ping."""
        with anyio.move_on_after(self._beat_s):
            await self._ordered.wait()
        self._ordered = anyio.Event()
        orders, self._orders = [*self._dropped(), *self._orders, PING], []
        return orders

    def _take(self, message: object) -> None:
        match message:
            case [b"message", bytes(channel), bytes(data)] if (watch := self._watches.get(channel)) is not None:
                if data == b"deleted":
                    watch.deletions += 1
                watch.head = int(data) if data.isdigit() else None
            case [b"subscribe", bytes(channel), int()] if (watch := self._watches.get(channel)) is not None:
                watch.live, watch.head = True, None
            case _:  # pongs, and what comes for streams that nobody watches any more
                return
        watch.wake()

    def _dropped(self) -> Iterable[Words]:
        """Forget streams that nobody waits for any more."""
        before = time.monotonic() - self._idle_s
        idle = [name for name, watch in self._watches.items() if not watch.waiters and watch.idle_since < before]
        for name in idle:
            del self._watches[name]
        return _in_groups("UNSUBSCRIBE", idle)

    def _unknown(self) -> None:
        for watch in self._watches.values():
            watch.live, watch.head = False, None
            watch.wake()


def _in_groups(word: str, channels: Iterable[bytes]) -> list[Words]:
    names = [*channels]
    return [(word, *names[at : at + CHANNELS_A_COMMAND]) for at in range(0, len(names), CHANNELS_A_COMMAND)]
