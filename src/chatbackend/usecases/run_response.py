"""Run one response to its end: wait for its turn, search, call the model, log, commit, end the stream.

Order of truth: items, usage and status are committed first, then the terminal event is appended. The
task belongs to the process; whoever watches is only a cursor on the log.
"""

from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial

import anyio

from chatbackend.domain.answer import Answer
from chatbackend.domain.citations import CitationScanner
from chatbackend.domain.context import outputs_first, question
from chatbackend.domain.errors import ChatError, Gone, Internal, Unavailable
from chatbackend.domain.events import ModelEvent
from chatbackend.domain.items import FunctionCall, Item, SearchResult
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.passages import Passage
from chatbackend.domain.responses import (
    COMPLETED,
    DEADLINE,
    INTERRUPTED,
    TURNED,
    Outcome,
    Response,
    Served,
    end,
    failed,
    finished,
    interrupted,
)
from chatbackend.domain.usage import Settlement
from chatbackend.usecases.ask_model import Asking, AskModel
from chatbackend.usecases.journal import Journal
from chatbackend.usecases.live import Entry, Live
from chatbackend.usecases.patience import waits
from chatbackend.usecases.ports import (
    Call,
    Clock,
    Deployment,
    EventLog,
    Fenced,
    NewId,
    Renderer,
    Report,
    SearchPassages,
    Truth,
)
from chatbackend.usecases.prepare_request import PrepareRequest
from chatbackend.usecases.succeed_response import Succeed
from chatbackend.usecases.turns import Turns

RESERVE_PATIENCE_S = 30.0  # of a stream that needs more numbers, before it is given up
RESERVE_RETRY_S = 0.2


@dataclass(frozen=True, slots=True)
class Ports:
    """What running responses needs of the world."""

    truth: Truth
    stored_log: EventLog
    unstored_log: EventLog
    ask: AskModel
    search: SearchPassages
    prepare: PrepareRequest
    renderer: Renderer
    clock: Clock
    new_id: NewId
    report: Report
    fence: int
    deadline_s: float

    def log(self, *, store: bool) -> EventLog:
        """Return the log that a response's events go to."""
        return self.stored_log if store else self.unstored_log


class RunResponse:
    """Owns responses from `queued` to their terminal event; `succeed` sees to what they were steered with."""

    def __init__(self, ports: Ports, live: Live, turns: Turns, succeed: Succeed) -> None:
        self._ports = ports
        self._live = live
        self._turns = turns
        self._succeed = succeed

    async def __call__(self, entry: Entry, *, fresh: bool = False, behind: bool = False, calls_before: int = 0) -> None:
        """Run a registered response to its end; also when cancelled: then it ends `interrupted` first.

        `fresh`: nobody has run it. `behind`: it starts out queued. `calls_before` were started by an earlier process.
        """
        run = _Run(self._ports, self._live, entry, fresh=fresh, calls_before=calls_before)
        outcome = interrupted()
        try:
            outcome = await self._outcome(run, behind=behind)
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    await self._end(run, outcome)
                    if entry.steered and entry.saved:
                        await self._succeed(entry, self)
            finally:  # whatever happens, who waits for it goes on
                run.let_go()
                self._turns.leave(entry.response.conversation_id, entry.response.turn)
                self._live.ended(entry)

    async def _outcome(self, run: "_Run", *, behind: bool) -> Outcome:
        """Generate, with the journal written behind it where that takes waiting."""
        if not run.pumped:
            return await self._generate(run, behind=behind)
        outcome = interrupted()
        async with anyio.create_task_group() as group:
            group.start_soon(run.pump)
            outcome = await self._generate(run, behind=behind)
            group.cancel_scope.cancel()
        return run.entry.outcome or outcome

    async def _generate(self, run: "_Run", *, behind: bool) -> Outcome:
        """Generate within the deadline; every failure becomes an outcome."""
        entry, outcome = run.entry, interrupted()
        with entry.scope:
            try:
                await run.open(behind=behind)
                await self._turns.wait(entry.response.conversation_id, entry.response.turn, behind=behind)
                entry.scope.deadline = anyio.current_time() + self._ports.deadline_s
                outcome = await run.generate()
            except Fenced:
                entry.fenced = True
            except ChatError as error:
                outcome = failed(error)
            except Exception as error:  # the edge of an owned task: it must end, and be seen
                self._ports.report("a response failed unexpectedly", error)
                outcome = failed(Internal("The server failed while it made this response."))
        if entry.outcome is None and entry.scope.cancelled_caught:  # by nobody
            return Outcome("incomplete", detail=DEADLINE)
        return entry.outcome or outcome

    async def _end(self, run: "_Run", outcome: Outcome) -> None:
        """Save the end, however long the store refuses it; a stopping server leaves it to the next start."""
        pauses = waits()
        while not run.entry.fenced:
            try:
                return await run.save(outcome)
            except Fenced:
                run.entry.fenced = True
            except Unavailable as error:
                self._ports.report("the end of a response could not be saved yet", error)
                if self._live.closed:
                    return
                await anyio.sleep(next(pauses))


class _Run:
    """The state of one run."""

    def __init__(self, ports: Ports, live: Live, entry: Entry, *, fresh: bool, calls_before: int) -> None:
        self._ports = ports
        self._live = live
        self.entry = entry
        self._response = entry.response
        self._fresh = fresh
        self._calls_before = calls_before
        self._answer = Answer(ports.new_id)
        self._asking: Asking | None = None
        self._found: tuple[str, list[Passage]] = "", []
        self._opened = self._closed = False
        self._journal = Journal(
            ports.log(store=entry.response.store),
            ports.renderer,
            entry.response,
            fence=entry.response.fence,
            reserve=partial(_reserve, ports, live, entry.response) if entry.response.store else None,
        )

    @property
    def pumped(self) -> bool:
        """Whether somebody must `pump` while it generates."""
        return self._journal.pumped

    async def open(self, *, behind: bool) -> None:
        """Take the stream; a fresh one begins with `response.created`, which is never emitted again."""
        fresh = await self._journal.open(fresh=self._fresh) == 0
        self._opened = True
        self._response.status = "queued" if behind else "in_progress"
        if fresh:
            self._journal.lifecycle("response.created")
            if behind:
                self._journal.lifecycle("response.queued")
            await self._keep_up()

    async def pump(self) -> None:
        """Write the journal; when that fails, end the run."""
        try:
            await self._journal.pump()
        except Fenced:
            self.entry.leave()
        except ChatError as error:
            self.entry.stop(failed(error))

    async def generate(self) -> Outcome:
        """Search, ask the model and fold its answer; return how it ended."""
        ask = self.entry.ask
        self._response.status = "in_progress"
        self._journal.lifecycle("response.in_progress")
        await self._keep_up()
        if not ask.generate:
            return COMPLETED
        route = self._ports.ask.models.route(self._response.model)
        context = ask.local_context if ask.local_context is not None else await self._context()
        items = outputs_first(context + ask.items)
        query, passages = await self._search(items)
        self._found = query, passages

        async def shape(deployment: Deployment) -> ModelRequest:
            return await self._ports.prepare(
                ask, self._response.principal, items=items, passages=passages, deployment=deployment
            )

        self._asking = self._ports.ask(route, shape, self, calls_before=self._calls_before)
        await self._asking.open()
        scanner = CitationScanner(passages)
        async with aclosing(self._asking.events()) as events:
            async for event in events:
                if not await self._take(scanner.feed(event)):
                    return TURNED
        await self._take(scanner.end())
        return finished(self._answer.finish or "stop")

    async def begin(self, call: Call, before: Settlement | None) -> None:
        """Write down an upstream call before it is made; see `Book.begin`."""
        await self._ports.truth.start(self._response, call, before=before)
        found, self._found = self._found, ("", [])
        self._show_search(*found)  # after `start`: output in the log means that a call was started

    async def save(self, outcome: Outcome) -> None:
        """Commit the end, then append the terminal event. Called again after Unavailable, it goes on where it was."""
        if not self._opened:
            await self.open(behind=False)
        if not self._closed:
            self._journal.steps(self._answer.close(outcome))
            self._response.output = self._answer.items
            self._show_serving()
            end(self._response, outcome, at=int(self._ports.clock.now()))
            self._closed = True
        with suppress(Gone):
            await self._journal.flush()
        if not self.entry.saved:
            call = self._asking.call if self._asking else None
            self.entry.saved = await self._ports.truth.finish(self._response, call, self._settlement())
        if self.entry.saved:
            with suppress(Gone):  # deleted meanwhile
                await self._journal.end(self._response.terminal_event)

    def let_go(self) -> None:
        """Drop the call, which holds on to this run: in a circle all of it would wait for the garbage collector."""
        self._asking = None

    def _settlement(self) -> Settlement | None:
        """Return the bill of the last call, None when nobody was asked."""
        if self._asking is None or self._asking.call is None:
            return None
        settlement = self._asking.settlement()
        if settlement.outcome == "cancelled" and self._response.detail == INTERRUPTED:
            return replace(settlement, outcome="interrupted")
        return settlement

    async def _context(self) -> list[Item]:
        response = self._response
        if response.conversation_id is None and response.previous_response_id is None:
            return []
        return await self._ports.truth.context(response)

    async def _search(self, items: list[Item]) -> tuple[str, list[Passage]]:
        """Search the request's vector stores before the model is asked; ("", []) without a search."""
        ask, query = self.entry.ask, question(items)
        if ask.file_search is None or ask.tool_choice.mode == "none" or not query:
            return "", []
        return query, await self._ports.search(self._response.principal, query, ask.file_search)

    def _show_search(self, query: str, passages: list[Passage]) -> None:
        if query:
            self.entry.shown = True
            self._journal.steps(self._answer.search_started(query))
            shown = _shown(passages) if self.entry.ask.include_search_results else None
            self._journal.steps(self._answer.search_ended(shown))

    async def _take(self, events: list[ModelEvent]) -> bool:
        """Fold events in; False: the response was steered, and stops before the item that comes next."""
        for event in events:
            if self.entry.turning and self._may_turn(event):
                return False
            steps = self._answer.feed(event)
            if steps:
                self.entry.whole, self.entry.shown = False, True
                self._journal.steps(steps)
        if self._journal.full:  # `_keep_up`, without a call a token
            await self._journal.flush()
        return True

    async def _keep_up(self) -> None:
        """Wait where the log lags behind."""
        if self._journal.full:
            await self._journal.flush()

    def _may_turn(self, event: ModelEvent) -> bool:
        """Whether the answer is whole before this event; calls want their outputs, so it goes on behind one."""
        called = any(isinstance(item, FunctionCall) for item in self._answer.items)
        return not called and self._answer.begins_item(event)

    def _show_serving(self) -> None:
        """Tell in the response what it cost and who answered, if anybody was asked."""
        asking = self._asking
        if asking is not None and asking.call is not None:
            self._response.usage = asking.usage()
            self._response.served = Served(asking.call.model, asking.attempts, asking.continued)


async def _reserve(ports: Ports, live: Live, response: Response, numbers: int) -> None:
    """Reserve numbers, patiently: a truth that is away for a while must not end what is streamed meanwhile."""
    with anyio.move_on_after(RESERVE_PATIENCE_S):
        while not live.closed:
            with suppress(Unavailable):
                return await ports.truth.reserve(response, numbers=numbers)
            await anyio.sleep(RESERVE_RETRY_S)
    return await ports.truth.reserve(response, numbers=numbers)


def _shown(passages: list[Passage]) -> list[SearchResult]:
    return [SearchResult(hit.file_id, hit.filename, hit.score, hit.text, dict(hit.attributes)) for hit in passages]
