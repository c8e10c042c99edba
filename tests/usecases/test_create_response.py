"""Creating: committed and owned once acknowledged, made once, refused before anything is kept."""

import anyio
import pytest

from chatbackend.domain.errors import (
    ChatError,
    Conflict,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unavailable,
    Unprocessable,
)
from chatbackend.domain.events import Finished, TextDelta
from chatbackend.domain.models import ModelProfile
from chatbackend.usecases.ports import Once
from tests.support.fakes import ME, OTHER, Step, forever, stage

pytestmark = pytest.mark.anyio

HELLO: list[Step] = [TextDelta("Hello"), Finished("stop")]
ONCE = Once("/v1/responses", "body", key="key")


async def test_what_is_acknowledged_is_committed_and_owned() -> None:
    async with stage([forever]) as on:
        created = await on.create(on.ask(metadata={"a": "b"}, background=True), ME)
        assert (created.fresh, created.store) == (True, True)
        kept = on.truth.rows[created.response_id].response
        assert (kept.principal, kept.model, kept.metadata, kept.background) == (ME, "provider/m", {"a": "b"}, True)
        assert on.live.running(created.response_id) is not None


async def test_the_same_request_makes_one_response() -> None:
    async with stage(HELLO) as on:
        first = await on.create(on.ask(), ME, ONCE)
        again = await on.create(on.ask(), ME, ONCE)
        assert (first.fresh, again.fresh, again.response_id) == (True, False, first.response_id)
        await on.ended(first.response_id)
        assert len(on.model.requests) == 1


async def test_a_repeat_of_a_response_that_was_not_stored_is_served_while_it_is_kept() -> None:
    async with stage(HELLO) as on:
        first = await on.create(on.ask(store=False), ME, ONCE)
        await on.ended(first.response_id)
        assert (await on.create(on.ask(store=False), ME, ONCE)).response_id == first.response_id
        on.clock.time += 121
        with pytest.raises(Conflict) as gone:
            await on.create(on.ask(store=False), ME, ONCE)
        assert gone.value.code == "idempotent_result_gone"
        assert len(on.model.requests) == 1


async def test_an_unknown_model_is_refused_before_anything_is_kept() -> None:
    async with stage(HELLO) as on:
        with pytest.raises(NotFound, match="provider/m"):
            await on.create(on.ask(model="x"), ME)
        assert on.happened == []


async def test_what_the_model_cannot_take_is_refused_before_anything_is_kept() -> None:
    async with stage(HELLO, profile=ModelProfile(accepts_tools=False)) as on:
        with pytest.raises(InvalidRequest):
            await on.create(on.ask(tools=[{"type": "function", "name": "add"}]), ME)
        assert on.happened == []


@pytest.mark.parametrize("error", [Unavailable("full"), NotFound("no conversation"), Unprocessable("other body")])
async def test_what_the_truth_refuses_has_no_owner(error: ChatError) -> None:
    async with stage(HELLO) as on:
        on.trouble.plan("begin", error)
        with pytest.raises(type(error)):
            await on.create(on.ask(), ME)
        assert on.live.all_running() == []


async def test_more_than_may_run_at_once_are_refused_before_anything_is_kept() -> None:
    go_on = anyio.Event()
    async with stage([go_on, *HELLO], max_running=2) as on:
        ids = [await on.started() for _ in range(2)]
        with pytest.raises(Unavailable) as refused:
            await on.started()
        assert refused.value.code == "overloaded"
        assert len(on.truth.rows) == 2
        go_on.set()
        for response_id in ids:
            await on.ended(response_id)
        await on.started()


@pytest.mark.parametrize(("max_running", "per_user"), [(10, None), (9_999, 10)])
async def test_of_a_thousand_at_once_no_more_are_let_in_than_may_run(max_running: int, per_user: int | None) -> None:
    async with stage([forever], max_running=max_running, per_user=per_user) as on:
        refused: list[ChatError] = []

        async def create() -> None:
            try:
                await on.started()
            except (Unavailable, RateLimited) as error:
                refused.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(1_000):
                group.start_soon(create)
        assert (len(on.truth.rows), len(refused)) == (10, 990)


async def test_a_create_that_is_refused_or_comes_again_gives_its_room_back() -> None:
    async with stage([forever], per_user=2) as on:
        on.trouble.plan("begin", Unavailable("full"))
        with pytest.raises(Unavailable):
            await on.started()
        for _ in range(3):
            await on.create(on.ask(), ME, ONCE)
        await on.started()
        with pytest.raises(RateLimited):
            await on.started()
        await on.create(on.ask(), OTHER)


async def test_a_stopping_server_takes_nothing_new() -> None:
    async with stage(HELLO) as on:
        on.live.close()
        with pytest.raises(Unavailable) as refused:
            await on.started()
        assert (refused.value.code, on.happened) == ("stopping", [])


async def test_a_caller_that_hangs_up_while_it_is_committed_leaves_an_owned_response() -> None:
    async with stage(HELLO) as on:
        async with anyio.create_task_group() as group:
            group.start_soon(on.create, on.ask(), ME)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        [response_id] = on.truth.rows
        assert (await on.ended(response_id)).status == "completed"


async def test_unstored_responses_are_their_owners_own_and_kept_for_a_time() -> None:
    async with stage(HELLO) as on:
        response_id = await on.started(store=False)
        assert on.live.unstored(OTHER, response_id) is None
        assert on.live.unstored(ME, response_id) is not None
        await on.ended(response_id)
        on.clock.time += 119
        assert on.live.unstored(ME, response_id) is not None
        assert on.live.unstored(OTHER, response_id) is None
        on.clock.time += 2
        assert on.live.unstored(ME, response_id) is None


async def test_a_stored_response_is_not_served_as_an_unstored_one() -> None:
    async with stage([forever]) as on:
        assert on.live.unstored(ME, await on.started()) is None
