"""Answer a request that carries an Idempotency-Key: once, by a task of the process, out of a log.

The request's row is committed first, then the log begins, and only then is anybody asked. The bytes of the answer are
in the log before any client sees them; whoever asks, first or again, is a cursor on it.
"""

from dataclasses import dataclass

import anyio

from chatbackend.domain.errors import Conflict
from chatbackend.domain.identity import Principal
from chatbackend.domain.kept_answers import ENDS, ID_PREFIX
from chatbackend.usecases.follow_response import FROM_THE_START, Batches, follow
from chatbackend.usecases.live import Answering, Live
from chatbackend.usecases.ports import Begun, Once, Spawn
from chatbackend.usecases.record_answer import AnswerPorts, Asked, RecordAnswer, Work

IDLE_S = 15.0  # translated streams ping by themselves after 10 s of silence


@dataclass(frozen=True, slots=True)
class Answered:
    """The events of an answer from its first on; `fresh` is False where the request had come before."""

    events: Batches
    fresh: bool


class AnswerOnce:
    """The one way to an answer under a key, whatever its dialect."""

    def __init__(self, ports: AnswerPorts, live: Live, spawn: Spawn, *, idle_s: float = IDLE_S) -> None:
        self._ports = ports
        self._live = live
        self._spawn = spawn
        self._idle_s = idle_s

    async def __call__(self, principal: Principal, once: Once, work: Work, *, caller: bytes) -> Answered:
        """Return the answer, which is made whoever listens. `caller` is what `Tell` needs to know of who asks.

        Raises: Unprocessable, Conflict `idempotent_result_gone`, Unavailable (nobody was asked, the key is free).
        """
        answering = Answering(self._ports.new_id(ID_PREFIX), principal)
        begun = await self._begin(answering, Asked(principal, once, caller), work)
        running = self._live.answering(begun.response_id)
        if running is not None:
            await running.opened.wait()
            if running.refused is not None:
                raise running.refused
        elif not await self._is_kept(begun.response_id):
            message = "The answer to this request is no longer kept. Ask again under another Idempotency-Key."
            raise Conflict(message, code="idempotent_result_gone")
        return Answered(self._follow(begun.response_id), begun.fresh)

    async def _begin(self, answering: Answering, asked: Asked, work: Work) -> Begun:
        """Commit the row and start as one step. It is known here before its row is, so that a repeat finds both."""
        fresh = False
        self._live.enter(answering)
        try:
            with anyio.CancelScope(shield=True):
                begun = await self._ports.requests.begin(
                    asked.principal, asked.once, answering.id, fence=self._ports.fence
                )
                if begun.fresh:
                    self._spawn(lambda: self._run(answering, asked, work), name=answering.id)
                    fresh = True
                return begun
            raise AssertionError("a shielded scope swallows nothing")  # pragma: no cover
        finally:
            if not fresh:
                self._live.leave(answering)

    async def _run(self, answering: Answering, asked: Asked, work: Work) -> None:
        try:
            await RecordAnswer(self._ports, answering, asked)(work)
        finally:
            self._live.leave(answering)

    async def _is_kept(self, answer_id: str) -> bool:
        """Return whether there is a log of an answer, or will be one: asked last, since an end comes there first."""
        under_way = await self._ports.requests.under_way(answer_id) is not None
        return under_way or await self._ports.log.extent(answer_id) is not None

    def _follow(self, answer_id: str) -> Batches:
        async def goes_on() -> bool:
            return self._live.answering(answer_id) is not None or await self._is_kept(answer_id)

        return follow(self._ports.log, answer_id, after=FROM_THE_START, idle_s=self._idle_s, goes_on=goes_on, ends=ENDS)
