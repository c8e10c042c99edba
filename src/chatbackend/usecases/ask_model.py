"""Ask the deployments of a route until one answers: again or elsewhere before the first token, typed after it.

After the first token a fault ends the answer, unless the route asks for a continuation and a deployment takes the text
so far to go on from: the answer is then marked as continued.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

import anyio

from chatbackend.domain.context import characters
from chatbackend.domain.errors import ChatError, InvalidRequest, UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.events import (
    Finished,
    FinishReason,
    ModelEvent,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)
from chatbackend.domain.items import Message, OutputText
from chatbackend.domain.models import ModelRequest
from chatbackend.domain.routing import Health, Journey, Pace, Route, Step
from chatbackend.domain.seam import Seam
from chatbackend.domain.usage import CallOutcome, Settlement, Usage, estimate, of_part
from chatbackend.usecases.ports import Call, Deployment, Models, NewId
from chatbackend.usecases.travel import travel, until, within

Shape = Callable[[Deployment], Awaitable[ModelRequest]]
Events = AsyncGenerator[ModelEvent, None]
_CUT_SHORT: frozenset[FinishReason] = frozenset(("length", "content_filter"))


class Book(Protocol):
    """Where the calls of one answer are written down."""

    async def begin(self, call: Call, before: Settlement | None) -> None:
        """Commit the row of a call; nothing is dialled before. `before` settles the call that it takes the place of."""
        ...


@dataclass(frozen=True, slots=True)
class AskModel:
    """What asking needs of the world. `chance` gives numbers of [0, 1), `now` monotonic seconds."""

    models: Models
    health: Health
    new_id: NewId
    chance: Callable[[], float]
    now: Callable[[], float]

    def __call__(self, route: Route, shape: Shape, book: Book, *, calls_before: int = 0) -> "Asking":
        """Return a call that is about to be made; `shape` makes its request for a deployment.

        `calls_before`: calls that an earlier process made for the same answer.
        """
        return Asking(self, route, shape, book, calls_before=calls_before)


@dataclass(slots=True)
class _Heard:
    """What one call has said so far, for the bill and to be continued. Until it is heard to end, we hang up on it."""

    input_characters: int = 0
    output_characters: int = 0
    reported: Usage | None = None
    finished: bool = False
    outcome: CallOutcome = "cancelled"

    def take(self, event: ModelEvent) -> None:
        match event:
            case (
                TextDelta(text=text)
                | ReasoningDelta(text=text)
                | RefusalDelta(text=text)
                | ToolCallDelta(arguments=text)
            ):
                self.output_characters += len(text)
            case UsageReported(usage=usage):
                self.reported = usage
            case Finished(reason=reason):
                self.finished = True
                self.outcome = "incomplete" if reason in _CUT_SHORT else "completed"
            case _:
                pass

    def fail(self, *, unheard: bool = False) -> None:
        """Note a fault; a call that was refused `unheard` costs what the provider has reported, or nothing."""
        self.outcome = "failed"
        if unheard:
            self.input_characters = self.output_characters = 0

    def usage(self) -> Usage:
        guess = estimate(self.input_characters, self.output_characters)
        if self.reported is None or self.finished:
            return self.reported or guess
        return of_part(self.reported, guess)


class Asking:
    """One answer on its way. `open`, then `events` to its end; `call` is the upstream call that is not settled yet."""

    def __init__(self, ports: AskModel, route: Route, shape: Shape, book: Book, *, calls_before: int) -> None:
        self.call: Call | None = None
        self.deployment: Deployment | None = None
        self.continued = False
        self._ports = ports
        self._rules = route.rules
        self._journey = Journey(route, ports.health, ports.chance)
        self._shape = shape
        self._book = book
        self._calls = calls_before
        self._heard = _Heard()
        self._spent: Usage | None = None  # by calls of this answer that another one continued
        self._held: list[ModelEvent] = []
        self._events: Events | None = None
        self._said: list[str] | None = [] if route.rules.on_cut == "continue" else None
        self._block = 0
        self._ends_at = inf
        self._dialled = ""  # the full name of the deployment that was dialled last

    @property
    def attempts(self) -> int:
        """How many calls were made, those of an earlier process among them."""
        return self._calls

    def settlement(self) -> Settlement:
        """Return what the call that is not settled yet has used so far, and how it ended."""
        return Settlement(self._heard.usage(), self._heard.outcome)

    def usage(self) -> Usage:
        """Return what the whole answer has used so far."""
        return self._heard.usage() if self._spent is None else self._spent + self._heard.usage()

    async def open(self) -> None:
        """Dial until an answer begins.

        Raises: UpstreamError (and below), InvalidRequest for what no deployment of the route takes.
        """
        await self._open(None)

    async def events(self) -> Events:
        """Yield the answer. Use with `aclosing`: closing it hangs up.

        Raises: UpstreamError (and below).
        """
        seam: Seam | None = None
        try:
            while True:
                try:
                    async with aclosing(self._paced()) as events:
                        async for event in events:
                            for new in (event,) if seam is None else _joined(event, seam, self._block):
                                self._note(new)
                                yield new
                except UpstreamError as error:
                    seam = await self._go_on(error)
                except ChatError:
                    self._heard.fail()
                    raise
                else:
                    return
        finally:
            await self.close()

    async def close(self) -> None:
        """Hang up."""
        events, self._events = self._events, None
        if events is not None:
            await events.aclose()

    async def _open(self, seam: Seam | None) -> None:
        await travel(self._journey, lambda step: self._dial(step, seam), self._ports.now)

    async def _dial(self, step: Step, seam: Seam | None) -> None:
        deployment = self._ports.models.find(step.deployment)
        request = await self._shape(deployment)
        if seam is not None:
            request = _continuing(request, seam, deployment)
        limits = self._rules.timeouts
        events = deployment.model.stream(request, limits)  # what it has no words for is refused here
        heard = _Heard(characters(request.items) + len(request.instructions or ""))
        call = Call(self._ports.new_id("call"), self._calls + 1, deployment.name, heard.usage().input_tokens)
        with anyio.CancelScope(shield=True):  # given up here, a row would be left that nobody settles
            await self._book.begin(call, None if self.call is None else self.settlement())
        self._calls, self._dialled = call.attempt, deployment.name
        self.call, self.deployment, self._heard, self._events = call, deployment, heard, events
        self._ends_at = anyio.current_time() + (limits.total_s or inf)
        try:
            with within(min(limits.first_token_s or inf, limits.total_s or inf)):
                self._held = await self._beginning(self._events)
        except TimeoutError as error:
            await self.close()
            heard.fail()
            raise UpstreamTimeout("The provider did not begin its answer in time.") from error
        except ChatError as error:
            await self.close()
            heard.fail(unheard=not isinstance(error, UpstreamTimeout | UpstreamCut))
            raise

    async def _beginning(self, events: Events) -> list[ModelEvent]:
        """Return the events up to the first that says something; reports of usage come before it."""
        held: list[ModelEvent] = []
        async for event in events:
            self._heard.take(event)
            held.append(event)
            if not isinstance(event, UsageReported):
                return held
        raise UpstreamCut("The provider's answer ended before it began.")

    async def _paced(self) -> Events:
        """Yield the events of the call that is open, within the route's limits."""
        events, limits = self._events, self._rules
        if events is None:  # pragma: no cover - `open` comes first
            raise AssertionError
        held, self._held = self._held, []
        for event in held:
            yield event
        pace = Pace(limits, now=anyio.current_time()) if limits.min_tokens_per_s else None
        gap_s = limits.timeouts.between_tokens_s or inf
        timed = until(events, self._ends_at, gap_s) if min(self._ends_at, gap_s) < inf else events
        try:
            async with aclosing(timed) as rest:
                async for event in rest:
                    self._heard.take(event)
                    came_at = anyio.current_time() if pace else 0.0
                    if pace and pace.slow(_tokens(event), came_at) and not self._heard.finished:
                        raise UpstreamTimeout("The provider answers too slowly.", code="upstream_slow")
                    yield event
                    if pace:
                        pace.skip(anyio.current_time() - came_at)  # who listens may be slow, too
        except UpstreamTimeout:
            if not self._heard.finished:  # else the answer is whole, whatever its stream goes on with
                raise
        if not self._heard.finished:
            raise UpstreamCut("The provider's answer ended before its end.")

    def _note(self, event: ModelEvent) -> None:
        """Keep what may have to be continued: text alone can be."""
        if self._said is None or isinstance(event, UsageReported):
            return
        if isinstance(event, TextDelta):
            self._said.append(event.text)
            self._block = event.index
        else:
            self._said = None

    async def _go_on(self, error: UpstreamError) -> Seam:
        """Find who continues the answer. Raises: `error`, where nobody does."""
        self._heard.fail()
        await self.close()
        with suppress(ChatError):
            self._journey.failed(self._dialled, error, self._ports.now())
        if not self._said or self._heard.finished:
            raise error
        cut, spent = self.call, self._heard.usage()
        seam = Seam("".join(self._said))
        try:
            await self._open(seam)
        except BaseException as failure:
            if self.call is not cut:
                self._spend(spent)
            if isinstance(failure, ChatError):
                raise error from None
            raise
        self._spend(spent)
        self.continued = True
        return seam

    def _spend(self, usage: Usage) -> None:
        """Add what a call used that another one takes the place of."""
        self._spent = usage if self._spent is None else self._spent + usage


def _continuing(request: ModelRequest, seam: Seam, deployment: Deployment) -> ModelRequest:
    """Return the request with the beginning of its answer. Raises: InvalidRequest for a model that takes none."""
    if not deployment.model.profile.accepts_prefill:
        raise InvalidRequest("This model does not go on from a beginning.", code="unsupported_by_model")
    begun = Message("msg_begun", "assistant", [OutputText(seam.given)])
    return replace(request, items=[*request.items, begun], prefilled=True)


def _joined(event: ModelEvent, seam: Seam, block: int) -> list[ModelEvent]:
    """Return a continuation's event with nothing in it that was said before."""
    if isinstance(event, TextDelta):
        text = seam.feed(event.text)
        return [TextDelta(text, block, event.logprobs)] if text else []
    if isinstance(event, Finished) and (rest := seam.end()):
        return [TextDelta(rest, block), event]
    return [event]


def _tokens(event: ModelEvent) -> int:
    """Return about how many tokens an event carries: at least one, whatever its text."""
    text = event.text if isinstance(event, TextDelta | ReasoningDelta) else ""
    return max(1, len(text) // 4)
