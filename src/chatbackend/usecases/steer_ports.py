"""What steering needs of the world: its Protocols, as `ports.py` has the others."""

from typing import Literal, Protocol

from chatbackend.domain.identity import Principal
from chatbackend.domain.steering import Steer


class Steers(Protocol):
    """The steering of stored responses: part of the truth. Every method is one transaction."""

    async def add(self, principal: Principal, steer: Steer) -> None:
        """Commit input for a response that runs; whoever ends it sees it from then on.

        Raises: NotFound, Conflict `response_already_completed` or `response_not_active`, RateLimited, Unavailable.
        """
        ...

    async def of(self, principal: Principal, response_id: str) -> list[Steer]:
        """Return what a caller's own response was steered with, in the order of the commits; items are left out."""
        ...

    async def settle(self, response_id: str, state: Literal["waiting", "failed"], failure: str | None = None) -> None:
        """Commit what becomes of everything that is queued for an ended response."""
        ...

    async def owed(self) -> list[str]:
        """Return the ids of responses, running or ended, with steering that nothing has become of."""
        ...
