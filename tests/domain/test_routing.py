"""Routes: who is asked, in what order, how often, and who is left alone for a while."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle

import pytest

from chatbackend.domain.errors import (
    ChatError,
    InvalidRequest,
    NotFound,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTimeout,
)
from chatbackend.domain.routing import STATES_KEPT, Breaker, Health, Journey, Pace, Route, Rules, Target

A, B, C = Target("a"), Target("b"), Target("c")
BROKEN = UpstreamError("no")
UNTAKEN = InvalidRequest("no images", code="unsupported_by_model")


def journey(route: Route, health: Health | None = None, chance: float = 0.5) -> Journey:
    return Journey(route, health or Health(), lambda: chance)


def in_order(*targets: Target, **rules: object) -> Route:
    return Route("r", tuple((target,) for target in targets), Rules(**rules))  # pyright: ignore[reportArgumentType]  # a test's fields


def walked(trip: Journey, *errors: ChatError, now: float = 0.0) -> list[tuple[str, float]]:
    """Fail with each error in turn; return the steps up to the one that answers."""
    steps = [trip.next(now)]
    for error in errors:
        trip.failed(steps[-1].deployment, error, now)
        steps.append(trip.next(now))
    return [(step.deployment, step.wait_s) for step in steps]


@pytest.mark.parametrize(
    "error",
    [
        BROKEN,
        UpstreamTimeout("late"),
        UpstreamCut("cut"),
        UpstreamOverloaded("busy"),
        UpstreamDenied("key"),
        UpstreamRefused("unknown", code="model_not_found"),
        UpstreamRefused("long", code="context_length_exceeded"),
        UNTAKEN,
    ],
)
def test_another_deployment_may_do_better(error: ChatError) -> None:
    assert walked(journey(in_order(A, B)), error) == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("error", [UpstreamRefused("bad"), NotFound("no file"), InvalidRequest("bad")])
def test_what_everyone_would_say_is_said_at_once(error: ChatError) -> None:
    trip = journey(in_order(A, B, retries=3))
    step = trip.next(0)
    with pytest.raises(ChatError) as caught:
        trip.failed(step.deployment, error, 0)
    assert caught.value is error
    assert trip.attempts == 1


def test_the_last_fault_of_a_provider_is_told_when_nobody_is_left() -> None:
    trip = journey(in_order(A, B, C))
    last = UpstreamTimeout("late")
    with pytest.raises(UpstreamTimeout) as caught:
        walked(trip, BROKEN, last, UNTAKEN)
    assert caught.value is last


def test_a_request_that_nobody_takes_is_the_callers_to_mend() -> None:
    with pytest.raises(InvalidRequest) as caught:
        walked(journey(in_order(A, B)), UNTAKEN, InvalidRequest("no tools", code="unsupported_by_model"))
    assert caught.value is UNTAKEN


def test_a_deployment_is_tried_again_with_growing_jittered_waits_before_the_next() -> None:
    trip = journey(in_order(A, B, retries=2, backoff_s=1), chance=0.0)
    assert walked(trip, BROKEN, BROKEN, BROKEN) == [("a", 0), ("a", 0.5), ("a", 1.0), ("b", 0)]
    assert trip.attempts == 4
    assert walked(journey(in_order(A, retries=1, backoff_s=1), chance=0.9), BROKEN) == [("a", 0), ("a", 1.4)]


def test_what_the_provider_asks_for_is_waited_and_no_longer_than_allowed() -> None:
    rules = {"retries": 1, "max_wait_s": 5}
    short, long = UpstreamOverloaded("busy", retry_after_s=4), UpstreamOverloaded("busy", retry_after_s=6)
    assert walked(journey(in_order(A, B, **rules)), short) == [("a", 0), ("a", 4)]
    assert walked(journey(in_order(A, B, **rules)), long) == [("a", 0), ("b", 0)]
    with pytest.raises(UpstreamOverloaded):
        walked(journey(in_order(A, **rules)), long)


@pytest.mark.parametrize("now", [0.1, 7.7, 12345.678, 98765.4321])
def test_what_the_provider_asks_for_is_waited_at_any_time_of_the_clock(now: float) -> None:
    for milliseconds in range(1, 500):
        busy = UpstreamOverloaded("busy", retry_after_s=milliseconds / 1000)
        trip = journey(in_order(A, B, retries=1, breaker=Breaker()))
        assert walked(trip, busy, now=now) == [("a", 0), ("a", milliseconds / 1000)]


def test_no_wait_is_longer_than_the_longest_one() -> None:
    trip = journey(in_order(A, retries=2, backoff_s=8, max_wait_s=10), chance=0.9)
    assert walked(trip, BROKEN, BROKEN) == [("a", 0), ("a", 10), ("a", 10)]


def test_a_deployment_that_kept_us_waiting_is_asked_again_only_when_it_is_the_last() -> None:
    late = UpstreamTimeout("late")
    assert walked(journey(in_order(A, B, retries=1, backoff_s=0)), late, late) == [("a", 0), ("b", 0), ("b", 0)]


@pytest.mark.parametrize("error", [UpstreamDenied("key"), UpstreamRefused("x", code="model_not_found"), UNTAKEN])
def test_what_will_not_change_is_not_tried_again(error: ChatError) -> None:
    assert walked(journey(in_order(A, B, retries=5)), error) == [("a", 0), ("b", 0)]


def test_a_tier_shares_the_load_by_weight_and_fails_over_inside_itself_first() -> None:
    route = Route("r", ((Target("a", 3), Target("b", 1)), (C,)))
    firsts = Counter(journey(route, chance=part / 100).next(0).deployment for part in range(100))
    assert firsts == {"a": 75, "b": 25}
    assert walked(journey(route, chance=0.0), BROKEN, BROKEN) == [("a", 0), ("b", 0), ("c", 0)]
    assert {target.deployment for target in route.targets} == {"a", "b", "c"}


def test_a_weight_of_nothing_is_asked_only_when_nothing_else_is_left() -> None:
    route = Route("r", ((Target("a", 0), Target("b", 1)),))
    assert walked(journey(route, chance=0.0), BROKEN) == [("b", 0), ("a", 0)]
    unweighted = Route("r", ((Target("a", 0), Target("b", 0)),))
    assert walked(journey(unweighted, chance=0.9), BROKEN) == [("b", 0), ("a", 0)]


BREAKER = Breaker(failures=2, cool_down_s=10)


def fail(health: Health, *errors: ChatError, now: float = 0.0) -> None:
    for error in errors:
        health.failed("a", error, BREAKER, now)


def test_a_failing_deployment_is_left_alone_until_it_has_cooled_down() -> None:
    health, route = Health(), in_order(A, B, breaker=BREAKER)
    fail(health, BROKEN)
    assert journey(route, health).next(0).deployment == "a"
    fail(health, BROKEN)
    assert journey(route, health).next(9.9).deployment == "b"
    assert journey(route, health).next(10).deployment == "a"


def test_after_the_cool_down_one_call_tries_and_the_others_wait_for_it() -> None:
    health, route = Health(), in_order(A, B, breaker=BREAKER)
    fail(health, BROKEN, BROKEN)
    trial = journey(route, health)
    assert trial.next(10).deployment == "a"
    assert journey(route, health).next(11).deployment == "b"
    trial.answered("a")
    assert journey(route, health).next(11).deployment == "a"


def test_a_failed_trial_keeps_the_deployment_out_again() -> None:
    health = Health()
    fail(health, BROKEN, BROKEN)
    fail(health, BROKEN, now=10)
    assert health.wait_s("a", 19) == 1


@pytest.mark.parametrize("error", [UpstreamRefused("bad"), UNTAKEN])
def test_a_trial_that_tells_nothing_leaves_the_next_call_to_try(error: ChatError) -> None:
    health, route = Health(), in_order(A, B, breaker=BREAKER)
    fail(health, BROKEN, BROKEN)
    trial = journey(route, health)
    assert trial.next(10).deployment == "a"
    with suppress(ChatError):
        trial.failed("a", error, 11)
    assert journey(route, health).next(11).deployment == "a"
    assert journey(route, health).next(12).deployment == "b"


def test_of_names_without_end_the_first_are_forgotten() -> None:
    health = Health()
    for number in range(STATES_KEPT + 1):
        health.failed(f"p/{number}", BROKEN, Breaker(failures=1), 0)
    waits = [health.wait_s(f"p/{number}", 0) for number in (0, 1, STATES_KEPT)]
    assert waits == [0, 30, 30]


def test_when_all_are_cooling_down_the_caller_hears_how_long() -> None:
    health = Health()
    fail(health, BROKEN, BROKEN)
    with pytest.raises(UpstreamOverloaded) as caught:
        journey(in_order(A, breaker=BREAKER), health).next(4)
    assert (caught.value.retry_after_s, caught.value.code) == (6, "cooling_down")


def test_a_provider_that_asks_for_patience_gets_it_from_every_call() -> None:
    health = Health()
    fail(health, UpstreamOverloaded("busy", retry_after_s=3))
    assert health.wait_s("a", 1) == 2
    fail(health, UpstreamOverloaded("busy", retry_after_s=3000))
    assert health.wait_s("a", 0) == BREAKER.cool_down_s


def test_no_try_waits_for_less_than_the_breaker_does() -> None:
    health = Health()
    trip = journey(in_order(A, B, retries=5, breaker=Breaker(failures=1, cool_down_s=60)), health)
    assert walked(trip, BROKEN) == [("a", 0), ("b", 0)]


@pytest.mark.parametrize("error", [UpstreamRefused("bad"), UNTAKEN, InvalidRequest("bad")])
def test_the_callers_own_faults_open_no_breaker(error: ChatError) -> None:
    health = Health()
    fail(health, *[error] * 9)
    assert health.wait_s("a", 0) == 0


def test_without_a_breaker_nobody_is_left_alone() -> None:
    health = Health()
    for _ in range(9):
        health.failed("a", BROKEN, None, 0)
    assert health.wait_s("a", 0) == 0


def test_an_answer_forgets_failures() -> None:
    health = Health()
    fail(health, BROKEN)
    health.answered("a")
    fail(health, BROKEN)
    assert health.wait_s("a", 0) == 0


def paces(least: float, times: Iterator[float], tokens: int = 1) -> list[bool]:
    pace = Pace(Rules(min_tokens_per_s=least, pace_window_s=10), now=0)
    return [pace.slow(tokens, now) for now in times]


def test_a_stream_is_judged_once_a_window() -> None:
    assert paces(1, iter([2, 4, 6, 8, 10])) == [False, False, False, False, True]
    assert paces(0.5, iter([2, 4, 6, 8, 10])) == [False] * 5
    assert not any(paces(1, (float(second) for second in range(1, 60))))


def test_a_stream_that_slows_down_is_caught_in_its_next_window() -> None:
    steps = cycle([1])
    times = [*(next(steps) * second for second in range(1, 11)), 15, 20]
    assert paces(1, iter(times)) == [*[False] * 11, True]


def test_time_in_which_nobody_listens_is_not_the_providers() -> None:
    pace = Pace(Rules(min_tokens_per_s=1, pace_window_s=10), now=0)
    assert not pace.slow(5, 4)
    pace.skip(100)
    assert not pace.slow(5, 108)
    assert not pace.slow(2, 110)
    assert pace.slow(1, 121)
