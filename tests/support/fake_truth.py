"""`Truth` and `Fences` by hand, in memory; what is done is written down."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

import anyio

from chatbackend.domain.errors import Unprocessable
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import Item
from chatbackend.domain.responses import NUMBERS_PER_BLOCK, Ask, Response
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.usecases.ports import Begun, Call, Ended, Fenced, Once, Orphan
from tests.support.steer_fakes import FakeSteers


@dataclass
class Trouble:
    """Errors that methods of a fake raise, one a call, by the method's name."""

    waiting: dict[str, list[Exception]] = field(default_factory=dict[str, list[Exception]])

    def plan(self, method: str, *errors: Exception) -> None:
        """Let the next calls of a method fail."""
        self.waiting.setdefault(method, []).extend(errors)

    def strike(self, method: str) -> None:
        """Raise what is planned for this call."""
        if planned := self.waiting.get(method):
            raise planned.pop(0)


@dataclass
class Row:
    """A stored response."""

    response: Response
    ask: Ask
    numbers_reserved: int = NUMBERS_PER_BLOCK
    takeovers: int = 0
    cancel_requested: bool = False


class FakeTruth:
    """`Truth` in memory. Fences in `living` are held by somebody; `logs` is what their owners knew of the event log."""

    def __init__(self, happened: list[str], trouble: Trouble) -> None:
        self.rows: dict[str, Row] = {}
        self.ledger: dict[str, tuple[str, str, Usage | None]] = {}  # call -> response, state, usage
        self.once: dict[tuple[str, str | None], tuple[str, str]] = {}  # path, key -> body hash, response
        self.conversations: dict[str, int] = {}
        self.living: set[int] = {1}
        self.logs: dict[int, str] = {0: "log"}
        self.steers = FakeSteers(self._found, trouble.strike)
        self._happened = happened
        self._trouble = trouble

    def _found(self, response_id: str) -> Response | None:
        row = self.rows.get(response_id)
        return None if row is None else row.response

    async def _do(self, method: str, about: str) -> None:
        await anyio.lowlevel.checkpoint()
        self._trouble.strike(method)
        self._happened.append(f"{method} {about}")

    async def begin(self, response: Response, ask: Ask, once: Once | None) -> Begun:
        await self._do("begin", response.id)
        if once is not None and (known := self.once.get((once.path, once.key))) is not None:
            if known[0] != once.body_hash:
                raise Unprocessable("another body")
            return Begun(known[1], fresh=False)
        behind = self._take_turn(response)
        if once is not None:
            self.once[once.path, once.key] = once.body_hash, response.id
        steering = [] if ask.steering is None else self.steers.take(response, ask)
        if response.store:
            self.rows[response.id] = Row(deepcopy(response), replace(ask, items=[*steering, *ask.items]))
        return Begun(response.id, fresh=True, behind=behind, steering=steering)

    def _take_turn(self, response: Response) -> bool:
        name = response.conversation_id
        if name is None:
            return False
        behind = any(row.response.conversation_id == name and not row.response.ended for row in self.rows.values())
        response.turn = self.conversations[name] = self.conversations.get(name, 0) + 1
        return behind

    async def start(self, response: Response, call: Call, *, before: Settlement | None = None) -> None:
        await self._do("start", f"{response.id} {call.attempt}")
        self._check_owner(response)
        for known, (owner, state, usage) in self.ledger.items():
            if owner == response.id and state == "started":
                self.ledger[known] = owner, before.outcome if before else "interrupted", usage
        self.ledger[call.id] = response.id, "started", None
        if response.id in self.rows:
            self.rows[response.id].response.status = "in_progress"

    async def reserve(self, response: Response, *, numbers: int) -> None:
        await self._do("reserve", f"{response.id} {numbers}")
        self._check_owner(response)
        self.rows[response.id].numbers_reserved = numbers

    async def finish(self, response: Response, call: Call | None, settlement: Settlement | None) -> bool:
        await self._do("finish", f"{response.id} {response.status}")
        self._check_owner(response)
        for known, (owner, state, _) in self.ledger.items():
            if owner == response.id and state == "started" and (call is None or call.id == known):
                ended = settlement or Settlement(Usage(), "interrupted")
                self.ledger[known] = owner, ended.outcome, ended.usage
        if not response.store:
            return True
        row = self.rows.get(response.id)
        if row is not None and not row.response.ended:
            row.response = deepcopy(response)
        return row is not None

    def _check_owner(self, response: Response) -> None:
        row = self.rows.get(response.id)
        if row is not None and row.response.fence != response.fence:
            raise Fenced

    async def context(self, response: Response) -> list[Item]:
        await self._do("context", response.id)
        row = self.rows.get(response.previous_response_id or "")
        if row is not None:
            return [*row.ask.items, *row.response.output]
        turns = [
            row
            for row in self.rows.values()
            if row.response.conversation_id == response.conversation_id and row.response.turn < response.turn
        ]
        return [item for row in turns for item in [*row.ask.items, *row.response.output]]

    async def inputs(self, response_id: str) -> list[Item]:
        return list(self.rows[response_id].ask.items)

    async def get(self, principal: Principal, response_id: str) -> Response | None:
        await anyio.lowlevel.checkpoint()
        self._trouble.strike("get")
        row = self.rows.get(response_id)
        return deepcopy(row.response) if row is not None and row.response.principal == principal else None

    async def delete(self, principal: Principal, response_id: str) -> bool:
        await self._do("delete", response_id)
        return await self.get(principal, response_id) is not None and self.rows.pop(response_id, None) is not None

    def _left(self) -> list[Row]:
        alive = [row for row in self.rows.values() if not row.response.ended]
        return [row for row in alive if row.response.fence not in self.living]

    async def orphans(self) -> int:
        return len(self._left())

    async def take_over(self, *, fence: int) -> list[Orphan]:
        await self._do("take_over", str(fence))
        return [self._taken(row, fence) for row in self._left()]

    def _taken(self, row: Row, fence: int) -> Orphan:
        log = self.logs.get(row.response.fence)
        row.response.fence, row.takeovers = fence, row.takeovers + 1
        return self._orphan(row, log)

    async def owned(self, *, fence: int, before: float) -> list[str]:
        await self._do("owned", f"{fence} {before:.0f}")
        return [
            name for name, row in self.rows.items() if row.response.fence == fence and row.response.created_at < before
        ]

    async def disown(self, response_id: str, *, fence: int, to: int) -> None:
        await self._do("disown", response_id)
        self.rows[response_id].response.fence = to

    async def ended(self, response_ids: Sequence[str]) -> list[Ended]:
        known = [(name, self.rows.get(name)) for name in response_ids]
        return [
            Ended(name, row and row.response.fence, row is not None and row.response.fence in self.living)
            for name, row in known
            if row is None or row.response.ended
        ]

    async def take_end(self, response_id: str, *, fence: int) -> Orphan | None:
        await self._do("take_end", f"{response_id} {fence}")
        row = self.rows.get(response_id)
        if row is None or (row.response.fence != fence and row.response.fence in self.living):
            return None
        log = self.logs.get(row.response.fence)
        row.response.fence = fence
        return self._orphan(row, log)

    async def settle_abandoned(self) -> int:
        await self._do("settle_abandoned", "")
        return 0

    def _orphan(self, row: Row, log: str | None) -> Orphan:
        attempts = sum(owner == row.response.id for owner, _, _ in self.ledger.values())
        return Orphan(
            deepcopy(row.response),
            row.ask.body,
            attempts,
            row.numbers_reserved,
            row.takeovers,
            log,
            cancel_requested=row.cancel_requested,
        )

    def states(self) -> list[str]:
        """Return the states of all ledger rows."""
        return [state for _, state, _ in self.ledger.values()]


class FakeFences:
    """`Fences` of one server: the first is 1. `living` are held; `logs` is what their owners know of the log."""

    def __init__(self, living: set[int], logs: dict[int, str]) -> None:
        self.held = {1}
        self._last = 1
        self._living = living
        self._logs = logs

    async def draw(self, log: str) -> int:
        """See `Fences.draw`."""
        fence = self._last = self._last + 1
        self.held.add(fence)
        self._living.add(fence)
        self._logs[fence] = log
        return fence

    def drop(self, fence: int) -> None:
        """See `Fences.drop`."""
        self.held.remove(fence)
        self._living.remove(fence)
