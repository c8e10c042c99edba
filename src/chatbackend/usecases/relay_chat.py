"""Pass a Chat Completions request on to its provider, bytes as they are, with one ledger row a call."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import anyio

from chatbackend.domain.errors import ChatError, UpstreamCut, UpstreamError, UpstreamTimeout
from chatbackend.domain.identity import Principal
from chatbackend.domain.routing import Journey, Pace, Route, Rules, Step
from chatbackend.domain.usage import CallOutcome, Settlement, Usage
from chatbackend.usecases.ask_model import AskModel
from chatbackend.usecases.ports import Api, Call, Drained, RelayedAnswer, RelayLedger, Take
from chatbackend.usecases.travel import travel

MAX_HELD_BYTES = 1 << 20  # of a stream before its first token
_LATE = "The provider did not answer in time."


class Account(Protocol):
    """Reads along with an answer. `events` counts those of a stream, `begun` is True from its first token on.

    `error` is what the provider said of a failure inside its answer, or that it is no answer at all.
    """

    events: int
    begun: bool
    error: ChatError | None

    @property
    def rest(self) -> bytes:
        """What was held back of a stream, to be shown once it has ended well."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the answer is whole."""
        ...

    @property
    def outcome(self) -> CallOutcome | None:
        """How the answer ended, None while it has not."""
        ...

    def reads(self, content_type: str) -> bool:
        """Whether an answer of this type can be one."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what of them, and of what was held back, may be shown."""
        ...

    def usage(self) -> Usage:
        """Return what the answer cost so far."""
        ...


@dataclass(slots=True)
class ChatRequest:
    """A request to pass on: `body` makes its bytes for a provider's name of the model, `account` reads the answer.

    `input_tokens`: about how many go in. `headers` are those that the API has beside its body.
    """

    body: Callable[[str], bytes]
    account: Callable[[], Account]
    stream: bool
    input_tokens: int = 0
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Relayed:
    """One relayed call under way: an answer that was accepted, and its row in the ledger.

    `body` is the whole answer, where no stream was asked for.
    """

    def __init__(self, answer: RelayedAnswer, call: Call, account: Account, *, ledger: RelayLedger) -> None:
        self.content_type = answer.content_type or "application/json"
        self.body = b""
        self.call = call
        self._answer = answer
        self._account = account
        self._ledger = ledger
        self._held: list[bytes] = []
        self._ends_at = inf
        self._pace: Pace | None = None

    async def begin(self) -> None:
        """Take a stream up to its first token: until then another provider can be asked.

        Raises: UpstreamError (and below).
        """
        came = 0
        while not self._account.begun and self._account.error is None and (chunk := await self._answer.read()):
            self._held.append(self._account.feed(chunk))
            came += len(chunk)
            if came > MAX_HELD_BYTES:
                raise UpstreamError("The provider sends much and says nothing.")
        if not self._held:
            raise UpstreamCut("The provider's answer ended before it began.")
        if not self._account.begun:
            self.check()

    def refuse_other_kinds(self) -> None:
        """Refuse an answer that is of another kind than what was asked for. Raises: UpstreamError."""
        if not self._account.reads(self.content_type):
            raise UpstreamError("The provider answered with no events.")

    async def read(self) -> None:
        """Take the whole answer, at half the cost of `pass_on`. Raises: UpstreamError (and below)."""
        self.body = await self._answer.whole()
        self._account.feed(self.body)
        self.check()

    async def pass_on(self, start: Callable[[], Awaitable[None]], write: Take, drained: Drained) -> bytes:
        """Hand a stream to `write` as it comes and return its last bytes; what it cost is settled however it ends.

        `start` is awaited first. `write` sends at once, and returns False where no more is wanted before `drained`
        returns.
        Raises: UpstreamError (and below); UpstreamCut for a stream that just stops.
        """
        take, drained = self._heard(write, drained)
        try:
            await start()
            if self._held:
                write(b"".join(self._held))
            with _by(self._ends_at):
                shown = self._account.feed(await self._answer.pass_on(take, drained))
            if not self._account.ended:
                write(shown)
            self.check()
        except BaseException as error:
            self.close()
            self.settle(error)
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout("The provider's answer took too long.") from error
            raise
        self.settle()
        return shown + self._account.rest

    def limit(self, rules: Rules, ends_at: float) -> None:
        """Keep the rest of a stream within a route's limits."""
        self._ends_at = ends_at
        if rules.min_tokens_per_s:
            self._pace = Pace(rules, now=anyio.current_time())

    def settle(self, error: BaseException | None = None) -> None:
        """Write down what the call has used, and how it ended: with `error`, if it was not heard to the end."""
        outcome = self._account.outcome or _outcome(error)
        self._ledger.settled(self.call, Settlement(self._account.usage(), outcome))

    def close(self) -> None:
        """Hang up."""
        self._answer.close()

    def check(self) -> None:
        """Raise what is wrong with an answer that has no more bytes. Raises: UpstreamError (and below)."""
        if self._account.error is not None:
            raise self._account.error
        if not self._account.ended:
            raise UpstreamCut("The provider's answer ended before its end.")

    def _heard(self, write: Take, drained: Drained) -> tuple[Take, Drained]:
        """Read along with what is sent, and send no more once the provider has failed, or is too slow for the route."""
        account, pace = self._account, self._pace
        feed, slow = account.feed, False
        seen = account.events

        def take(chunk: bytes) -> bool:
            nonlocal seen, slow
            welcome = write(feed(chunk))
            if pace is not None:
                came, seen = account.events - seen, account.events
                slow = slow or (pace.slow(came, anyio.current_time()) and not account.ended)
            return welcome and account.error is None and not slow

        async def room() -> None:
            if account.error is not None:
                raise account.error
            if slow:
                raise UpstreamTimeout("The provider answers too slowly.", code="upstream_slow")
            full_at = anyio.current_time()
            await drained()
            if pace is not None:
                pace.skip(anyio.current_time() - full_at)  # the client is slow, not the provider

        return take, room


class RelayChat:
    """Relays along routes whose every deployment speaks one API."""

    def __init__(self, ask: AskModel, ledger: RelayLedger, api: Api = "chat") -> None:
        self._ask = ask
        self._ledger = ledger
        self._api: Api = api

    def takes(self, route: Route) -> bool:
        """Whether every deployment of a route takes requests as they are."""
        for tier in route.tiers:
            for target in tier:
                if self._api not in self._ask.models.find(target.deployment).relays:
                    return False
        return True

    async def __call__(self, principal: Principal, route: Route, request: ChatRequest) -> tuple[Relayed, int]:
        """Dial along the route; return an answer that has begun (whole, if no stream is asked for) and the attempts.

        Raises: UpstreamError (and below).
        """
        trip = _Trip(self._ask, self._ledger, principal, route=route, request=request, api=self._api)
        return await travel(trip.journey, trip.dial, self._ask.now), trip.journey.attempts


class _Trip:
    """One request on its way along a route."""

    def __init__(
        self,
        ask: AskModel,
        ledger: RelayLedger,
        principal: Principal,
        *,
        route: Route,
        request: ChatRequest,
        api: Api,
    ) -> None:
        self.journey = Journey(route, ask.health, ask.chance)
        self._ask = ask
        self._ledger = ledger
        self._principal = principal
        self._api: Api = api
        self._route = route
        self._request = request

    async def dial(self, step: Step) -> Relayed:
        """Return the answer of one deployment, once nobody else is to be asked. Raises: UpstreamError (and below)."""
        limits, ends_at, begins_by = self._route.rules.timeouts, inf, inf
        if limits.total_s or limits.first_token_s:
            now = anyio.current_time()
            ends_at = now + (limits.total_s or inf)
            begins_by = min(ends_at, now + (limits.first_token_s or inf)) if self._request.stream else ends_at
        relayed = await self._accepted(step, begins_by)
        try:
            with _by(begins_by):
                await self._begun(relayed)
        except BaseException as error:
            relayed.close()
            relayed.settle(error)
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout(_LATE) from error
            raise
        relayed.limit(self._route.rules, ends_at)
        return relayed

    async def _begun(self, relayed: Relayed) -> None:
        relayed.refuse_other_kinds()
        rules = self._route.rules
        if not self._request.stream:
            await relayed.read()
            relayed.settle()
        elif len(self._route.targets) > 1 or rules.retries or rules.timeouts.first_token_s:
            await relayed.begin()  # with nothing to wait for, a stream is passed on from its first byte

    async def _accepted(self, step: Step, begins_by: float) -> Relayed:
        """Dial while the call's row is written; the answer is there once both are done."""
        deployment = self._ask.models.find(step.deployment)
        relay = deployment.relays.get(self._api)
        if relay is None:
            raise UpstreamError("This provider does not take such requests as they are.")
        call = Call(self._ask.new_id("call"), self.journey.attempts, deployment.name, self._request.input_tokens)
        committed = self._ledger.started(self._principal, call)
        try:
            body, asked = self._request.body(deployment.upstream_name), self._request
            with _by(begins_by):
                answer = await relay(body, self._route.rules.timeouts, stream=asked.stream, headers=asked.headers)
        except BaseException as error:
            try:
                with anyio.CancelScope(shield=True):
                    await committed
            finally:  # no scope shields from a task that is cancelled itself
                self._ledger.settled(call, _unanswered(call, error))
            if isinstance(error, TimeoutError):
                raise UpstreamTimeout(_LATE) from error
            raise
        try:
            await committed
        except BaseException as error:
            answer.close()
            self._ledger.settled(call, _unanswered(call, error))
            raise
        return Relayed(answer, call, self._request.account(), ledger=self._ledger)


def _by(moment: float) -> AbstractContextManager[object]:
    """Raise TimeoutError when the loop's clock reads `moment`."""
    return nullcontext() if moment == inf else anyio.fail_after(moment - anyio.current_time())


def _outcome(error: BaseException | None) -> CallOutcome:
    """Return how a call ended that was not heard to the end."""
    return "failed" if isinstance(error, ChatError | TimeoutError) else "cancelled"


def _unanswered(call: Call, error: BaseException) -> Settlement:
    """Return the bill of a call that got no answer: a refusal costs nothing, all else what went in."""
    refused = isinstance(error, ChatError) and not isinstance(error, UpstreamTimeout | UpstreamCut)
    return Settlement(Usage(0 if refused else call.input_tokens, estimated=True), _outcome(error))
