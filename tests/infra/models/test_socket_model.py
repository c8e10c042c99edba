"""The model behind WebSockets, against real servers: what stays on a socket, what is bounded, what falls back."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from chatbackend.domain.answer import Answer
from chatbackend.domain.errors import (
    ChatError,
    UpstreamBusy,
    UpstreamCut,
    UpstreamDenied,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamRefused,
    UpstreamTooLarge,
)
from chatbackend.domain.items import FunctionCall, FunctionCallOutput, InputText, Item, Message
from chatbackend.domain.models import FunctionTool, ModelRequest
from chatbackend.domain.responses import COMPLETED
from chatbackend.infra.models.credentials import Headers
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.socket_pool import SocketPool
from tests.support.asking import Asked, answer, answer_until_error, asking, first_text, salted
from tests.support.socket_models import CODEC, SECRET, model, pooled
from tests.support.upstream import Upgrades, Upstream

pytestmark = pytest.mark.anyio

TOOL = FunctionTool("f", parameters={"type": "object", "properties": {"q": {"type": "string"}}})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
async def client() -> AsyncIterator[LeanClient]:
    async with LeanClient() as client:
        yield client


@pytest.fixture
async def pool(client: LeanClient) -> AsyncIterator[SocketPool]:
    async with pooled(client) as pool:
        yield pool


@pytest.fixture
def asked(client: LeanClient, pool: SocketPool, upstream: Upstream) -> Asked:
    return model(client, pool, upstream.url)


def user(text: str) -> Message:
    return Message("msg_1", "user", [InputText(text)])


async def told(asked: Asked, script: str, items: Sequence[Item]) -> list[Item]:
    """Ask with a tool; return the conversation with the answer, and an output for each of its calls."""
    heard = Answer(lambda prefix: prefix)
    async with aclosing(asked.stream(ModelRequest(script, list(items), tools=[TOOL]))) as events:
        async for event in events:
            heard.feed(event)
    heard.close(COMPLETED)
    outputs = [FunctionCallOutput("fco", call.call_id, "42") for call in heard.items if isinstance(call, FunctionCall)]
    return [*items, *heard.items, *outputs]


def context(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return what a provider is told of a conversation over HTTP."""
    said = CODEC.turn(ModelRequest("m", list(items))).create(None)
    return json.loads(said)["input"]


async def test_a_tool_loop_stays_on_one_socket_and_says_only_what_is_new(asked: Asked, upstream: Upstream) -> None:
    items: list[Item] = [user("go")]
    for _ in range(4):
        items = await told(asked, "tool-loop-3", items)
    assert [call.connection for call in upstream.calls] == [1, 1, 1, 1]
    assert [len(call.said["input"]) for call in upstream.calls] == [1, 1, 1, 1]
    assert upstream.handshakes == 1
    assert {call.outcome for call in upstream.calls} == {"finished"}


async def test_what_a_socket_remembers_is_what_http_would_have_said(asked: Asked, upstream: Upstream) -> None:
    items: list[Item] = [user("go")]
    for _ in range(3):
        before, items = items, await told(asked, "tool-loop-9", items)
        seen = [
            {name: entry[name] for name in entry if name not in {"id", "status"}}
            for entry in upstream.calls[-1].asked.messages
        ]
        assert seen == context(before)


async def test_of_two_turns_from_one_answer_one_goes_on_and_the_other_says_everything(
    asked: Asked, upstream: Upstream
) -> None:
    items = await told(asked, "tool-loop-9-d1", [user("go")])
    await asyncio.gather(told(asked, "tool-loop-9-d1", items), told(asked, "tool-loop-9-d1", items))
    both = upstream.calls[1:]
    assert sorted(len(call.said["input"]) for call in both) == [1, 3]
    assert [len(call.asked.messages) for call in both] == [3, 3]
    assert {call.connection for call in both} == {1, 2}


async def test_a_conversation_that_was_changed_says_everything(asked: Asked, upstream: Upstream) -> None:
    items = await told(asked, "tool-loop-9", [user("go")])
    items[0] = user("go elsewhere")
    await told(asked, "tool-loop-9", items)
    assert len(upstream.calls[1].said["input"]) == 3
    assert "previous_response_id" not in upstream.calls[1].said


async def test_a_socket_whose_functions_are_run_is_left_to_their_outputs(asked: Asked, upstream: Upstream) -> None:
    items = await told(asked, "tool-loop-9", [user("go")])
    await answer(asked, asking("scripted-n3"))
    await answer(asked, asking("scripted-n3"))
    await told(asked, "tool-loop-9", items)
    assert [call.connection for call in upstream.calls] == [1, 2, 2, 1]


async def test_a_socket_that_is_free_is_told_everything_of_another_conversation(
    asked: Asked, upstream: Upstream
) -> None:
    items = await told(asked, "tool-loop-0", [user("first")])
    await told(asked, "tool-loop-0", [user("second")])
    await told(asked, "tool-loop-0", [*items, user("more of the first")])
    assert [call.connection for call in upstream.calls] == [1, 1, 1]
    assert [len(call.said["input"]) for call in upstream.calls] == [1, 1, 3]
    assert not any("previous_response_id" in call.said for call in upstream.calls)


@pytest.mark.parametrize("upgrades", [Upgrades(forgets=True), Upgrades(turns=1)])
async def test_what_a_socket_has_lost_is_said_again_and_nobody_notices(
    client: LeanClient, pool: SocketPool, upgrades: Upgrades
) -> None:
    async with Upstream(upgrades=upgrades) as upstream:
        asked = model(client, pool, upstream.url)
        items = await told(asked, "tool-loop-9", [user("go")])
        await told(asked, "tool-loop-9", items)
    assert [call.outcome for call in upstream.calls] == ["finished", "refused", "finished"]
    assert len(upstream.calls[2].asked.messages) == 3
    assert upstream.calls[2].connection == 2


async def test_what_is_refused_again_is_told(client: LeanClient, pool: SocketPool) -> None:
    async with Upstream(upgrades=Upgrades(turns=0)) as upstream:
        _, error = await answer_until_error(model(client, pool, upstream.url), asking("scripted-n3"))
    assert type(error) is UpstreamRefused
    assert upstream.handshakes == len(upstream.calls) == 2


@pytest.mark.parametrize("status", [200, 302, 400, 404, 405, 426])
async def test_a_server_that_speaks_no_websocket_is_asked_over_http_from_then_on(
    client: LeanClient, pool: SocketPool, status: int
) -> None:
    async with Upstream(upgrades=Upgrades(status)) as upstream:
        asked = model(client, pool, upstream.url)
        for _ in range(3):
            heard = await answer(asked, asking("scripted-n3"))
            assert heard.text == salted(upstream.calls[-1], 3)
    assert upstream.handshakes == 1
    assert [call.connection for call in upstream.calls] == [None] * 3


async def test_it_is_asked_again_after_a_while(client: LeanClient) -> None:
    async with Upstream(upgrades=Upgrades(426)) as upstream, pooled(client, refused_s=0) as pool:
        asked = model(client, pool, upstream.url)
        await answer(asked, asking("scripted-n3"))
        upstream.upgrades = Upgrades()
        await answer(asked, asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [None, 2]


@pytest.mark.parametrize(
    ("status", "kind"), [(401, UpstreamDenied), (429, UpstreamOverloaded), (500, UpstreamError), (503, UpstreamBusy)]
)
async def test_a_handshake_that_is_refused_for_a_reason_is_told_and_tried_again(
    client: LeanClient, pool: SocketPool, status: int, kind: type[ChatError]
) -> None:
    async with Upstream(upgrades=Upgrades(status)) as upstream:
        asked = model(client, pool, upstream.url)
        _, error = await answer_until_error(asked, asking("scripted-n3"))
        assert type(error) is kind
        assert not isinstance(error, UpstreamOverloaded) or error.retry_after_s == 2
        upstream.upgrades = Upgrades()
        await answer(asked, asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [2]


@pytest.mark.parametrize("fields", [{"stream": False}, {"background": True}])
async def test_whole_answers_and_those_in_the_background_come_over_http(
    asked: Asked, upstream: Upstream, fields: dict[str, Any]
) -> None:
    await answer(asked, asking("scripted-n3", **fields))
    assert (upstream.handshakes, upstream.calls[0].connection) == (0, None)


async def test_a_handshake_carries_the_key_and_offers_no_compression(asked: Asked, upstream: Upstream) -> None:
    await answer(asked, asking("scripted-n3"))
    assert upstream.calls[0].header("authorization") == f"Bearer {SECRET}"
    assert upstream.calls[0].header("sec-websocket-extensions") == ""


async def test_the_key_is_never_logged(asked: Asked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await answer(asked, asking("scripted-n3"))
    await answer_until_error(asked, asking("cut-at-1"))
    assert SECRET not in caplog.text


async def test_another_credential_never_shares_a_socket(
    client: LeanClient, pool: SocketPool, upstream: Upstream
) -> None:
    proof: Headers = {"authorization": "Bearer first"}

    async def credential() -> Headers:
        return proof

    asked = model(client, pool, upstream.url, credential)
    items = await told(asked, "tool-loop-9", [user("go")])
    proof = {"authorization": "Bearer second"}
    await told(asked, "tool-loop-9", items)
    assert [call.header("authorization") for call in upstream.calls] == ["Bearer first", "Bearer second"]
    assert [call.connection for call in upstream.calls] == [1, 2]
    assert len(upstream.calls[1].said["input"]) == 3


async def test_two_deployments_never_share_a_socket(client: LeanClient, pool: SocketPool, upstream: Upstream) -> None:
    items = await told(model(client, pool, upstream.url), "tool-loop-9", [user("go")])
    await told(model(client, pool, upstream.url), "tool-loop-9", items)
    assert [call.connection for call in upstream.calls] == [1, 2]


async def test_where_every_socket_is_at_work_http_answers(client: LeanClient, upstream: Upstream) -> None:
    async with pooled(client, most=1) as pool:
        asked = model(client, pool, upstream.url)
        async with aclosing(asked.stream(asking("endless-d1"))) as events:
            await first_text(events)
            await answer(asked, asking("scripted-n3"))
        await answer(asked, asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [1, None, 2]


async def test_the_socket_that_was_idle_longest_makes_room(client: LeanClient, upstream: Upstream) -> None:
    async with pooled(client, most=2) as pool:
        first, second, third = (model(client, pool, upstream.url) for _ in range(3))
        for asked in (first, second, third, second, first):
            await answer(asked, asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [1, 2, 3, 2, 4]


async def test_memories_are_bounded_and_the_oldest_given_up(client: LeanClient, upstream: Upstream) -> None:
    async with pooled(client, most_bytes=20_000) as pool:
        asked = model(client, pool, upstream.url)
        first = await told(asked, "tool-loop-9", [user("x" * 4000)])
        second = await told(asked, "tool-loop-9", [user("y" * 4000)])
        await told(asked, "tool-loop-9", [user("z" * 4000)])
        for items in (second, first):
            await told(asked, "tool-loop-9", items)
    assert [("previous_response_id" in call.said) for call in upstream.calls[3:]] == [True, False]


async def test_an_idle_socket_is_closed_in_good_order(client: LeanClient, upstream: Upstream) -> None:
    async with pooled(client, idle_s=0, ping_s=0.01) as pool:
        await answer(model(client, pool, upstream.url), asking("scripted-n3"))
        assert await asyncio.wait_for(upstream.left.get(), 20) == 1001


async def test_a_socket_that_is_too_old_is_not_used_again(client: LeanClient, upstream: Upstream) -> None:
    async with pooled(client, age_s=-1) as pool:
        asked = model(client, pool, upstream.url)
        await answer(asked, asking("scripted-n3"))
        await answer(asked, asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [1, 2]


async def test_leaving_the_pool_leaves_every_socket(client: LeanClient, upstream: Upstream) -> None:
    async with pooled(client) as pool:
        asked = model(client, pool, upstream.url)
        events = asked.stream(asking("endless-d1"))
        await first_text(events)
        await answer(asked, asking("scripted-n3"))
    codes = [await asyncio.wait_for(upstream.left.get(), 20) for _ in range(2)]
    assert 1001 in codes
    with pytest.raises(UpstreamCut):
        async for _ in events:
            pass


async def test_an_answer_that_was_left_or_broken_off_leaves_no_socket_behind(asked: Asked, upstream: Upstream) -> None:
    async with aclosing(asked.stream(asking("endless-d1"))) as events:
        await first_text(events)
    await answer_until_error(asked, asking("error-at-2"))
    heard = await answer(asked, asking("scripted-n3"))
    assert heard.text == salted(upstream.calls[2], 3)
    assert [call.connection for call in upstream.calls] == [1, 2, 3]


async def test_an_answer_that_was_cut_short_leaves_a_socket_that_remembers_nothing(
    asked: Asked, upstream: Upstream
) -> None:
    heard = Answer(lambda prefix: prefix)
    async with aclosing(asked.stream(asking("length-n3"))) as events:
        async for event in events:
            heard.feed(event)
    heard.close(COMPLETED)
    await answer(asked, ModelRequest("scripted-n3", [*asking("").items, *heard.items, user("go on")]))
    assert [call.connection for call in upstream.calls] == [1, 1]
    assert len(upstream.calls[1].said["input"]) == 3


@pytest.mark.parametrize(
    ("code", "kind"), [(1000, UpstreamCut), (1009, UpstreamTooLarge), (1011, UpstreamCut), (1013, UpstreamBusy)]
)
async def test_a_close_instead_of_an_answer_is_told_by_its_code(
    client: LeanClient, pool: SocketPool, code: int, kind: type[ChatError]
) -> None:
    async with Upstream(upgrades=Upgrades(closes=code)) as upstream:
        _, error = await answer_until_error(model(client, pool, upstream.url), asking("scripted-n3"))
    assert type(error) is kind
