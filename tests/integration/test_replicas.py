"""Two servers on one truth, one log and one bus: cancels, deletes and turns do not care who runs what."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from chatbackend.adapters.api import responses as shapes
from chatbackend.domain.errors import NotFound, Unavailable
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.domain.items import text_of
from chatbackend.domain.responses import COMPLETED, Response, end
from chatbackend.infra.log.memory import MemoryEventLog
from chatbackend.infra.log.redis import RedisEventLog
from chatbackend.infra.log.redis.signals import RedisSignals
from chatbackend.infra.log.wakeups import LocalSignals
from tests.support.fakes import ME, OTHER, FakeClock, Step, forever
from tests.support.file_fakes import Numbered
from tests.support.redis import address, own_redis, prefix
from tests.support.replicas import Replica, two_databases
from tests.support.truths import KINDS, Kind

pytestmark = pytest.mark.anyio

HELLO: list[Step] = [TextDelta("Hello"), Finished("stop")]
ENDLESS: list[Step] = [TextDelta("Hel"), forever]
NEVER_S = 60.0
Two = tuple[Replica, Replica]


@asynccontextmanager
async def replicas(
    kind: Kind, folder: Path, *scripts: Sequence[Step], poll_s: float = NEVER_S, patience_s: float = 10.0
) -> AsyncGenerator[Two, None]:
    """Open two servers that share everything by way of a Redis."""
    async with (
        prefix() as name,
        on_redis(address(), name, kind, folder=folder, scripts=scripts, poll_s=poll_s, patience_s=patience_s) as two,
    ):
        yield two


@asynccontextmanager
async def on_redis(
    url: str,
    name: str,
    kind: Kind,
    *,
    folder: Path,
    scripts: Sequence[Sequence[Step]],
    poll_s: float,
    patience_s: float = 10.0,
) -> AsyncGenerator[Two, None]:
    """Open two servers on one Redis, under a prefix; each hears signals when this is entered."""
    async with AsyncExitStack() as stack:
        databases = await stack.enter_async_context(two_databases(kind, folder))
        shared = list[tuple[RedisEventLog, RedisSignals]]()
        for _ in databases:
            signals = await stack.enter_async_context(RedisSignals(url, prefix=name, poll_s=NEVER_S))
            shared.append((await stack.enter_async_context(RedisEventLog(url, prefix=name)), signals))
            await signals.topic("file").event("any").wait()  # everybody is woken by the confirmed subscription
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        ids = Numbered()
        made = [
            Replica(
                group, scripts, database=database, log=log, signals=signals, new_id=ids,
                poll_s=poll_s, patience_s=patience_s,
            )
            for database, (log, signals) in zip(databases, shared, strict=True)
        ]  # fmt: skip
        with anyio.fail_after(20):
            yield made[0], made[1]


@asynccontextmanager
async def deaf(kind: Kind, folder: Path, *scripts: Sequence[Step], poll_s: float) -> AsyncGenerator[Two, None]:
    """Open two servers that share a truth and a log, and do not hear each other."""
    log, ids = MemoryEventLog(FakeClock().now), Numbered()
    async with two_databases(kind, folder) as databases, anyio.create_task_group() as group:
        one, two = (
            Replica(group, scripts, database=each, log=log, signals=LocalSignals(), new_id=ids, poll_s=poll_s)
            for each in databases
        )
        with anyio.fail_after(20):
            yield one, two
        group.cancel_scope.cancel()


async def begun_by_nobody(replica: Replica, conversation: str | None) -> Response:
    """Commit a response that no process runs, as one leaves that dies."""
    body = {"model": "m", "input": "hi"} | ({"conversation": conversation} if conversation else {})
    ask = shapes.ask(shapes.read(body), replica.new_id)
    made = Response(replica.new_id("resp"), ME, "m", 1, conversation_id=conversation)
    await replica.truth.begin(made, ask, None)
    return made


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


async def test_what_runs_elsewhere_is_stopped_and_its_partial_answer_kept(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, ENDLESS) as (one, two):
        response_id = await one.started()
        await one.speaking()
        found = await two.cancel(ME, response_id)
        assert (found.status, found.detail, text_of(found.output[0])) == ("cancelled", "cancelled", "Hel")
        assert (one.model.hung_up, two.model.requests) == (1, [])
        await one.ended(response_id)
        events = await two.log.read(response_id, after=-1, limit=100)
        assert [event.number for event in events] == list(range(len(events)))
        assert events[-1].type == "response.incomplete"


async def test_both_servers_stop_it_at_once_and_are_told_the_same_end(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, ENDLESS, poll_s=0.05) as (one, two):
        response_id = await one.started()
        await one.speaking()
        said: list[str] = []

        async def stop(replica: Replica) -> None:
            said.append((await replica.cancel(ME, response_id)).status)

        async with anyio.create_task_group() as group:
            for replica in (two, one, two, one):
                group.start_soon(stop, replica)
        assert said == ["cancelled"] * 4


async def test_what_waits_for_its_turn_elsewhere_is_stopped_before_it_costs_anything(
    kind: Kind, tmp_path: Path
) -> None:
    async with replicas(kind, tmp_path, ENDLESS) as (one, two):
        name = await one.conversation()
        first = await one.started(conversation=name)
        await one.speaking()
        second = await two.started(conversation=name)
        assert (await one.cancel(ME, second)).status == "cancelled"
        assert two.model.requests == []
        assert (await two.cancel(ME, first)).status == "cancelled"


async def test_what_has_ended_elsewhere_is_returned_as_it_is_and_nothing_is_wished(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, HELLO) as (one, two):
        ended = await one.ended(await one.started())
        assert await two.cancel(ME, ended.id) == ended
        assert not await two.wishes.wish(ME, ended.id)
        look = await two.truth.take_end(ended.id, fence=ended.fence)
        assert look is not None
        assert not look.cancel_requested


async def test_a_foreign_response_elsewhere_cannot_be_stopped(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, ENDLESS) as (one, two):
        response_id = await one.started()
        for refused in (two.cancel, two.delete):
            with pytest.raises(NotFound):
                await refused(OTHER, response_id)
        assert not await two.wishes.wish(OTHER, response_id)
        assert list(await one.wishes.wished()) == []


async def test_what_runs_elsewhere_is_stopped_before_it_is_deleted(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, ENDLESS) as (one, two):
        response_id = await one.started()
        await one.speaking()
        await two.delete(ME, response_id)
        assert one.model.hung_up == 1
        for replica in (one, two):
            assert await replica.truth.get(ME, response_id) is None
            assert await replica.log.extent(response_id) is None


@pytest.mark.parametrize("erasing", [False, True])
async def test_a_conversation_is_deleted_wherever_its_turns_run(kind: Kind, tmp_path: Path, *, erasing: bool) -> None:
    async with replicas(kind, tmp_path, ENDLESS) as (one, two):
        name = await one.conversation()
        ids = [await replica.started(conversation=name) for replica in (one, two, one, two)]
        await one.speaking()
        await (two.delete_conversation.erase if erasing else two.delete_conversation)(ME, name)
        with pytest.raises(NotFound):
            await one.conversations.get(ME, name)
        found = [await one.truth.get(ME, response_id) for response_id in ids]
        assert [each and each.status for each in found] == [None if erasing else "cancelled"] * 4
        assert (len(one.model.requests), two.model.requests) == (1, [])


async def test_turns_run_in_their_order_and_never_two_at_once(kind: Kind, tmp_path: Path) -> None:
    running: list[str] = []

    async def alone() -> None:
        assert running == []
        running.append("somebody")
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        running.clear()

    async with replicas(kind, tmp_path, [alone, *HELLO]) as (one, two):
        name = await one.conversation()
        owners = [(one, two)[number % 3 % 2] for number in range(12)]
        ids = [await owner.started(f"{number}", conversation=name) for number, owner in enumerate(owners)]
        ended = [await owner.ended(response_id) for owner, response_id in zip(owners, ids, strict=True)]
        assert [each.status for each in ended] == ["completed"] * 12
        contexts = sorted(
            (len(asked.items), text_of(asked.items[-1])) for asked in one.model.requests + two.model.requests
        )
        assert contexts == [(2 * number + 1, f"{number}") for number in range(12)]  # all that was before had ended


async def test_a_turn_sees_the_answers_of_the_turns_before_it_elsewhere(kind: Kind, tmp_path: Path) -> None:
    gate = anyio.Event()
    async with replicas(kind, tmp_path, [gate, *HELLO]) as (one, two):
        name = await one.conversation()
        first = await one.started("one", conversation=name)
        second = await two.started("two", conversation=name)
        assert (await two.truth.get(ME, second) or await one.ended(first)).status == "queued"
        gate.set()
        assert (await two.ended(second)).status == "completed"
        assert [text_of(item) for item in two.model.requests[0].items] == ["one", "Hello", "two"]


async def test_a_turn_that_goes_without_a_word_holds_nobody_up(kind: Kind, tmp_path: Path) -> None:
    async with deaf(kind, tmp_path, HELLO, poll_s=0.05) as (one, two):
        name = await one.conversation()
        dead = [await begun_by_nobody(one, name) for _ in range(2)]
        response_id = await two.started(conversation=name)
        await one.truth.delete(ME, dead[0].id)
        assert not two.model.requests
        end(dead[1], COMPLETED, at=1)
        await one.truth.finish(dead[1], None, None)
        assert (await two.ended(response_id)).status == "completed"


async def test_without_signals_wishes_are_found_by_looking(kind: Kind, tmp_path: Path) -> None:
    async with deaf(kind, tmp_path, ENDLESS, poll_s=0.05) as (one, two):
        response_id = await one.started()
        await one.speaking()
        assert (await two.cancel(ME, response_id)).status == "cancelled"


async def test_a_wish_outlives_an_owner_that_died(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, HELLO, patience_s=1.5) as (one, two):
        dead = await begun_by_nobody(one, None)
        with pytest.raises(Unavailable):
            await two.cancel(ME, dead.id)
        [orphan] = await one.truth.take_over(fence=2)
        assert (orphan.response.id, orphan.cancel_requested) == (dead.id, True)


async def test_a_device_elsewhere_sees_what_happens_in_a_conversation(kind: Kind, tmp_path: Path) -> None:
    async with replicas(kind, tmp_path, HELLO) as (one, two):
        name, seen = await one.conversation(), list[str]()
        async with aclosing(await two.follow(ME, name, after=-1)) as events:
            await one.started(conversation=name)
            while "chatbackend.conversation.response.ended" not in seen:
                seen += [event.type for event in await anext(events)]


async def test_a_cancel_without_redis_closes_the_upstream_and_is_told_once_redis_is_back(
    kind: Kind, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(own_redis(tmp_path / "redis"))
        one, two = await stack.enter_async_context(
            on_redis(redis.url, "cb", kind, folder=tmp_path, scripts=[ENDLESS], poll_s=0.05)
        )
        response_id = await one.started()
        await one.speaking()
        redis.kill()
        async with anyio.create_task_group() as group:

            async def cancel() -> None:
                assert (await two.cancel(ME, response_id)).status == "cancelled"

            group.start_soon(cancel)
            while not one.model.hung_up:  # noqa: ASYNC110 - a model tells nobody
                await anyio.sleep(0.005)
            await anyio.to_thread.run_sync(redis.start)
        await one.ended(response_id)
        events = await two.log.read(response_id, after=-1, limit=100)
        assert [event.number for event in events] == list(range(len(events)))
        assert events[-1].type == "response.incomplete"
