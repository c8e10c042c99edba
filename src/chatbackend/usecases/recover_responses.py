"""What a dead server left is taken over: every response is run, run again, or ended. Never spliced.

The rule, per response that is not terminal in the truth:
- no upstream call was started: it is run;
- one call was started and no output event is in the log: it is run once more;
- anything else: it ends `incomplete`, with what the log holds as its partial output. So does one whose owners have died
  twice: it may be what kills them;
- one that somebody wished to be cancelled ends `cancelled`, whatever it had done.

A response that is terminal in the truth while its log lacks the end gets the terminal event that the truth
implies, and one that was steered its successor. Where the log may have lost its tail (loss of power, another Redis)
nothing is run again: readers may have seen more than the log holds, so the terminal event takes a number that was
never used.

The order is what makes it safe beside an owner that is not as dead as it seems. A new fence in the truth: the old owner
commits nothing more. The same fence opens the log: the old owner appends nothing more. Only then is the log read.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

from chatbackend.domain.context import characters
from chatbackend.domain.kept_answers import is_kept_answer
from chatbackend.domain.responses import CANCELLED, Response, end, interrupted
from chatbackend.domain.usage import CallOutcome, Settlement, estimate
from chatbackend.usecases.journal import Journal
from chatbackend.usecases.known_log import KnownLog
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.patience import recovered
from chatbackend.usecases.ports import Ended, LastingLog, LogEvent, Orphan, ReadAsk, Spawn
from chatbackend.usecases.replica_ports import Fences
from chatbackend.usecases.run_response import Ports, RunResponse
from chatbackend.usecases.steer_ports import Steers
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import Turns

_BEFORE_OUTPUT = frozenset(("response.created", "response.queued", "response.in_progress"))
MAX_TAKEOVERS = 2  # a response that has been taken over so often is not run again
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class _Found:
    """What is to be done, under a fence that was drawn for it, with a log of this identity."""

    orphans: Sequence[Orphan]
    ends: Sequence[Ended]
    steered: Sequence[Ended]  # their steering waits for somebody to see to it
    owed: Collection[str]  # every response of which some does, whoever has it
    fence: int
    log: str

    def lost_tail(self, orphan: Orphan) -> bool:
        """Return whether readers may have seen more than the log holds."""
        return orphan.log != self.log


class RecoverResponses:
    """Takes over what dead servers left: at the start where there is one server, now and then where there are many.

    It must only be called while every living server has had the time to renew its lease.
    """

    def __init__(
        self,
        ports: Ports,
        run: RunResponse,
        read_ask: ReadAsk,
        *,
        log: LastingLog,
        fences: Fences,
        known: KnownLog,
        steers: Steers,
        succeed: Succeed,
        live: Live,
        turns: Turns,
        spawn: Spawn,
        retry_s: float = 1.0,
    ) -> None:
        self._ports = ports
        self._run = run
        self._read_ask = read_ask
        self._log = log
        self._fences = fences
        self._known = known
        self._steers = steers
        self._succeed = succeed
        self._live = live
        self._turns = turns
        self._spawn = spawn
        self._retry_s = retry_s

    async def __call__(self) -> int:
        """Take it over, queue it in its conversations and start to work it off; return how many responses there were.

        Raises: Unavailable (whatever was taken is taken over once more, later).
        """
        if self._live.closed:
            return 0
        log = await self._log.identity()
        ends = [each for each in await self._ends() if self._ownerless(each)]
        owed = await self._steers.owed()
        steered = [each for each in await self._ended(owed) if each.fence is not None and self._ownerless(each)]
        self._known.seen(log, ends_missing=any(each.fence in self._fences.held for each in ends))
        await self._ports.truth.settle_abandoned()
        left = (*ends, *steered)
        others = [each for each in left if each.fence is not None and each.fence not in self._fences.held]
        fence, orphans = 0, list[Orphan]()
        if others or await self._ports.truth.orphans():
            fence = await self._fences.draw(log)
            try:
                while taken := await self._ports.truth.take_over(fence=fence):
                    orphans += taken
            except BaseException:  # they may be taken all the same, and nobody would know which
                self._fences.drop(fence)
                raise
        for orphan in orphans:
            self._turns.enter(orphan.response.conversation_id, orphan.response.turn)
        self._spawn(lambda: self._work_off(_Found(orphans, ends, steered, owed, fence, log)), name="recovery")
        return len(orphans)

    async def _ends(self) -> Sequence[Ended]:
        return await self._ended([stream for stream in await self._log.unended() if not is_kept_answer(stream)])

    async def _ended(self, response_ids: Sequence[str]) -> Sequence[Ended]:
        return await self._ports.truth.ended(response_ids) if response_ids else ()

    def _ownerless(self, ended: Ended) -> bool:
        """Return whether nobody is about to tell this end: its owner is dead, or is this server and thinks it has."""
        if ended.fence in self._fences.held:
            return self._live.running(ended.response_id) is None
        return not ended.owned

    async def _work_off(self, found: _Found) -> None:
        over: list[Response] = []
        for orphan in found.orphans:
            if not await self._patiently(partial(self._take_over, orphan, found)):
                self._turns.leave(orphan.response.conversation_id, orphan.response.turn)
                over.append(orphan.response)
        for ended in found.ends:
            await self._patiently(partial(self._complete, ended, found))
        steered = [Ended(each.id, each.fence, owned=True) for each in over if each.id in found.owed]
        for ended in (*found.steered, *steered):
            await self._patiently(partial(self._see_to_steering, ended, found))
        self._live.recovered.set()

    async def _patiently(self, step: Callable[[], Awaitable[bool]]) -> bool | None:
        return await recovered(
            step,
            self._ports.report,
            waiting="recovery waits for the store",
            failed="recovery failed for a response",
            retry_s=self._retry_s,
        )

    async def _take_over(self, orphan: Orphan, found: _Found) -> bool:
        """Run or end an orphan; return whether a task runs it that leaves its turn when it ends."""
        response, lost_tail = orphan.response, found.lost_tail(orphan)
        journal = self._journal(orphan)
        begun = await journal.open() > 0
        events = await self._events(response.id)
        silent = all(event.type in _BEFORE_OUTPUT for event in events)
        spent = orphan.attempts > 1 or orphan.takeovers >= MAX_TAKEOVERS
        if lost_tail or not silent or spent or orphan.cancel_requested:
            return await self._interrupt(orphan, journal, events, begun=begun, lost_tail=lost_tail)
        if await self._ports.truth.get(response.principal, response.id) is None:
            return False  # deleted since
        ask = replace(self._read_ask(orphan.body), items=await self._ports.truth.inputs(response.id))
        entry = self._live.add(response, ask)
        if response.id in found.owed:
            entry.steer()
        behind = response.status == "queued" and response.turn > 1
        calls = orphan.attempts
        self._spawn(lambda: self._run(entry, behind=behind, calls_before=calls), name=response.id)
        return True

    async def _interrupt(
        self, orphan: Orphan, journal: Journal, events: Sequence[LogEvent], *, begun: bool, lost_tail: bool
    ) -> bool:
        """End a response with the partial output that its log holds; the open ledger row becomes an estimate."""
        response = orphan.response
        response.output = self._ports.renderer.restore(events)
        if orphan.attempts:
            inputs = await self._ports.truth.context(response) + await self._ports.truth.inputs(response.id)
            response.usage = estimate(characters(inputs), characters([*response.output]))
        cancelled = orphan.cancel_requested
        end(response, CANCELLED if cancelled else interrupted(), at=int(self._ports.clock.now()))
        how: CallOutcome = "cancelled" if cancelled else "interrupted"
        settlement = None if response.usage is None else Settlement(response.usage, how)
        if await self._ports.truth.finish(response, None, settlement):
            await self._end(journal, orphan, begun=begun, lost_tail=lost_tail)
        return False

    async def _complete(self, ended: Ended, found: _Found) -> bool:
        """Append the terminal event of a response whose end is committed; forget the log of a deleted one."""
        if ended.fence is None:
            await self._log.delete(ended.response_id)
            return True
        own = ended.fence in self._fences.held  # it told the end, and the log has lost it
        orphan = await self._ports.truth.take_end(ended.response_id, fence=ended.fence if own else found.fence)
        if orphan is not None:
            journal = self._journal(orphan)
            begun = await journal.open() > 0
            extent = await self._log.extent(ended.response_id)
            if extent is None or not extent.ended:
                await self._end(journal, orphan, begun=begun, lost_tail=own or found.lost_tail(orphan))
        return True

    async def _see_to_steering(self, ended: Ended, found: _Found) -> bool:
        """Give an ended response its successor, or what else its steering comes to; one that runs does so itself."""
        fence = ended.fence if ended.fence is not None and ended.fence in self._fences.held else found.fence
        orphan = await self._ports.truth.take_end(ended.response_id, fence=fence)
        if orphan is not None:
            await self._succeed(Entry(orphan.response, self._read_ask(orphan.body), saved=True), self._run)
        return True

    async def _end(self, journal: Journal, orphan: Orphan, *, begun: bool, lost_tail: bool) -> None:
        """Tell the end; a stream that had not even begun gets its first event."""
        if not begun and not lost_tail:
            journal.created()
        await journal.end(orphan.response.terminal_event, number=orphan.numbers_reserved if lost_tail else None)

    def _journal(self, orphan: Orphan) -> Journal:
        async def reserve(numbers: int) -> None:
            await self._ports.truth.reserve(orphan.response, numbers=numbers)

        response = orphan.response
        return Journal(self._log, self._ports.renderer, response, fence=response.fence, reserve=reserve)

    async def _events(self, response_id: str) -> list[LogEvent]:
        found: list[LogEvent] = []
        while page := await self._log.read(response_id, after=found[-1].number if found else -1, limit=PAGE):
            found += page
        return found
