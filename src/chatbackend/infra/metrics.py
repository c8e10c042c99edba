"""What the server counts, and how Prometheus reads it: numbers in dictionaries, shaped only when they are asked for.

Names follow OpenTelemetry's conventions for HTTP and generative AI, where there is one; the others begin with
`chatbackend`. Clients make no labels without end: routes are patterns, and of the names that a provider takes any of,
only the first `DEPLOYMENTS_KEPT` have numbers of their own.
Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/,
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/, https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from chatbackend.domain.identity import Principal
from chatbackend.domain.usage import Settlement
from chatbackend.usecases.ports import Call, RelayLedger

REQUEST_DURATION = "http_server_request_duration_seconds"
STREAMS_OPEN = "chatbackend_streams_open"
SOCKETS_OPEN = "chatbackend_sockets_open"
RESPONSES_RUNNING = "chatbackend_responses_running"
CALLS = "chatbackend_upstream_calls"
TOKENS = "gen_ai_client_token_usage"
METHOD, ROUTE, STATUS = "http_request_method", "http_route", "http_response_status_code"
MODEL, TOKEN_TYPE, OUTCOME = "gen_ai_request_model", "gen_ai_token_type", "outcome"

DEPLOYMENTS_KEPT = 1000
OTHERS = "_OTHER"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Durations:
    """A histogram of one route and status."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """Return the count up to each bound."""
        found: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found


class Metrics(Collector):
    """The numbers of a process. The event loop writes them; `text` may be called by any thread."""

    def __init__(self) -> None:
        self.streams_open = 0
        self.sockets_open = 0
        self.running: Callable[[], int] = int
        self._durations: dict[tuple[str, str, int], _Durations] = {}
        self._calls: dict[tuple[str, str], int] = {}
        self._tokens: dict[str, tuple[int, int]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; `route` is its pattern, "" where it had none."""
        key = (method, route, status)
        durations = self._durations.get(key)
        if durations is None:
            durations = self._durations[key] = _Durations()
        durations.counts[bisect_left(BOUNDS_S, seconds)] += 1
        durations.total_s += seconds

    def called(self, deployment: str, settlement: Settlement) -> None:
        """Count an upstream call that has ended, and what it used."""
        if deployment not in self._tokens and len(self._tokens) >= DEPLOYMENTS_KEPT:
            deployment = OTHERS
        key = (deployment, settlement.outcome)
        self._calls[key] = self._calls.get(key, 0) + 1
        taken, given = self._tokens.get(deployment, (0, 0))
        usage = settlement.usage
        self._tokens[deployment] = (taken + usage.input_tokens, given + usage.output_tokens)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    @property
    def registry(self) -> CollectorRegistry:
        """What serves the text on a port of its own."""
        return self._registry

    def collect(self) -> Iterable[Metric]:
        """See `Collector`. Dictionaries are copied: a request may add to them meanwhile."""
        yield self._requests()
        yield GaugeMetricFamily(STREAMS_OPEN, "Event streams that are being sent.", self.streams_open)
        yield GaugeMetricFamily(SOCKETS_OPEN, "Open WebSockets.", self.sockets_open)
        yield GaugeMetricFamily(RESPONSES_RUNNING, "Responses that are generated now.", self.running())
        calls = CounterMetricFamily(CALLS, "Upstream calls that have ended.", labels=(MODEL, OUTCOME))
        for key, count in list(self._calls.items()):
            calls.add_metric(key, count)
        yield calls
        tokens = CounterMetricFamily(TOKENS, "Tokens of upstream calls.", labels=(MODEL, TOKEN_TYPE))
        for deployment, (taken, given) in list(self._tokens.items()):
            tokens.add_metric((deployment, "input"), taken)
            tokens.add_metric((deployment, "output"), given)
        yield tokens

    def _requests(self) -> Metric:
        family = HistogramMetricFamily(
            REQUEST_DURATION, "From the head of a request to the end of its answer.", labels=(METHOD, ROUTE, STATUS)
        )
        for (method, route, status), durations in list(self._durations.items()):
            family.add_metric((method, route, str(status)), durations.buckets(), durations.total_s)
        return family


class CountedLedger:
    """`RelayLedger` that counts what it settles."""

    def __init__(self, ledger: RelayLedger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        """See `RelayLedger.started`."""
        return self._ledger.started(principal, call)

    def settled(self, call: Call, settlement: Settlement) -> None:
        """See `RelayLedger.settled`."""
        self._metrics.called(call.model, settlement)
        self._ledger.settled(call, settlement)
