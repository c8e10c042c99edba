"""One answer from a route: again and elsewhere before the first token, ended or continued after it, always billed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from chatbackend.domain.errors import (
    InvalidRequest,
    UpstreamCut,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from chatbackend.domain.events import Finished, ModelEvent, ReasoningDelta, TextDelta, ToolCallStarted, UsageReported
from chatbackend.domain.identity import Principal
from chatbackend.domain.items import InputImage, InputText, Item, Message, OutputText
from chatbackend.domain.models import ModelProfile, ModelRequest
from chatbackend.domain.routing import Health, Route, Rules, Target, Timeouts
from chatbackend.domain.usage import Settlement, Usage
from chatbackend.usecases.ask_model import Asking, AskModel
from chatbackend.usecases.generate import Generate
from chatbackend.usecases.ports import Call, Deployment
from chatbackend.usecases.prepare_request import PrepareRequest
from tests.support.fakes import ME, FakeAttachments, FakeModel, Step, forever
from tests.support.file_fakes import Numbered

pytestmark = pytest.mark.anyio

HI: list[Item] = [Message("msg_1", "user", [InputText("hi you")])]  # two tokens, by the estimate
HELLO: list[Step] = [TextDelta("Hel"), TextDelta("lo"), UsageReported(Usage(3, 2)), Finished("stop")]
BROKEN = UpstreamError("no")
PREFILL = ModelProfile(accepts_prefill=True)


@dataclass
class Several:
    """`Models` of several providers, and a book of their calls."""

    models: dict[str, FakeModel]
    rows: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    spent: list[Usage | None] = field(default_factory=list[Usage | None])
    settled: list[tuple[str, Usage]] = field(default_factory=list[tuple[str, Usage]])
    outcomes: list[str] = field(default_factory=list[str])

    def find(self, name: str) -> Deployment:
        return Deployment(name, "p", f"upstream-{name}", self.models[name])

    def route(self, name: str) -> Route:
        return Route(name, ((Target(name),),)) if name in self.models else in_order(*self.models)

    def all(self) -> Sequence[Deployment]:
        return [self.find(name) for name in self.models]

    def names(self) -> Sequence[str]:
        return []

    async def begin(self, call: Call, before: Settlement | None) -> None:
        self.rows.append((call.model, call.attempt))
        self.spent.append(before and before.usage)

    def started(self, principal: Principal, call: Call) -> Awaitable[None]:
        async def commit() -> None:
            self.rows.append((call.model, call.attempt))

        return commit()

    def settle(self, call: Call, settlement: Settlement) -> None:
        self.settled.append((call.model, settlement.usage))
        self.outcomes.append(settlement.outcome)


def several(profile: ModelProfile = PREFILL, **scripts: Sequence[Step]) -> Several:
    return Several({name: FakeModel([script], profile) for name, script in scripts.items()})


def in_order(*names: str, **rules: Any) -> Route:  # noqa: ANN401  # any field of the rules
    return Route("r", tuple((Target(name),) for name in names), Rules(**rules))


def asking(world: Several, route: Route | None = None, *, health: Health | None = None, before: int = 0) -> Asking:
    async def shape(deployment: Deployment) -> ModelRequest:
        return ModelRequest(deployment.upstream_name, HI)

    ask = AskModel(world, health or Health(), Numbered(), lambda: 0.5, anyio.current_time)
    return ask(route or in_order(*world.models), shape, world, calls_before=before)


async def heard(asked: Asking) -> list[ModelEvent]:
    await asked.open()
    async with aclosing(asked.events()) as events:
        return [event async for event in events]


def text(events: list[ModelEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_an_answer_comes_as_it_was_said_and_names_its_call() -> None:
    world = several(a=HELLO)
    asked = asking(world, before=2)
    assert await heard(asked) == HELLO
    assert (asked.settlement().usage, asked.usage(), asked.attempts) == (Usage(3, 2), Usage(3, 2), 3)
    assert (world.rows, world.spent) == ([("a", 3)], [None])
    assert asked.call is not None
    assert asked.deployment is not None
    assert asked.deployment.name == "a"


async def test_nothing_is_dialled_before_its_row_is_written() -> None:
    class Refusing(Several):
        async def begin(self, call: Call, before: Settlement | None) -> None:
            raise UpstreamError("no room")

    world = Refusing(several(a=HELLO).models)
    asked = asking(world)
    with pytest.raises(UpstreamError):
        await asked.open()
    assert world.models["a"].requests == []
    assert asked.call is None


@pytest.mark.parametrize(
    ("script", "spent"),
    [
        ([BROKEN], Usage(estimated=True)),
        ([UpstreamOverloaded("busy")], Usage(estimated=True)),
        ([UpstreamTimeout("late")], Usage(2, estimated=True)),
        ([UsageReported(Usage(9, 1)), UpstreamCut("cut")], Usage(9, 1, estimated=True)),
        ([UsageReported(Usage(9, 1))], Usage(9, 1, estimated=True)),
        ([UsageReported(Usage(9, 1)), BROKEN], Usage(9, 1, estimated=True)),
        ([], Usage(2, estimated=True)),
    ],
)
async def test_a_fault_before_the_first_token_goes_elsewhere_and_costs_what_it_cost(
    script: list[Step], spent: Usage
) -> None:
    world = several(a=script, b=HELLO)
    asked = asking(world)
    assert text(await heard(asked)) == "Hello"
    assert (world.rows, world.spent) == ([("a", 1), ("b", 2)], [None, spent])
    assert asked.usage() == Usage(3, 2)
    assert world.models["a"].hung_up == 1


async def test_a_try_is_repeated_after_its_wait() -> None:
    world = Several({"a": FakeModel([[BROKEN], HELLO], PREFILL)})
    assert text(await heard(asking(world, in_order("a", retries=1, backoff_s=0.001)))) == "Hello"
    assert world.rows == [("a", 1), ("a", 2)]


async def test_when_nobody_answers_the_last_call_is_left_to_be_settled() -> None:
    world = several(a=[BROKEN], b=[UpstreamTimeout("late")])
    asked = asking(world)
    with pytest.raises(UpstreamTimeout):
        await asked.open()
    assert asked.call is not None
    assert (asked.call.model, asked.settlement().usage) == ("b", Usage(2, estimated=True))


async def test_who_hangs_before_the_first_token_is_left() -> None:
    world = several(a=[UsageReported(Usage(1)), forever], b=HELLO)
    route = in_order("a", "b", timeouts=Timeouts(first_token_s=0.01))
    assert text(await heard(asking(world, route))) == "Hello"
    assert world.models["a"].hung_up == 1


@pytest.mark.parametrize(
    "rules",
    [
        {"timeouts": Timeouts(total_s=0.02)},
        {"timeouts": Timeouts(between_tokens_s=0.02)},
        {"timeouts": Timeouts(first_token_s=5, total_s=0.02)},
    ],
)
async def test_who_hangs_after_the_first_token_is_given_up(rules: dict[str, Any]) -> None:
    world = several(a=[TextDelta("Hel"), forever], b=HELLO)
    asked = asking(world, in_order("a", "b", **rules))
    with pytest.raises(UpstreamTimeout):
        await heard(asked)
    assert asked.usage() == Usage(2, 1, estimated=True)
    assert world.rows == [("a", 1)]


async def test_limits_that_are_kept_change_nothing() -> None:
    rules = {"timeouts": Timeouts(first_token_s=9, between_tokens_s=9, total_s=9), "min_tokens_per_s": 0.1}
    assert await heard(asking(several(a=HELLO), in_order("a", **rules))) == HELLO


async def test_a_stream_that_crawls_is_a_fault_of_its_deployment() -> None:
    health, rules = Health(), Rules(min_tokens_per_s=1e9, pace_window_s=0)
    route = replace(several(a=HELLO).route("a"), rules=rules)
    with pytest.raises(UpstreamTimeout) as caught:
        await heard(asking(several(a=HELLO), route, health=health))
    assert caught.value.code == "upstream_slow"


async def test_a_listener_that_crawls_is_no_fault_of_the_provider() -> None:
    route = in_order("a", min_tokens_per_s=100, pace_window_s=0.02)
    asked = asking(several(a=[TextDelta("word")] * 3 + HELLO), route)
    await asked.open()
    async with aclosing(asked.events()) as events:
        async for _ in events:
            await anyio.sleep(0.03)
    assert asked.settlement().outcome == "completed"


async def test_an_answer_that_is_whole_is_not_given_up_for_having_been_slow() -> None:
    late: list[Step] = [TextDelta("word"), lambda: anyio.sleep(0.02), Finished("stop"), UsageReported(Usage(3, 2))]
    route = in_order("a", min_tokens_per_s=1e9, pace_window_s=0.01)
    asked = asking(several(a=late), route)
    assert text(await heard(asked)) == "word"
    assert asked.settlement() == Settlement(Usage(3, 2), "completed")


@pytest.mark.parametrize("timeouts", [Timeouts(total_s=0.02), Timeouts(between_tokens_s=0.02)])
async def test_an_answer_that_is_whole_is_not_lost_where_its_stream_goes_on(timeouts: Timeouts) -> None:
    world = several(a=[*HELLO, forever])
    asked = asking(world, in_order("a", timeouts=timeouts))
    assert await heard(asked) == HELLO
    assert asked.settlement() == Settlement(Usage(3, 2), "completed")
    assert world.models["a"].hung_up == 1


async def test_an_answer_without_an_end_is_cut() -> None:
    with pytest.raises(UpstreamCut):
        await heard(asking(several(a=[TextDelta("Hel")])))


async def test_a_listener_that_leaves_hangs_up() -> None:
    world = several(a=[TextDelta("Hel"), forever])
    asked = asking(world)
    await asked.open()
    async with aclosing(asked.events()) as events:
        await anext(events)
    assert world.models["a"].hung_up == 1
    assert asked.usage() == Usage(2, 1, estimated=True)


CONTINUE = {"on_cut": "continue"}
HALF: list[Step] = [UsageReported(Usage(5)), TextDelta("Once upon ", 1), BROKEN]
REST: list[Step] = [TextDelta(" a"), TextDelta(" time."), UsageReported(Usage(8, 3)), Finished("stop")]


async def test_a_cut_answer_is_continued_by_who_takes_its_beginning() -> None:
    world = several(a=HALF, b=REST)
    asked = asking(world, in_order("a", "b", **CONTINUE))
    events = await heard(asked)
    assert text(events) == "Once upon a time."
    assert {event.index for event in events if isinstance(event, TextDelta)} == {1}
    assert asked.continued
    assert world.models["b"].requests[0].items[-1] == Message("msg_begun", "assistant", [OutputText("Once upon")])
    assert world.models["b"].requests[0].prefilled
    assert world.spent == [None, Usage(5, 3, estimated=True)]
    assert asked.usage() == Usage(13, 6, estimated=True)
    assert asked.settlement().usage == Usage(8, 3)


async def test_an_answer_can_be_continued_more_than_once() -> None:
    world = several(a=HALF, b=[TextDelta(" a"), BROKEN], c=[TextDelta(" time."), Finished("stop")])
    asked = asking(world, in_order("a", "b", "c", **CONTINUE))
    assert text(await heard(asked)) == "Once upon a time."
    assert world.models["c"].requests[0].items[-1] == Message("msg_begun", "assistant", [OutputText("Once upon a")])


async def test_what_was_held_back_at_the_seam_is_said_at_the_end() -> None:
    said = "It was the best of times,"
    world = several(a=[TextDelta(said), BROKEN], b=[TextDelta("It was"), Finished("stop")])
    assert text(await heard(asking(world, in_order("a", "b", **CONTINUE)))) == said + "It was"


@pytest.mark.parametrize(
    ("script", "profile"),
    [
        (HALF, ModelProfile()),
        ([ReasoningDelta("hm"), *HALF], PREFILL),
        ([TextDelta("Let me see"), ToolCallStarted("c", "f"), BROKEN], PREFILL),
        ([ToolCallStarted("c", "f"), BROKEN], PREFILL),
    ],
)
async def test_what_cannot_be_continued_ends_with_its_own_fault(script: list[Step], profile: ModelProfile) -> None:
    world = several(profile, a=script, b=REST)
    asked = asking(world, in_order("a", "b", **CONTINUE))
    with pytest.raises(UpstreamError) as caught:
        await heard(asked)
    assert caught.value is BROKEN
    assert not asked.continued
    assert len(world.rows) == 1


async def test_a_continuation_that_fails_ends_the_answer_with_the_first_fault_and_both_bills() -> None:
    world = several(a=HALF, b=[UpstreamTimeout("late")])
    asked = asking(world, in_order("a", "b", **CONTINUE))
    with pytest.raises(UpstreamError) as caught:
        await heard(asked)
    assert caught.value is BROKEN
    assert asked.call is not None
    assert asked.call.model == "b"
    assert asked.usage() == Usage(5, 3, estimated=True) + asked.settlement().usage


async def test_without_being_asked_for_nothing_is_continued() -> None:
    world = several(a=HALF, b=REST)
    with pytest.raises(UpstreamError):
        await heard(asking(world, in_order("a", "b")))
    assert world.rows == [("a", 1)]


class Ledger:
    """The relay ledger's face of a `Several`."""

    def __init__(self, world: Several) -> None:
        self.started = world.started
        self.settled = world.settle


def generate(world: Several) -> Generate:
    ask = AskModel(world, Health(), Numbered(), lambda: 0.5, anyio.current_time)
    return Generate(ask, PrepareRequest(FakeAttachments()), Ledger(world))


async def test_a_generation_is_settled_once_it_is_heard() -> None:
    world = several(a=[BROKEN], b=HELLO)
    generation = await generate(world)(ME, ModelRequest("r", HI))
    assert (generation.deployment.name, generation.attempts, generation.continued) == ("b", 2, False)
    assert world.settled == [("a", Usage(estimated=True))]
    async with aclosing(generation.events()) as events:
        assert [event async for event in events] == HELLO
    assert world.settled[1:] == [("b", Usage(3, 2))]
    assert world.outcomes == ["failed", "completed"]
    assert generation.usage == Usage(3, 2)
    assert world.models["b"].requests[0].model == "upstream-b"


async def test_a_generation_that_nobody_hears_is_hung_up_on_and_settled() -> None:
    world = several(a=[TextDelta("Hel"), forever])
    generation = await generate(world)(ME, ModelRequest("a", HI))
    await generation.close()
    await generation.close()
    assert world.settled == [("a", Usage(2, 1, estimated=True))]
    assert world.outcomes == ["cancelled"]
    assert world.models["a"].hung_up == 1


async def test_a_generation_that_fails_has_its_last_row_settled() -> None:
    world = several(a=[UpstreamTimeout("late")])
    with pytest.raises(UpstreamTimeout):
        await generate(world)(ME, ModelRequest("a", HI))
    assert world.settled == [("a", Usage(2, estimated=True))]


async def test_a_generation_that_is_cancelled_while_it_begins_is_settled_too() -> None:
    world = several(a=[forever])
    with anyio.move_on_after(0.01):
        await generate(world)(ME, ModelRequest("a", HI))
    assert world.settled == [("a", Usage(2, estimated=True))]
    assert world.models["a"].hung_up == 1


async def test_what_no_deployment_takes_costs_nothing() -> None:
    world = several(ModelProfile(accepts_images=False), a=HELLO)
    picture = Message("m", "user", [InputImage("data:image/png;base64,AA==")])
    with pytest.raises(InvalidRequest):
        await generate(world)(ME, ModelRequest("a", [picture]))
    assert (world.rows, world.settled) == ([], [])


async def test_a_model_that_has_no_words_for_a_request_is_not_called() -> None:
    class Wordless(FakeModel):
        def stream(self, request: ModelRequest, timeouts: Timeouts) -> AsyncGenerator[ModelEvent, None]:
            raise InvalidRequest("no way to say this", code="unsupported_by_model")

    world = several(b=HELLO)
    world.models = {"a": Wordless([], PREFILL), **world.models}
    generation = await generate(world)(ME, ModelRequest("r", HI))
    await generation.close()
    assert (world.rows, generation.attempts) == ([("b", 1)], 1)


async def test_a_generation_whose_task_is_cancelled_while_its_row_is_written_leaves_no_row_open() -> None:
    class Slow(Several):
        def started(self, principal: Principal, call: Call) -> Awaitable[None]:
            self.rows.append((call.model, call.attempt))
            return anyio.sleep_forever()

    world = Slow(several(a=HELLO).models)
    task = asyncio.ensure_future(generate(world)(ME, ModelRequest("a", HI)))
    await anyio.wait_all_tasks_blocked()
    task.cancel()  # the loop's own way, as a client that left is told: no shield of a scope holds it off
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (world.rows, world.settled, world.outcomes) == ([("a", 1)], [("a", Usage())], ["cancelled"])
    assert world.models["a"].requests == []


async def test_a_continuation_that_nobody_can_begin_is_billed_once() -> None:
    world = several(a=HALF)
    asked = asking(world, in_order("a", **CONTINUE))
    with pytest.raises(UpstreamError) as caught:
        await heard(asked)
    assert caught.value is BROKEN
    assert asked.usage() == Usage(5, 3, estimated=True)


async def test_a_continuation_that_is_cancelled_keeps_both_bills() -> None:
    world = several(a=HALF, b=[forever])
    asked = asking(world, in_order("a", "b", **CONTINUE))
    with anyio.move_on_after(0.02):
        await heard(asked)
    assert world.rows == [("a", 1), ("b", 2)]
    assert asked.usage() == Usage(5, 3, estimated=True) + asked.settlement().usage
