"""The figures of a fault run: what was done, how long clients, orphans and restarts took, what was broken."""

from collections import Counter
from collections.abc import Iterable, Iterator
from math import ceil

from tests.faults.history import History, Outage, Resume, Watch

STORES = ("postgresql", "redis")
SETTLING_S = 2.0  # after a store is back, until every connection to it is
LEASE_S = 15.0
ORPHANS_END_S = 20.0

Milliseconds = dict[str, int]  # how often each whole number of them was measured


def resumes_s(history: History) -> list[float]:
    """Return how long clients waited for an event that was there, from servers and stores that were up all the time."""
    return [
        each.first_at - each.asked_at
        for each in history.resumes
        if each.behind and not any(_disturbs(outage, each) for outage in history.outages)
    ]


def _disturbs(outage: Outage, resume: Resume) -> bool:
    if outage.what != resume.server and outage.what not in STORES:
        return False
    over = outage.ended + SETTLING_S * (outage.what in STORES) if outage.ended is not None else resume.first_at
    return outage.began <= resume.first_at and resume.asked_at <= over


def orphans_s(history: History, servers: int) -> list[float]:
    """Return how long each response whose server was killed or frozen took to its end, as far as its client saw it.

    The time begins with the death; or with what came later: the return of the last store, the return of the server that
    was up longest by then, for somebody must have been there to take it over; or where that is more than is
    promised, with the death of a server that may have owned it by then.
    """
    found = [_orphaned_s(history, watch, servers) for watch in history.watches if watch.ended_at is not None]
    return [each for each in found if each is not None]


def _orphaned_s(history: History, watch: Watch, servers: int) -> float | None:
    ended_at = watch.ended_at or 0.0
    before = [outage for outage in history.outages if outage.began < ended_at]
    deaths = [each.began for each in before if each.what == watch.server and each.began > watch.created_at]
    if not deaths:
        return None
    since = max(deaths[0], *_returns(before, ended_at), _judge_since(before, ended_at, servers))
    if ended_at - since > ORPHANS_END_S:
        since = max([since, *(each.began for each in before if each.began > since + LEASE_S - SETTLING_S)])
    return max(ended_at - since, 0.0)


def _returns(before: Iterable[Outage], ended_at: float) -> Iterator[float]:
    yield 0.0
    for each in before:
        if each.what in STORES:
            yield min(each.ended or ended_at, ended_at)


def _judge_since(before: Iterable[Outage], ended_at: float, servers: int) -> float:
    """Return since when the server is up that is up longest at the end."""
    since: dict[str, float] = {}
    for each in before:
        if each.what not in STORES:
            since[each.what] = max(since.get(each.what, 0.0), min(each.ended or ended_at, ended_at))
    return min(since.values(), default=0.0) if len(since) == servers else 0.0


def faults(history: History) -> Counter[str]:
    """Return how often what was done."""
    return Counter(f"{each.what if each.what in STORES else 'server'} {each.how}" for each in history.outages)


def kills(history: History) -> int:
    """Return how many processes were killed outright."""
    return sum(each.how in ("killed", "emptied") for each in history.outages)


def counted(measured_s: Iterable[float]) -> Milliseconds:
    """Return measurements as counts of whole milliseconds, rounded up."""
    found = Counter(ceil(1000 * each) for each in measured_s)
    return {str(ms): found[ms] for ms in sorted(found)}


def percentile(measured: Milliseconds, share: float) -> int | None:
    """Return the milliseconds that `share` of the measurements do not exceed."""
    below, wanted = 0, ceil(share * sum(measured.values()))
    for ms in sorted(measured, key=int):
        below += measured[ms]
        if below >= wanted:
            return int(ms)
    return None
