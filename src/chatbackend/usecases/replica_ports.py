"""What processes that share one truth need of each other: their Protocols, as `ports.py` has the others.

They tell each other that something moved, never what: what it is stands in the truth.
"""

from collections.abc import Collection
from typing import Literal, Protocol

from chatbackend.domain.identity import Principal
from chatbackend.usecases.file_ports import Changes

Topic = Literal["conversation", "file", "job", "cancel"]


class Signals(Protocol):
    """Wake-ups in every process, by topic and name.

    A wake-up may come late, more than once or without a cause; after a loss everybody is woken, and while signals
    cannot be heard everybody is woken at least once a second. One that another process could not send is sent later,
    or never: who must not wait for long looks now and then, too.
    """

    def topic(self, topic: Topic, /) -> Changes:
        """Return the wake-ups of one topic."""
        ...


class Wishes(Protocol):
    """Wishes that a response be cancelled by whoever runs it. Every method is one transaction."""

    async def wish(self, principal: Principal, response_id: str) -> bool:
        """Commit a wish; False, and nothing written, when the response has ended or is not this owner's."""
        ...

    async def wished(self) -> Collection[str]:
        """Return the ids of the responses that shall be cancelled and have not ended, whoever runs them."""
        ...


class TurnsAlive(Protocol):
    """The turns that have not ended, wherever they run."""

    async def lowest(self, conversation_id: str) -> int | None:
        """Return the first turn of a conversation whose response has not ended, None when there is none."""
        ...


class Fences(Protocol):
    """The numbers under which this server writes. Each is given out once, above all before it, and held by a lease."""

    @property
    def held(self) -> Collection[int]:
        """Every fence of this server."""
        ...

    async def draw(self, log: str) -> int:
        """Return a new fence, held from now on; `log` is the identity of the log that its owner will write to."""
        ...

    def drop(self, fence: int) -> None:
        """Hold this fence no longer: its lease runs out, and whatever is under it is taken over."""
        ...
