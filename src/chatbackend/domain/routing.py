"""Which deployment is asked, in what order, how often and how long: decided of what happened and of the time given.

A route has tiers in order; within a tier the targets share the load by weight. A call may be tried again, or elsewhere,
only before its first token. A breaker keeps a failing deployment out for a while.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from chatbackend.domain.errors import (
    ChatError,
    InvalidRequest,
    UpstreamBusy,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)

STATES_KEPT = 1024  # of deployments that fail; a provider that takes any name has no end of them
_OTHERS_MAY = frozenset(
    ("model_not_found", "context_length_exceeded")
)  # refusals that another deployment may not share


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait: for a connection, for the first byte of headers and again of the body, then between bytes.

    `first_token_s` from dialling to the first token, `between_tokens_s` from one token to the next (bytes may say
    nothing), `total_s` for the whole call; None: no limit of its own.
    `end_s`: how long the body may go on after the end mark; past it, its connection is not used again.
    """

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    between_s: float = 60.0
    end_s: float = 0.1
    first_token_s: float | None = None
    between_tokens_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """After `failures` in a row a deployment is left alone for `cool_down_s`; then one call at a time tries it."""

    failures: int = 5
    cool_down_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How a route deals with time and faults.

    `retries`: further tries of one deployment, waiting `backoff_s`, doubled each time, with jitter, or what the
    provider asks for up to `max_wait_s`. `min_tokens_per_s`: a stream below it over `pace_window_s` is a fault (0:
    never). `on_cut`: after the first token a fault ends the answer, or a later target continues it where its profile
    takes a beginning to go on from.
    """

    timeouts: Timeouts = field(default_factory=Timeouts)
    retries: int = 0
    backoff_s: float = 0.25
    max_wait_s: float = 10.0
    min_tokens_per_s: float = 0.0
    pace_window_s: float = 10.0
    on_cut: Literal["end", "continue"] = "end"
    breaker: Breaker | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment by its full name, and its share of its tier's load."""

    deployment: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """A public name and the deployments behind it."""

    name: str
    tiers: tuple[tuple[Target, ...], ...]
    rules: Rules = field(default_factory=Rules)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every target, tier by tier."""
        return tuple(target for tier in self.tiers for target in tier)


@dataclass(slots=True)
class _State:
    failures: int = 0
    open_until: float = 0.0


class Health:
    """What this process knows of its deployments. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def wait_s(self, deployment: str, now: float) -> float:
        """Return how long a deployment is still left alone, 0 when it may be asked."""
        state = self._states.get(deployment)
        return 0.0 if state is None else max(0.0, state.open_until - now)

    def asked(self, deployment: str, breaker: Breaker | None, now: float) -> None:
        """Note a call; the first one after a cool-down keeps others out until it is known how it went."""
        state = self._states.get(deployment)
        if breaker is not None and state is not None and state.failures >= breaker.failures:
            state.open_until = now + breaker.cool_down_s

    def answered(self, deployment: str) -> None:
        """Forget the failures of a deployment that works."""
        self._states.pop(deployment, None)

    def failed(self, deployment: str, error: ChatError, breaker: Breaker | None, now: float) -> None:
        """Count a failure, but none that is the request's own: after such a trial the next call tries."""
        state = self._states.get(deployment)
        if breaker is None or not isinstance(error, UpstreamError) or isinstance(error, UpstreamRefused):
            if breaker is not None and state is not None and state.failures >= breaker.failures:
                state.open_until = now
            return
        if state is None:
            state = self._first_failure(deployment)
        state.failures += 1
        asked = error.retry_after_s if isinstance(error, UpstreamOverloaded) else None
        if asked is not None:
            state.open_until = max(state.open_until, now + min(asked, breaker.cool_down_s))
        if state.failures >= breaker.failures:
            state.open_until = now + breaker.cool_down_s

    def _first_failure(self, deployment: str) -> _State:
        if len(self._states) >= STATES_KEPT:
            del self._states[next(iter(self._states))]
        state = self._states[deployment] = _State()
        return state


@dataclass(slots=True)
class Step:
    """Ask this deployment after so many seconds."""

    deployment: str
    wait_s: float = 0.0


class Journey:
    """One call on its way along a route. `chance` gives numbers of [0, 1)."""

    def __init__(self, route: Route, health: Health, chance: Callable[[], float]) -> None:
        self.attempts = 0
        self._route = route
        self._rules = route.rules
        self._health = health
        self._chance = chance
        self._tiers = [list(tier) for tier in route.tiers]
        self._again: Step | None = None
        self._tries = 0
        self._errors: list[ChatError] = []

    def next(self, now: float) -> Step:
        """Return what to do next. Raises: what went wrong, when nothing is left to try."""
        step, self._again = self._again, None
        if step is None:
            step, self._tries = self._elsewhere(now), 0
        self.attempts += 1
        self._tries += 1
        self._health.asked(step.deployment, self._rules.breaker, now)
        return step

    def answered(self, deployment: str) -> None:
        """Note that an answer has begun."""
        self._health.answered(deployment)

    def failed(self, deployment: str, error: ChatError, now: float) -> None:
        """Note a fault; `next` goes on from it. Raises: the error, where nobody would answer otherwise."""
        self._health.failed(deployment, error, self._rules.breaker, now)
        self._errors.append(error)
        if _is_final(error):
            raise error
        wait_s = self._retry_wait_s(error)
        if wait_s is None or self._tries > self._rules.retries:
            return
        if not self._health.wait_s(deployment, now + wait_s):  # seconds that are subtracted would not be the same again
            self._again = Step(deployment, wait_s)

    def _elsewhere(self, now: float) -> Step:
        soonest: list[float] = []
        for tier in self._tiers:
            ready: list[Target] = []
            for target in tier:
                wait_s = self._health.wait_s(target.deployment, now)
                if wait_s:
                    soonest.append(wait_s)
                else:
                    ready.append(target)
            if ready:
                chosen = self._chosen(ready)
                tier.remove(chosen)
                return Step(chosen.deployment)
        if not self._errors:
            message = "Every deployment of this model is recovering from failures."
            raise UpstreamBusy(message, retry_after_s=min(soonest, default=None), code="cooling_down")
        raise next((error for error in reversed(self._errors) if isinstance(error, UpstreamError)), self._errors[0])

    def _chosen(self, ready: list[Target]) -> Target:
        """Return a target by weight; weights of 0 are asked only when nothing else is left."""
        if len(ready) == 1:
            return ready[0]
        total = sum(target.weight for target in ready)
        point = self._chance() * total
        for target in ready:
            point -= target.weight
            if point < 0:
                return target
        return ready[-1]

    def _retry_wait_s(self, error: ChatError) -> float | None:
        """Return how long to wait for another try of the same deployment, None where that makes no sense."""
        if isinstance(error, InvalidRequest | UpstreamRefused | UpstreamDenied):
            return None
        if isinstance(error, UpstreamTimeout) and any(self._tiers):
            return None  # who kept us waiting once is not asked again while another may answer
        asked = error.retry_after_s if isinstance(error, UpstreamOverloaded) else None
        if asked is not None:
            return asked if asked <= self._rules.max_wait_s else None
        return min(self._rules.max_wait_s, self._rules.backoff_s * 2 ** (self._tries - 1) * (0.5 + self._chance()))


def _is_final(error: ChatError) -> bool:
    """Whether every deployment would say the same."""
    if isinstance(error, UpstreamRefused):
        return error.code not in _OTHERS_MAY
    return not isinstance(error, UpstreamError) and error.code != "unsupported_by_model"


class Pace:
    """Judges whether a stream keeps above `min_tokens_per_s` in every window of `pace_window_s`."""

    def __init__(self, rules: Rules, *, now: float) -> None:
        self._least = rules.min_tokens_per_s
        self._window_s = rules.pace_window_s
        self._since = now
        self._tokens = 0

    def slow(self, tokens: int, now: float) -> bool:
        """Take the tokens that came just now; True when the window that ends here was too slow."""
        self._tokens += tokens
        elapsed = now - self._since
        if elapsed < self._window_s:
            return False
        rate, self._tokens, self._since = self._tokens / elapsed, 0, now
        return rate < self._least

    def skip(self, seconds: float) -> None:
        """Leave out seconds in which nobody listened to the stream."""
        self._since += seconds
