"""Who owns a response, by Redis' own clock: a lease beside its events, renewed by every append.

A fence is given to one owner only and grows; whoever hands fences out keeps them where they are not lost (the
truth), since an emptied Redis has forgotten them all. A lease does not protect: fences do.
"""

from dataclasses import dataclass

from chatbackend.infra.log.redis.keys import Keys
from chatbackend.infra.log.redis.pipe import Pipe
from chatbackend.infra.log.redis.replies import failure, read
from chatbackend.infra.log.redis.scripts import LEASE, OPEN, RENEW


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a response: the fence that was given to it, and for how long yet by Redis' clock."""

    fence: int
    remaining_s: float

    @property
    def expired(self) -> bool:
        """Whether anyone with a higher fence may take it."""
        return self.remaining_s <= 0


class Held(Exception):
    """Its owner's lease has not run out; `remaining_s` by Redis' clock."""

    def __init__(self, remaining_s: float) -> None:
        super().__init__(f"held for another {remaining_s:.3f} s")
        self.remaining_s = remaining_s


class Leases:
    """Leases on responses. `unended_keep_s`: how long a stream lives without its end."""

    def __init__(self, pipe: Pipe, keys: Keys, *, lease_s: float, unended_keep_s: int) -> None:
        self._pipe = pipe
        self._keys = keys
        self._lease_ms = int(lease_s * 1_000)
        self._unended_keep_s = unended_keep_s

    async def look(self, response_id: str) -> Lease | None:
        """Return who holds a response, None for an unknown or deleted one. Raises: Unavailable."""
        word, *numbers = read(await self._pipe.script(LEASE, self._keys.both(response_id)))
        return Lease(numbers[0], numbers[1] / 1_000) if word == b"ok" else None

    async def renew(self, response_id: str, *, fence: int) -> None:
        """Hold a response for another full lease; one that has run out too, while nobody else took it.

        Raises: Fenced, Behind (Redis has lost that this fence took it: open it again), Gone, Unavailable.
        """
        reply = read(await self._pipe.script(RENEW, self._keys.both(response_id), fence, self._lease_ms))
        if reply[0] != b"ok":
            raise failure(reply)

    async def take_over(self, response_id: str, *, fence: int) -> int:
        """Take a response whose lease has run out, or that nobody holds; return the next number of its stream.

        Asked again by the same fence it answers the same. Raises: Held, Fenced (a fence as high holds it), Unavailable.
        """
        return await self.open(response_id, fence=fence, only_expired=True)

    async def open(self, response_id: str, *, fence: int, only_expired: bool = False) -> int:
        """See `EventLog.open`; `only_expired`: see `take_over`."""
        self._pipe.post("SADD", self._keys.unended, response_id)  # before it is there: it must not be missed
        words = fence, self._lease_ms, self._unended_keep_s, int(only_expired)
        reply = read(await self._pipe.script(OPEN, self._keys.both(response_id), *words))
        match reply:
            case b"ok", following:
                return following
            case b"held", remaining_ms:
                raise Held(remaining_ms / 1_000)
            case _:
                raise failure(reply)
