"""With somebody else to ask: a fault that nobody has seen yet is answered by them, whole and by one generation only."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product

import pytest

from tests.e2e.faults.campaign import AT_ONCE, running, upstream
from tests.e2e.faults.expected import DIALECTS, FAULTS, Dialect, Fault, Told, expected
from tests.e2e.faults.families import FAMILIES, Family
from tests.e2e.faults.fronts import Heard

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

ANSWER = "scripted-n5"
# The first is asked in vain, the second answers; only one combination is relayed.
ROUTES = {"mixed": ("openai", "claude"), "alike": ("openai", "llama31"), "socket": ("azure", "claude")}
RELAYED = ("alike", "chat")
_EVERY = {name: value for each in FAMILIES.values() for name, value in each.variables.items()}
ALL = Family("all", _EVERY | {"OPENAI_TRANSPORT": "http", "AZURE_OPENAI_TRANSPORT": "websocket"}, "")
FINAL = frozenset(("status-400", "status-413", "status-422"))  # everybody would say the same


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a route whose first deployment goes wrong."""

    route: str
    dialect: Dialect
    stream: bool
    fault: Fault

    @property
    def seen(self) -> bool:
        """Whether a part of the answer was heard before the fault: the provider is asked in a stream.

        A whole message, and what is relayed whole, are asked for whole; a response is logged as it comes.
        """
        whole = not self.stream and (self.dialect == "messages" or (self.route, self.dialect) == RELAYED)
        return self.fault.strikes == "after" and not whole


@pytest.fixture(scope="module")
async def heard(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[Question, Heard | Exception], None]:
    questions = [Question(*each) for each in product(ROUTES, DIALECTS, (True, False), FAULTS)]
    folder = tmp_path_factory.mktemp("fallback") / "server"
    room = asyncio.Semaphore(AT_ONCE)
    async with upstream() as url, running(ALL, url, folder, rules=_routes()) as server:

        async def one(question: Question) -> Heard | Exception:
            fault, model = question.fault, f"{question.route}/{question.fault.script}"
            async with nullcontext() if fault.limit else room:
                return await server.ask(question.dialect, model, fault, stream=question.stream)

        found = await asyncio.gather(*(one(question) for question in questions))
        yield dict(zip(questions, found, strict=True))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("route", ROUTES)
async def test_a_fault_that_nobody_has_seen_is_answered_by_the_next_deployment(
    heard: dict[Question, Heard | Exception], *, route: str, dialect: Dialect, stream: bool
) -> None:
    of = {question: each for question, each in heard.items() if _is(question, route, dialect, stream=stream)}
    told = {question.fault.script: _told(each) for question, each in of.items()}
    right = {question.fault.script: _right(question) for question in of}
    assert [(script, told[script], right[script]) for script in told if told[script] != right[script]] == []


def _is(question: Question, route: str, dialect: Dialect, *, stream: bool) -> bool:
    return (question.route, question.dialect, question.stream) == (route, dialect, stream)


def _right(question: Question) -> Told | str:
    fault = question.fault
    if question.seen or fault.script in FINAL:
        return expected(fault, question.dialect, stream=question.stream, relayed=False)
    return "answered"


def _told(heard: Heard | Exception) -> Told | str:
    if isinstance(heard, Exception):
        return repr(heard)
    salt = heard.text.partition(":")[0]
    whole = "".join(f"{salt}:{number} " for number in range(5))
    return heard.told or ("answered" if heard.text == whole else f"another answer: {heard.text}")


def _routes() -> str:
    """Return a route for every fault, along each of `ROUTES`; none is left alone for what happened to it before."""
    lines = ["[defaults]", "breaker = false"]
    for (name, (first, second)), fault in product(ROUTES.items(), FAULTS):
        lines += [f'[routes."{name}/{fault.script}"]', f'targets = ["{first}/scripted-{fault.script}"]']
        lines += [f'fallbacks = ["{second}/{ANSWER}"]']
    return "\n".join(lines)
