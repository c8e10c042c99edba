"""Bounds under a hostile provider: a connection that nobody takes, headers and answers without an end."""

import asyncio
from pathlib import Path

import pytest

from tests.e2e.faults.campaign import Running, running
from tests.e2e.faults.expected import DIALECTS, SLACK_S, TIMED_OUT, TIMEOUTS, Dialect, Fault, expected
from tests.e2e.faults.families import FAMILIES, Family
from tests.e2e.faults.fronts import PATHS, Heard, body_of
from tests.support.unreachable import Unreachable
from tests.support.upstream import Upstream

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

UNREACHABLE = Fault("n1", "before", TIMED_OUT, "connect_s")
WATCHED = ("openai", "openai-responses", "openai-socket", "claude")  # a provider of each dialect
LIMITS = TIMEOUTS | {"total_s": 3.0}
MOST_MB = {True: 10.0, False: 110.0}  # streamed, whole: of each of three answers up to 32 MiB are held
HANGS_UP_AFTER_S = 2.0


async def test_a_provider_that_takes_no_connection_is_given_up_in_time(tmp_path: Path) -> None:
    variables = {name: value for family in FAMILIES.values() for name, value in family.variables.items()}
    asked: list[tuple[Family, Dialect, bool]] = [
        (family, dialect, stream) for family in FAMILIES.values() for dialect in DIALECTS for stream in (True, False)
    ]
    with Unreachable() as nobody:
        async with running(Family("all", variables, ""), nobody.url, tmp_path / "server") as server:
            heard = await asyncio.gather(
                *(
                    server.ask(dialect, f"{each.prefix}n1", UNREACHABLE, stream=stream)
                    for each, dialect, stream in asked
                )
            )
    told = [each.told if isinstance(each, Heard) else each for each in heard]
    assert told == [expected(UNREACHABLE, dialect, stream=stream, relayed=False) for _, dialect, stream in asked]
    assert max(each.took_s for each in heard if isinstance(each, Heard)) < UNREACHABLE.deadline_s


@pytest.mark.parametrize(
    ("script", "stream"), [("huge-headers", True), ("huge-headers", False), ("endless-d1", True), ("endless", False)]
)
async def test_memory_is_bounded_however_much_a_provider_sends(tmp_path: Path, *, script: str, stream: bool) -> None:
    """Every dialect asks a provider of each dialect and hangs up soon."""
    growths = await asyncio.gather(
        *(_growth_mb(FAMILIES[name], tmp_path / name, script, stream=stream) for name in WATCHED)
    )
    assert max(growths) < MOST_MB[stream], growths


async def _growth_mb(family: Family, folder: Path, script: str, *, stream: bool) -> float:
    """Return by how much a server's memory grew, at its most, while it was flooded and left again."""
    async with Upstream() as upstream, running(family, upstream.url, folder, limits=LIMITS) as server:
        before = 0.0
        for _ in ("warm", "measured"):
            before = _reset_peak_mb(server.server.pid)
            await asyncio.gather(*(_take(server, dialect, script, stream=stream) for dialect in DIALECTS))
            async with asyncio.timeout(SLACK_S + TIMEOUTS["total_s"]):
                await asyncio.gather(*(call.ended.wait() for call in upstream.calls))
        assert {call.outcome for call in upstream.calls} == {"closed-by-client"}
        return _memory_mb(server.server.pid, "VmHWM") - before


async def _take(server: Running, dialect: Dialect, script: str, *, stream: bool) -> None:
    """Ask, and hang up after a while."""
    path, body = PATHS[dialect], body_of(dialect, f"{server.family.prefix}scripted-{script}", stream=stream)
    try:
        async with asyncio.timeout(HANGS_UP_AFTER_S), server.client.stream("POST", path, json=body) as answer:
            async for _ in answer.aiter_raw():
                pass
    except TimeoutError:
        pass


def _memory_mb(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def _reset_peak_mb(pid: int) -> float:
    """Forget the most memory that a process ever held and return what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _memory_mb(pid, "VmRSS")
