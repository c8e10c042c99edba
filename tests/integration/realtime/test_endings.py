"""What ends a relayed session from outside: a credential, the server, a peer that takes nothing."""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.support import sdk
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio
GA = "/v1/realtime?model=openai/"
SOUND = '{"type":"response.output_audio.delta","delta":"' + "A" * 2**20 + '"}'


def settings(provider: RealtimeUpstream, **more: str) -> dict[str, str]:
    return {"OPENAI_ENDPOINT": provider.url, "OPENAI_API_KEY": VENDOR_KEY, "CHATBACKEND_PING_S": "0.5", **more}


async def test_the_end_of_the_server_is_1012_and_ends_the_providers_session(
    provider: RealtimeUpstream, tmp_path: Path
) -> None:
    async with (
        serving(tmp_path, settings(provider, CHATBACKEND_DRAIN_S="0.2")) as server,
        realtime(server, f"{GA}realtime&chatbackend=1") as knows,
        realtime(server, f"{GA}realtime-never") as working,
    ):
        await knows.recv()
        await working.send({"type": "response.create"})
        await working.until("response.created")
        sessions = provider.sessions[-2:]
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, server.stop)
            assert (await knows.recv())["type"] == "chatbackend.draining"
            assert [(await each.closed())[0] for each in (knows, working)] == [1012, 1012]
            for session in sessions:
                await session.ended.wait()
                assert session.code == 1001


async def test_a_revoked_key_ends_its_sessions(running: Server) -> None:
    key = await anyio.to_thread.run_sync(running.new_key, "revoked")
    with closing(sqlite3.connect(f"file:{running.data}/truth.db?mode=ro", uri=True)) as truth:
        (key_id,) = truth.execute("SELECT id FROM api_keys WHERE account = 'revoked'").fetchone()
    async with realtime(running, f"{GA}realtime", key=key) as client:
        await client.recv()
        await anyio.to_thread.run_sync(running.run, "keys", "revoke", key_id)
        assert (await client.closed())[0] == 4401


async def test_a_client_that_takes_nothing_is_let_go_and_its_provider_is_held_back(
    running: Server, provider: RealtimeUpstream
) -> None:
    async with realtime(running, f"{GA}realtime") as client:
        await client.recv()
        client.connection.transport.pause_reading()
        session = provider.sessions[-1]
        taken = 0
        with anyio.fail_after(20), suppress(ConnectionClosed):
            while True:
                await session.say(SOUND)
                taken += 1
        assert session.code == 1001
        assert taken < 64  # MiB: boxes, buffers of two kernels, and what is on its way


async def test_a_provider_that_takes_nothing_holds_its_client_back_and_a_silent_one_is_found(
    provider: RealtimeUpstream, tmp_path: Path
) -> None:
    async with serving(tmp_path, settings(provider)) as server, realtime(server, f"{GA}realtime") as client:
        await client.recv()
        session = provider.sessions[-1]
        session.fall_silent()
        sent = 0
        with anyio.move_on_after(0.5):
            while True:
                await client.connection.send(SOUND)
                sent += 1
        assert sent < 64
        assert await client.closed() == (1011, "the provider does not answer")


async def test_a_silent_session_outlives_many_pings_on_both_legs(provider: RealtimeUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, settings(provider)) as server, realtime(server, f"{GA}realtime") as client:
        await client.recv()
        for _ in range(3):
            await (await client.connection.ping())
            with anyio.move_on_after(1.1):  # two turns of pings on either leg, each due after half a second
                await client.connection.recv()
        assert (await client.ask())[-1]["response"]["status"] == "completed"


async def test_azure_is_dialled_at_its_preview_where_that_is_configured(
    provider: RealtimeUpstream, tmp_path: Path
) -> None:
    azure = {
        "AZURE_OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_DEPLOYMENTS": "voice=gpt-4o-realtime",
        "AZURE_OPENAI_REALTIME_API_VERSION": "2025-04-01-preview",
    }
    async with serving(tmp_path, azure) as server:
        async with realtime(server, "/v1/realtime?model=voice") as client:
            created = await client.recv()
            assert created["session"]["audio"]["output"]["voice"] == "alloy"
            await client.send(
                {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
            )
            assert (await client.recv())["session"]["output_modalities"] == ["text"]
            kinds = [event["type"] for event in await client.ask()]
            assert {"response.output_text.delta", "conversation.item.added", "conversation.item.done"} <= set(kinds)
        there = "/openai/realtime?api-version=2025-04-01-preview&deployment=voice"
        assert provider.sessions[-1].path == there
        async with realtime(server, there, checked=False) as client:
            await client.recv()
            temperate = {"type": "session.update", "session": {"temperature": 0.7}}
            await client.send(temperate)
            assert (await client.recv())["session"]["temperature"] == 0.7


async def test_a_user_has_at_most_so_many_sessions(provider: RealtimeUpstream, tmp_path: Path) -> None:
    limited = settings(provider, CHATBACKEND_MAX_SOCKETS_PER_USER="1")
    async with serving(tmp_path, limited) as server, realtime(server, f"{GA}realtime") as first:
        await first.recv()
        with pytest.raises(InvalidStatus) as refused:
            async with realtime(server, f"{GA}realtime"):
                pass
        assert refused.value.response.status_code == 429
        assert b"too_many_sockets" in bytes(refused.value.response.body or b"")


async def test_no_credential_is_in_the_log(provider: RealtimeUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, settings(provider, CHATBACKEND_LOG_LEVEL="debug")) as server:
        async with sdk.async_client(server) as client:
            secret = (await client.realtime.client_secrets.create()).value
        offered = ["realtime", f"openai-insecure-api-key.{secret}"]
        asked = f"{GA}realtime-leaks&api-key=sk-canary-in-the-query"
        async with realtime(server, asked, key="", offered=offered) as client:
            await client.recv()
            await client.recv()
            await provider.sessions[-1].close(1008, f"{VENDOR_KEY} is bad")
            await client.closed()
        with pytest.raises(InvalidStatus):
            async with realtime(server, asked, key="sk-canary-in-a-header"):
                pass
        log = server.log()
        assert "socket" in log
        assert [key for key in (secret, VENDOR_KEY, server.key, "canary") if key in log] == []
