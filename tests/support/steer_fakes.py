"""`Steers` in memory, beside the fake truth."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from chatbackend.domain.errors import Conflict
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.responses import Ask, Response
from chatbackend.domain.steering import Steer, over, refuse_many, unknown


class FakeSteers:
    """`look` returns a stored response; `strike` raises what is planned for a method."""

    def __init__(self, look: Callable[[str], Response | None], strike: Callable[[str], None]) -> None:
        self.rows: list[Steer] = []
        self._look = look
        self._strike = strike

    async def add(self, principal: Principal, steer: Steer) -> None:
        """See `Steers.add`."""
        self._strike("add_steer")
        found = self._look(steer.response_id)
        if found is None:
            raise unknown(steer.response_id)
        if found.ended:
            raise over(found)
        known = [row for row in self.rows if row.response_id == steer.response_id]
        refuse_many(len(known) + 1, 0)
        self.rows.append(replace(steer))

    async def of(self, principal: Principal, response_id: str) -> list[Steer]:
        """See `Steers.of`."""
        self._strike("of")
        return [replace(row, items=[]) for row in self.rows if row.response_id == response_id]

    async def settle(self, response_id: str, state: Literal["waiting", "failed"], failure: str | None = None) -> None:
        """See `Steers.settle`."""
        self._strike("settle")
        for row in self.rows:
            if row.response_id == response_id and row.state == "queued":
                row.state, row.failure = state, failure

    async def owed(self) -> list[str]:
        """See `Steers.owed`."""
        return sorted({row.response_id for row in self.rows if row.state == "queued"})

    def take(self, response: Response, ask: Ask) -> list[Item]:
        """Let a new response take over what waits."""
        rows = [
            row
            for row in self.rows
            if row.response_id == response.previous_response_id
            and row.state == ask.steering
            and row.lane == response.stream_id
        ]
        if not rows and ask.steering == "queued":
            raise Conflict("Nothing is left.")
        for row in rows:
            row.state, row.successor_id = "taken" if ask.steering == "queued" else "joined", response.id
        return [item for row in rows for item in row.items]
