"""After a crash: every response that the dead owner left is run, run again, or ended. Never spliced.

The rule, per response that is not terminal in the truth:
- no upstream call was started: it is run;
- one call was started and no output event is in the log: it is run once more;
- anything else: it ends `incomplete`, with what the log holds as its partial output.

A response that is terminal in the truth while its log lacks the end gets the terminal event that the truth
implies, and one that was steered its successor. Where the log may have lost its tail (loss of power) nothing is run
again: readers may have seen more than the log holds, so the terminal event takes a number that was never used.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import anyio

from chatbackend.domain.context import characters
from chatbackend.domain.errors import Gone, Unavailable
from chatbackend.domain.kept_answers import is_kept_answer
from chatbackend.domain.responses import end, interrupted
from chatbackend.domain.usage import Settlement, estimate
from chatbackend.usecases.journal import Journal
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.ports import Fenced, LogEvent, Orphan, ReadAsk, Spawn, UnendedLog
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.steer_ports import Steers
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import Turns

_BEFORE_OUTPUT = frozenset(("response.created", "response.queued", "response.in_progress"))
PAGE = 1_000


class RecoverResponses:
    """Takes over what an earlier process left. Call once, before anything new is accepted."""

    def __init__(
        self,
        ports: Ports,
        run: RunResponse,
        read_ask: ReadAsk,
        *,
        log: UnendedLog,
        steers: Steers,
        succeed: Succeed,
        live: Live,
        turns: Turns,
        spawn: Spawn,
        lost_tail: bool,
        retry_s: float = 1.0,
    ) -> None:
        self._ports = ports
        self._run = run
        self._read_ask = read_ask
        self._log = log
        self._steers = steers
        self._succeed = succeed
        self._live = live
        self._turns = turns
        self._spawn = spawn
        self._lost_tail = lost_tail
        self._retry_s = retry_s
        self._steered: list[str] = []

    async def __call__(self) -> int:
        """Queue every orphan in its conversation and start to work them off; return how many there are."""
        orphans = await self._ports.truth.orphans()
        for orphan in orphans:
            self._turns.enter(orphan.response.conversation_id, orphan.response.turn)
        alive = {orphan.response.id for orphan in orphans}
        left = await self._log.unended()
        unended = [stream for stream in left if stream not in alive and not is_kept_answer(stream)]
        await self._ports.truth.settle_abandoned()
        self._steered = await self._steers.owed()
        self._spawn(lambda: self._work_off(orphans, unended), name="recovery")
        return len(orphans)

    async def _work_off(self, orphans: list[Orphan], unended: list[str]) -> None:
        for orphan in orphans:
            if not await self._patiently(partial(self._take_over, orphan)):
                self._turns.leave(orphan.response.conversation_id, orphan.response.turn)
        for response_id in unended:
            await self._patiently(partial(self._complete, response_id))
        for response_id in self._steered:
            await self._patiently(partial(self._see_to_steering, response_id))
        self._live.recovered.set()

    async def _patiently(self, step: Callable[[], Awaitable[bool]]) -> bool:
        """Take a step until the store lets it happen: the others must not go without an end for one of them."""
        while True:
            try:
                return await step()
            except (Fenced, Gone):  # somebody else has it, or it was deleted
                return False
            except Unavailable as error:
                self._ports.report("recovery waits for the store", error)
                await anyio.sleep(self._retry_s)
            except Exception as error:  # the edge of recovery: one that cannot be helped must not harm the others
                self._ports.report("recovery failed for a response", error)
                return False

    async def _take_over(self, orphan: Orphan) -> bool:
        """Run or end an orphan; return whether a task runs it that leaves its turn when it ends."""
        response = orphan.response
        events = await self._events(response.id)
        silent = all(event.type in _BEFORE_OUTPUT for event in events)
        if self._lost_tail or not silent or orphan.attempts > 1:
            return await self._interrupt(orphan, events)
        if await self._ports.truth.look(response.id) is None:
            return False  # deleted since
        ask = replace(self._read_ask(orphan.body), items=await self._ports.truth.inputs(response.id))
        entry = self._live.add(response, ask)
        if response.id in self._steered:
            entry.steer()
        behind = response.status == "queued" and response.turn > 1
        calls = orphan.attempts
        self._spawn(lambda: self._run(entry, behind=behind, calls_before=calls), name=response.id)
        return True

    async def _interrupt(self, orphan: Orphan, events: Sequence[LogEvent]) -> bool:
        """End a response with the partial output that its log holds; the open ledger row becomes an estimate."""
        response = orphan.response
        response.output = self._ports.renderer.restore(events)
        if orphan.attempts:
            inputs = await self._ports.truth.context(response) + await self._ports.truth.inputs(response.id)
            response.usage = estimate(characters(inputs), characters([*response.output]))
        end(response, interrupted(), at=int(self._ports.clock.now()))
        journal = await self._journal(orphan)
        settlement = None if response.usage is None else Settlement(response.usage, "interrupted")
        await self._ports.truth.finish(response, None, settlement)
        await self._end(journal, orphan)
        return False

    async def _complete(self, response_id: str) -> bool:
        """Append the terminal event of a response whose end is committed; forget the log of a deleted one."""
        found = await self._ports.truth.look(response_id)
        if found is None:
            await self._ports.stored_log.delete(response_id)
        elif found.response.ended:
            await self._end(await self._journal(found), found)
        return True

    async def _see_to_steering(self, response_id: str) -> bool:
        """Give an ended response its successor, or what else its steering comes to; one that runs does so itself."""
        found = await self._ports.truth.look(response_id)
        if found is not None and found.response.ended:
            entry = Entry(found.response, self._read_ask(found.body), saved=True)
            await self._succeed(entry, self._run)
        return True

    async def _end(self, journal: Journal, orphan: Orphan) -> None:
        number = orphan.numbers_reserved if self._lost_tail else None
        await journal.end(orphan.response.terminal_event, number=number)

    async def _journal(self, orphan: Orphan) -> Journal:
        """Take the stream over; one that had not even begun gets its first event."""
        journal = Journal(
            self._ports.stored_log, self._ports.renderer, orphan.response, fence=self._ports.fence, reserve=None
        )
        if await journal.open() == 0 and not self._lost_tail:
            journal.created()
        return journal

    async def _events(self, response_id: str) -> list[LogEvent]:
        found: list[LogEvent] = []
        while page := await self._ports.stored_log.read(
            response_id, after=found[-1].number if found else -1, limit=PAGE
        ):
            found += page
        return found
