"""Handshakes that are refused, and sockets that we close: too large, too slow, revoked."""

import json
import sqlite3
import time
from contextlib import closing, suppress

import anyio
import anyio.to_thread
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatbackend.infra.web.outbox import STALL_S
from tests.support.raw_socket import RawSocket, numbers, raw_socket, text_of
from tests.support.server import Server

pytestmark = pytest.mark.anyio
KEY_WITHIN_S = 5.0
LARGE = " ".join(["x" * 9_999] * 90)  # each response shows it five times


async def refusal(
    server: Server, query: list[tuple[str, object]], **changed: str
) -> tuple[int, str | None, str | None]:
    """Return the status, code and parameter of a refused handshake."""
    headers = {name.replace("_", "-"): value for name, value in changed.items()}
    with pytest.raises(InvalidStatus) as caught:
        async with raw_socket(server, query, key=headers.pop("key", None), headers=headers):
            pass
    answer = caught.value.response
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = json.loads(answer.body or b"")["error"]
    return answer.status_code, error["code"], error["param"]


async def test_a_handshake_is_refused_before_the_upgrade(running: Server) -> None:
    assert await refusal(running, [], key="sk-unknown") == (401, "invalid_api_key", None)
    assert await refusal(running, [], origin="https://evil.example") == (403, "forbidden", None)
    assert await refusal(running, [], origin="null") == (403, "forbidden", None)
    assert await refusal(running, [("starting_after", 3)]) == (400, None, "starting_after")
    assert await refusal(running, [("resume", "a"), ("resume", "b"), ("starting_after", 3)]) == (
        400,
        None,
        "starting_after",
    )
    assert await refusal(running, [("resume", "a"), ("starting_after", "x")]) == (400, None, "starting_after")
    assert await refusal(running, [("resume", "a")] * 65) == (400, None, "resume")


async def test_an_allowed_origin_and_a_subprotocol_are_taken(running: Server) -> None:
    origin = {"origin": "http://localhost:5173"}
    async with raw_socket(running, headers=origin, subprotocols=["realtime", "other"]) as socket:
        assert socket.connection.subprotocol == "realtime"
        await socket.create("local")
        assert (await socket.through())[-1]["type"] == "response.completed"


async def test_a_socket_is_told_from_the_other_routes(running: Server) -> None:
    for path, status in (("/v1/nothing", 404), ("/v1/models", 405)):
        with pytest.raises(InvalidStatus) as caught:
            async with connect(
                f"{running.ws_url}{path}", additional_headers={"authorization": f"Bearer {running.key}"}
            ):
                pass
        assert caught.value.response.status_code == status


@pytest.mark.parametrize("characters", [2**20, 3 * 2**20, 40 * 2**20])
async def test_a_frame_over_the_limit_closes_with_1009(socket: RawSocket, characters: int) -> None:
    with suppress(ConnectionClosed):  # it may be told before it has sent everything
        await socket.create("local", "x" * characters)
    assert (await socket.closed())[0] == 1009


async def test_text_that_is_no_unicode_closes_with_1007(socket: RawSocket) -> None:
    await socket.connection.send(b'{"type": "\xff"}', text=True)
    assert (await socket.closed())[0] == 1007


async def test_a_frame_is_measured_in_bytes(socket: RawSocket) -> None:
    await socket.connection.send(json.dumps({"input": "ä" * 600_000}, ensure_ascii=False))
    assert (await socket.closed())[0] == 1009


async def test_a_frame_below_the_limit_is_taken(socket: RawSocket) -> None:
    await socket.create("local", "x" * (2**20 - 200))
    assert (await socket.through())[-1]["type"] == "response.completed"


async def test_a_client_that_takes_nothing_is_closed_and_others_never_notice(
    socket: RawSocket, running: Server
) -> None:
    async with raw_socket(running) as slow:
        await slow.create("llama31/scripted-echo", LARGE, stream_id="lane0")
        response_id = (await slow.event())["response"]["id"]
        for number in range(1, 6):
            await slow.create("llama31/scripted-echo", LARGE, stream_id=f"lane{number}")
        await socket.send("chatbackend.resume", response_id=response_id)
        seen = await socket.through()
        await anyio.sleep(STALL_S + 1)  # what the rule is about: nothing is taken for so long
        assert await slow.closed() == (1013, "slow_consumer")
    assert numbers(seen) == list(range(len(seen)))
    assert text_of(seen).endswith(LARGE)
    await socket.create("local")
    assert (await socket.through())[-1]["type"] == "response.completed"


async def test_a_client_slower_than_the_stream_that_takes_it_all_stays(running: Server) -> None:
    async with raw_socket(running) as asking:
        await asking.create("llama31/scripted-n4000-d0")
        response_id = (await asking.event())["response"]["id"]
        async with raw_socket(running, [("resume", response_id)]) as socket:
            found = await socket.through()
    assert numbers(found) == list(range(4_008))


async def test_a_revoked_key_closes_its_sockets_and_no_others(socket: RawSocket, running: Server) -> None:
    key = await anyio.to_thread.run_sync(running.new_key, "leaver")
    async with raw_socket(running, key=key) as first, raw_socket(running, key=key) as second:
        await first.create("llama31/scripted-endless-d20")
        await first.event()
        with closing(sqlite3.connect(f"file:{running.data}/truth.db?mode=ro", uri=True)) as truth:
            (key_id,) = truth.execute("SELECT id FROM api_keys WHERE account = 'leaver'").fetchone()
        await anyio.to_thread.run_sync(running.run, "keys", "revoke", key_id)
        revoked = time.monotonic()
        assert await first.closed() == (4401, "the API key was revoked")
        assert await second.closed() == (4401, "the API key was revoked")
        assert time.monotonic() - revoked < KEY_WITHIN_S
    assert await refusal(running, [], key=key) == (401, "invalid_api_key", None)
    await socket.create("local")
    assert (await socket.through())[-1]["type"] == "response.completed"
