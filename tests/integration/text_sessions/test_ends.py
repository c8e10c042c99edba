"""How responses and sessions in text end: cancelled, hung up on, refused, too large, too slow, with the server."""

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatbackend.infra.web.outbox import STALL_S
from tests.support import sdk
from tests.support.realtime_client import RealtimeClient, realtime
from tests.support.realtime_sdk import sdk_talk, text_of
from tests.support.realtime_watcher import Event
from tests.support.server import Server, serving
from tests.support.upstream import Call, Upstream

pytestmark = pytest.mark.anyio
SOON_S = 5.0  # far above what it takes


async def hung_up_on(call: Call) -> None:
    with anyio.fail_after(SOON_S):
        await call.ended.wait()
    assert call.outcome == "closed-by-client"


async def close_of(client: RealtimeClient) -> tuple[int | None, str | None]:
    """Take what is left until the server has closed; return code and reason."""
    with anyio.fail_after(SOON_S), suppress(ConnectionClosed):
        async for _ in client.connection:
            pass
    return client.connection.close_code, client.connection.close_reason


def session(
    server: Server, model: str, query: str = "", *, key: str | None = None
) -> AbstractAsyncContextManager[RealtimeClient]:
    return realtime(server, f"/v1/realtime?model={model}{query}", key=key)


@asynccontextmanager
async def begun(server: Server, model: str, query: str = "") -> AsyncGenerator[RealtimeClient, None]:
    """Open a session in which a model has begun to speak."""
    async with session(server, model, query) as client:
        await client.send({"type": "response.create"})
        await client.until("response.output_text.delta")
        yield client


@pytest.mark.parametrize("family", ["openai", "azure", "claude", "llama31", "perplexity"])
async def test_a_cancel_frees_the_provider_and_keeps_what_was_said(
    running: Server, upstream: Upstream, family: str
) -> None:
    before = len(upstream.calls)
    async with sdk_talk(running, f"{family}/scripted-endless-d5") as talk:
        await talk.say("Go on")
        await talk.connection.response.create()
        await talk.until("response.output_text.delta", times=3)
        await talk.connection.response.cancel()
        events = await talk.until("rate_limits.updated")
        await hung_up_on(upstream.calls[before])
        ended = events[-2]["response"]
        assert (ended["status"], ended["output"][0]["status"]) == ("cancelled", "incomplete")
        await talk.connection.conversation.item.retrieve(item_id=ended["output"][0]["id"])
        kept = (await talk.event())["item"]["content"]
        assert kept == ended["output"][0]["content"]
        assert text_of(ended).startswith(upstream.calls[before].salt)


async def test_a_cancel_right_behind_the_create_leaves_created_and_cancelled(running: Server) -> None:
    async with sdk_talk(running, "claude/scripted-silent") as talk:
        await talk.connection.response.create()
        await talk.connection.response.cancel()
        events = await talk.until("rate_limits.updated")
    assert [event["type"] for event in events] == ["response.created", "response.done", "rate_limits.updated"]
    assert events[1]["response"]["status"] == "cancelled"


async def test_a_cancel_that_meets_the_end_leaves_one_end_and_a_session_that_goes_on(running: Server) -> None:
    async with sdk_talk(running, "llama31/scripted-n2-d1") as talk:
        events = list[Event]()
        for turn in range(12):
            await talk.say("Hi")
            await talk.connection.response.create()
            if turn % 3:
                events += await talk.until("response.output_text.delta", times=turn % 3)
            await talk.connection.response.cancel()
            events += await talk.until("rate_limits.updated")
        await talk.say("That was all")
        events += await talk.until("conversation.item.done")
    assert len(talk.watcher.ended) == 12
    assert {response["status"] for response in talk.watcher.ended.values()} <= {"cancelled", "completed"}
    errors = [event["error"] for event in events if event["type"] == "error"]
    assert {error["code"] for error in errors} <= {"response_cancel_not_active"}


@pytest.mark.parametrize("script", ["endless-d5", "stall-at-2", "silent", "no-headers"])
async def test_a_client_that_leaves_frees_the_provider(running: Server, upstream: Upstream, script: str) -> None:
    before = len(upstream.calls)
    async with session(running, f"claude/scripted-{script}") as client:
        await client.send({"type": "response.create"})
        call = await upstream.call(before)
    await hung_up_on(call)


async def test_a_handshake_is_refused_before_the_upgrade(running: Server) -> None:
    async with sdk.async_client(running) as client:
        secret = (
            await client.realtime.client_secrets.create(extra_body={"chatbackend": {"models": ["claude/a"]}})
        ).value
    for model, key, status, code in (
        ("nobody/knows", None, 404, "model_not_found"),
        ("claude/a", "sk-unknown", 401, "invalid_api_key"),
        ("claude/b", secret, 403, "model_not_allowed"),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with session(running, model, key=key):
                pass
        assert caught.value.response.status_code == status
        assert json.loads(caught.value.response.body or b"")["error"]["code"] == code
    async with session(running, "claude/a", key=secret) as page:
        assert (await page.recv())["type"] == "session.created"


async def test_a_binary_frame_is_an_error_and_the_session_stays(running: Server) -> None:
    async with session(running, "claude/scripted-n3") as client:
        await client.connection.send(b'{"type": "response.create"}')
        assert (await client.until("error"))[-1]["error"]["code"] == "binary_frame"
        assert (await client.ask())[-1]["response"]["status"] == "completed"


async def test_a_frame_over_the_limit_closes_with_1009(running: Server) -> None:
    async with session(running, "claude/scripted-n3") as client:
        with suppress(ConnectionClosed):  # it may be told before it has sent everything
            await client.send({"type": "response.create", "event_id": "x" * 2**20})
        assert (await close_of(client))[0] == 1009


async def test_a_client_that_sends_and_takes_nothing_is_closed(running: Server) -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 1_000_000}]}
    async with session(running, "claude/scripted-n3") as client:
        with suppress(ConnectionClosed), anyio.move_on_after(SOON_S):
            while True:
                await client.send({"type": "conversation.item.create", "item": item})
                await anyio.lowlevel.checkpoint()  # `send` itself waits only once the kernel takes no more
        assert (await close_of(client))[0] == 1013


async def test_an_item_as_large_as_a_frame_is_shown_back(running: Server) -> None:
    async with sdk_talk(running, "claude/scripted-n3") as talk:
        for _ in range(3):
            await talk.say("x" * 1_000_000)
        events = await talk.until("conversation.item.done", times=3)
    assert len(events[-1]["item"]["content"][0]["text"]) == 1_000_000


async def test_a_client_that_takes_nothing_is_closed_and_others_never_notice(
    running: Server, upstream: Upstream
) -> None:
    before = len(upstream.calls)
    async with begun(running, "llama31/scripted-endless-d0") as slow, sdk_talk(running, "claude/scripted-n9") as talk:
        assert (await talk.ask("Hi"))["status"] == "completed"
        await hung_up_on(upstream.calls[before])
        await anyio.sleep(STALL_S)  # what the rule is about: nothing is taken for so long
        assert await close_of(slow) == (1013, "slow_consumer")
        assert (await talk.ask("Still there?"))["status"] == "completed"


async def test_a_revoked_key_closes_its_sessions_and_frees_the_provider(running: Server, upstream: Upstream) -> None:
    before, key = len(upstream.calls), await anyio.to_thread.run_sync(running.new_key, "leaver")
    async with session(running, "claude/scripted-endless-d20", key=key) as client:
        await client.send({"type": "response.create"})
        await client.until("response.output_text.delta")
        with closing(sqlite3.connect(f"file:{running.data}/truth.db?mode=ro", uri=True)) as truth:
            (key_id,) = truth.execute("SELECT id FROM api_keys WHERE account = 'leaver'").fetchone()
        await anyio.to_thread.run_sync(running.run, "keys", "revoke", key_id)
        assert await close_of(client) == (4401, "the API key was revoked")
    await hung_up_on(upstream.calls[before])


async def stopped(server: Server) -> None:
    await anyio.to_thread.run_sync(server.stop)


async def test_a_server_that_stops_lets_a_response_end_and_begins_none(tmp_path: Path, upstream: Upstream) -> None:
    settings = {"CLAUDE_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "10"}
    async with (
        serving(tmp_path, settings) as server,
        begun(server, "claude/scripted-n100-d20", "&chatbackend=1") as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stopped, server)
        told = await client.until("chatbackend.draining")
        assert told[-1]["seconds"] == 10
        await client.send({"type": "response.create", "response": {"conversation": "none"}})
        assert (await client.until("error"))[-1]["error"]["code"] == "stopping"
        assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"
        assert await close_of(client) == (1012, "the server stops")


async def test_a_server_that_has_stopped_ends_what_still_runs_and_says_so(tmp_path: Path, upstream: Upstream) -> None:
    before, settings = len(upstream.calls), {"CLAUDE_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "0.2"}
    async with (
        serving(tmp_path, settings) as server,
        begun(server, "claude/scripted-endless-d20") as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stopped, server)
        events = await client.until("response.done")
        assert "chatbackend.draining" not in {event["type"] for event in events}
        end = events[-1]["response"]
        assert (end["status"], end["status_details"]["error"]["code"]) == ("failed", "interrupted")
        assert end["output"][0]["status"] == "incomplete"
        assert await close_of(client) == (1012, "the server stops")
    await hung_up_on(upstream.calls[before])
