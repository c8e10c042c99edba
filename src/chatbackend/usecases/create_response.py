"""Create a response: commit it, then give it to a task of the process; or find the one already made."""

from dataclasses import dataclass

import anyio

from chatbackend.domain.errors import Conflict
from chatbackend.domain.identity import Principal
from chatbackend.domain.responses import Ask, Response
from chatbackend.usecases.live import Live
from chatbackend.usecases.ports import Begun, Once, Spawn
from chatbackend.usecases.prepare_request import refuse_if_none_takes
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.turns import Turns


@dataclass(frozen=True, slots=True)
class Created:
    """An acknowledged response; `fresh` is False when this request had made it before."""

    response_id: str
    store: bool
    fresh: bool


class CreateResponse:
    """The one way a response comes into being, over HTTP and sockets alike."""

    def __init__(self, ports: Ports, run: RunResponse, *, live: Live, turns: Turns, spawn: Spawn) -> None:
        self._ports = ports
        self._run = run
        self._live = live
        self._turns = turns
        self._spawn = spawn

    async def __call__(self, ask: Ask, principal: Principal, once: Once | None = None) -> Created:
        """Acknowledge a response: once this returns it is committed and has an owner.

        Raises: NotFound (model, conversation), InvalidRequest, Unprocessable, Conflict
        `idempotent_result_gone`, Unavailable (nothing was committed).
        """
        models = self._ports.ask.models
        route = models.route(ask.model)
        refuse_if_none_takes(ask, [models.find(target.deployment) for target in route.targets])
        response = Response(
            self._ports.new_id("resp"),
            principal,
            route.name,
            int(self._ports.clock.now()),
            store=ask.store,
            background=ask.background,
            previous_response_id=ask.previous_response_id,
            conversation_id=ask.conversation_id,
            instructions=ask.instructions,
            metadata=ask.metadata,
            shown=ask.shown,
            stream_id=ask.stream_id,
            fence=self._ports.fence,
        )
        with self._live.room(principal):
            begun = await self._begin(response, ask, once)
        if not begun.fresh and not ask.store and self._live.unstored(principal, begun.response_id) is None:
            message = "The answer to this request was not stored and is no longer kept."
            raise Conflict(message, code="idempotent_result_gone")
        return Created(begun.response_id, ask.store, begun.fresh)

    async def _begin(self, response: Response, ask: Ask, once: Once | None) -> Begun:
        """Commit and start as one step: a caller that hangs up now leaves no response without an owner."""
        with anyio.CancelScope(shield=True):
            begun = await self._ports.truth.begin(response, ask, once)
            if begun.steering:
                ask.items = [*begun.steering, *ask.items]
            if begun.fresh:
                self._start(response, ask, behind=begun.behind)
            return begun
        raise AssertionError("a shielded scope swallows nothing")  # pragma: no cover

    def _start(self, response: Response, ask: Ask, *, behind: bool) -> None:
        self._turns.enter(response.conversation_id, response.turn)
        entry = self._live.add(response, ask)
        self._spawn(lambda: self._run(entry, fresh=True, behind=behind), name=response.id)
