"""Every provider family, asked in every dialect, streamed and whole, for every fault: the state it ends in."""

import pytest

from tests.e2e.faults import campaign
from tests.e2e.faults.campaign import Case, Result
from tests.e2e.faults.expected import DIALECTS, Dialect, Told, expected
from tests.e2e.faults.families import FAMILIES
from tests.e2e.faults.fronts import Heard

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

GIVEN_UP = frozenset(("no-headers", "silent", "stall-at", "slow", "endless", "huge-headers"))
COMBINATIONS = [(family, dialect, stream) for family in FAMILIES for dialect in DIALECTS for stream in (True, False)]


@pytest.fixture(scope="module")
async def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    return await campaign.run(list(FAMILIES.values()), tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(("family", "dialect", "stream"), COMBINATIONS)
async def test_every_fault_ends_in_its_state(
    results: list[Result], family: str, dialect: Dialect, *, stream: bool
) -> None:
    of = [result for result in results if _is(result.case, family, dialect, stream=stream)]
    relayed = dialect in FAMILIES[family].relays
    told = {result.case.fault.script: _told(result) for result in of}
    right = {
        result.case.fault.script: expected(result.case.fault, dialect, stream=stream, relayed=relayed) for result in of
    }
    wrong = {script: (told[script], right[script]) for script in told if told[script] != right[script]}
    assert wrong == {}, "".join(f"\n{script}: {told}" for script, told in sorted(wrong.items()))


async def test_the_caller_is_told_before_the_deadline(results: list[Result]) -> None:
    late = [
        (_name(result.case), round(result.heard.took_s, 1))
        for result in results
        if isinstance(result.heard, Heard) and result.heard.took_s > result.case.fault.deadline_s
    ]
    assert late == []


async def test_what_was_said_is_the_beginning_of_what_one_upstream_call_sent(results: list[Result]) -> None:
    wrong = [_name(result.case) for result in results if not _is_beginning(result)]
    assert wrong == []


async def test_the_upstream_is_asked_once_and_left_when_we_give_up(results: list[Result]) -> None:
    wrong = [
        (_name(result.case), [row["outcome"] for row in result.calls]) for result in results if not _is_left(result)
    ]
    assert wrong == []


async def test_a_socket_is_spoken_on_wherever_an_answer_is_streamed(results: list[Result]) -> None:
    over_http = {
        (result.case.dialect, result.case.stream)
        for result in results
        if result.case.family.name == "openai-socket" and any(row["connection"] is None for row in result.calls)
    }
    assert over_http == {("chat", True), ("chat", False), ("messages", False)}  # relayed, and asked for whole


async def test_a_providers_own_words_are_shown_for_refusals_only(results: list[Result]) -> None:
    shown = {
        result.case.fault.script
        for result in results
        if isinstance(result.heard, Heard) and "scripted" in result.heard.message
    }
    assert shown == {"status-400", "status-413", "status-422"}


def _is(case: Case, family: str, dialect: Dialect, *, stream: bool) -> bool:
    return (case.family.name, case.dialect, case.stream) == (family, dialect, stream)


def _name(case: Case) -> tuple[str, ...]:
    return case.family.name, case.dialect, "streamed" if case.stream else "whole", case.fault.script


def _told(result: Result) -> Told | str:
    heard = result.heard
    if isinstance(heard, Exception):
        return repr(heard)
    return heard.told or f"a success: {heard.text!r}"


def _is_beginning(result: Result) -> bool:
    if not isinstance(result.heard, Heard) or not result.heard.text:
        return True
    [call] = result.calls
    sent = "".join(f"{call['salt']}:{number} " for number in range(call["tokens"] + 1))
    return sent.startswith(result.heard.text) and result.heard.text.count(":") <= call["tokens"]


def _is_left(result: Result) -> bool:
    outcomes = [row["outcome"] for row in result.calls]
    if result.calls and result.calls[0]["script"] in GIVEN_UP:
        return outcomes == ["closed-by-client"]
    return len(outcomes) == 1 and outcomes[0] in {"refused", "cut", "finished"}
