"""Coming back: after a cut, a kill or a stop of the server, a cursor brings exactly the rest."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import openai
import pytest
from openai.types.websocket_reconnection import ReconnectingEvent, ReconnectingOverrides
from websockets.exceptions import ConnectionClosed

from tests.support.raw_socket import Event, RawSocket, Relay, bare, kinds, numbers, of, raw_socket, text_of
from tests.support.sdk import SOCKET_EVENT, TERMINAL, async_client
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


async def cut_after(running: Server, model: str, events: int, **fields: object) -> list[Event]:
    """Ask, take so many events and lose the connection."""
    async with raw_socket(running) as socket:
        await socket.create(model, **fields)
        seen = await socket.events(events)
        socket.cut()
        return seen


async def replayed(running: Server, response_id: str) -> list[Event]:
    """Return the whole stream as SSE replays it."""
    async with async_client(running) as client:
        stream = await client.responses.retrieve(response_id, stream=True)
        return [json.loads(event.to_json()) async for event in stream]


def cursors(*seen: Sequence[Event]) -> list[tuple[str, object]]:
    """Return the query that goes on behind these events."""
    query: list[tuple[str, object]] = []
    for events in seen:
        query += [("resume", events[0]["response"]["id"]), ("starting_after", events[-1]["sequence_number"])]
    return query


@pytest.mark.parametrize("store", [True, False])
async def test_a_lost_connection_is_made_good_by_the_exact_rest_in_the_same_lane(
    running: Server, *, store: bool
) -> None:
    seen = await cut_after(running, "llama31/scripted-n40-d5", 12, store=store, stream_id="left")
    async with raw_socket(running, cursors(seen)) as again:
        rest = await again.through()
    assert numbers([*seen, *rest]) == list(range(48))
    assert {event["stream_id"] for event in rest} == {"left"}
    assert bare([*seen, *rest]) == await replayed(running, seen[0]["response"]["id"])


async def test_several_responses_come_back_each_behind_its_own_cursor(running: Server) -> None:
    left = await cut_after(running, "llama31/scripted-n20-d5", 7, stream_id="left")
    right = await cut_after(running, "llama31/scripted-n25-d5", 3, stream_id="right")
    async with raw_socket(running, cursors(left, right)) as again:
        rest = await again.through(2)
    assert numbers([*left, *of(rest, "left")]) == list(range(28))
    assert numbers([*right, *of(rest, "right")]) == list(range(33))


async def test_an_open_socket_resumes_by_command(running: Server, socket: RawSocket) -> None:
    seen = await cut_after(running, "llama31/scripted-n9-d5", 4)
    await socket.send("chatbackend.resume", response_id=seen[0]["response"]["id"], starting_after=3)
    rest = await socket.through()
    assert numbers([*seen, *rest]) == list(range(17))
    assert all("stream_id" not in event for event in rest)


async def test_a_resumed_response_holds_its_lane_until_it_ends(running: Server) -> None:
    seen = await cut_after(running, "llama31/scripted-n20-d10", 5, stream_id="left")
    async with raw_socket(running, cursors(seen)) as again:
        await again.create("local", stream_id="left")
        events = await again.through(2)
    ids = [event["response"]["id"] for event in events if event["type"] in TERMINAL]
    assert ids[0] == seen[0]["response"]["id"]
    assert numbers(events) == [*range(5, 28), *range(9)]


async def test_a_closed_socket_stops_no_response(running: Server) -> None:
    seen = await cut_after(running, "llama31/scripted-n30-d10", 3)
    events = await replayed(running, seen[0]["response"]["id"])
    assert (kinds(events)[-1], len(text_of(events).split())) == ("response.completed", 30)


async def test_a_cursor_above_the_head_is_an_error_for_a_standard_client(running: Server) -> None:
    seen = await cut_after(running, "llama31/scripted-n1-d0", 9, stream_id="left")
    response_id = seen[0]["response"]["id"]
    async with raw_socket(running, [("resume", response_id), ("starting_after", 99)]) as again:
        error = await again.event()
    assert (error["status"], error["error"]["code"], error["stream_id"]) == (409, "cursor_ahead", "left")
    assert error["response_id"] == response_id


@pytest.mark.parametrize("opt_in", ["query", "command"])
async def test_a_cursor_above_the_head_is_a_reset_for_a_client_that_opted_in(running: Server, opt_in: str) -> None:
    seen = await cut_after(running, "llama31/scripted-n1-d0", 9, stream_id="left")
    response_id = seen[0]["response"]["id"]
    async with raw_socket(running, [("chatbackend", 1)] if opt_in == "query" else []) as again:
        await again.send("chatbackend.resume", response_id=response_id, starting_after=99)
        reset = await again.event()
    assert (reset["type"], reset["response_id"], reset["stream_id"]) == ("chatbackend.reset", response_id, "left")
    assert reset["response"]["status"] == "completed"


async def test_a_reset_of_a_running_response_is_followed_by_its_events_from_the_start(
    running: Server, socket: RawSocket
) -> None:
    await socket.create("llama31/scripted-n30-d10", stream_id="left")
    response_id = (await socket.event())["response"]["id"]
    async with raw_socket(running) as other:
        await other.send("chatbackend.resume", response_id=response_id, starting_after=10**6)
        events = await other.through()
    assert (events[0]["type"], events[0]["response"]["output"]) == ("chatbackend.reset", [])
    assert numbers(events[1:]) == list(range(38))


async def test_a_cursor_at_the_end_brings_nothing_and_frees_the_lane(running: Server) -> None:
    seen = await cut_after(running, "llama31/scripted-n1-d0", 9, stream_id="left")
    async with raw_socket(running, cursors(seen)) as again:
        await again.create("local", stream_id="left")
        assert numbers(await again.through()) == list(range(9))


@asynccontextmanager
async def own_server(folder: Path, upstream: Upstream) -> AsyncGenerator[Server, None]:
    server = Server(folder, {"LLAMA31_ENDPOINT": upstream.url})
    await anyio.to_thread.run_sync(server.start)
    try:
        yield server
    finally:
        await anyio.to_thread.run_sync(server.stop)


async def test_after_a_kill_the_rest_comes_in_the_lane_that_asked(tmp_path: Path, upstream: Upstream) -> None:
    async with own_server(tmp_path, upstream) as server:
        async with raw_socket(server) as socket:
            await socket.create("llama31/scripted-n2000-d5", stream_id="left")
            seen = await socket.events(30)
            await anyio.to_thread.run_sync(server.kill)
            seen += await _what_was_under_way(socket)
        await anyio.to_thread.run_sync(server.start)
        async with raw_socket(server, cursors(seen)) as again:
            rest = await again.through()
    assert numbers([*seen, *rest]) == list(range(len(seen) + len(rest)))
    assert {event["stream_id"] for event in rest} == {"left"}
    end = rest[-1]["response"]
    assert (rest[-1]["type"], end["status"]) == ("response.incomplete", "incomplete")
    assert end["incomplete_details"] == {"reason": None, "chatbackend_reason": "interrupted"}


async def _what_was_under_way(socket: RawSocket) -> list[Event]:
    found: list[Event] = []
    while True:
        try:
            found.append(await socket.event())
        except ConnectionClosed:
            return found


async def test_a_stopping_server_ends_what_runs_and_says_that_it_goes(tmp_path: Path, upstream: Upstream) -> None:
    async with own_server(tmp_path, upstream) as server, raw_socket(server) as socket:
        await socket.create("llama31/scripted-n30-d20")
        seen = await socket.events(5)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, server.stop)
            seen += await socket.through()
            assert await socket.closed() == (1012, "the server stops")
    assert numbers(seen) == list(range(38))
    assert kinds(seen)[-1] == "response.completed"


async def test_the_sdk_reconnects_and_misses_nothing(running: Server) -> None:
    seen: list[Any] = []
    attempts: list[int] = []

    def on_reconnecting(event: ReconnectingEvent) -> ReconnectingOverrides:
        attempts.append(event.attempt)
        return {"extra_query": {"resume": [seen[0].response.id], "starting_after": [seen[-1].sequence_number]}}

    async with Relay().running(running) as relay:
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{relay.port}/v1", api_key=running.key)
        manager = client.responses.connect(on_reconnecting=on_reconnecting, initial_delay=0.05)
        async with client, manager as connection:
            await connection.response.create(model="llama31/scripted-n60-d10", input="say on", stream_id="left")
            async for event in connection:
                seen.append(SOCKET_EVENT.validate_python(event.to_dict()))
                if event.type in TERMINAL:
                    break
                if len(seen) in (10, 30):
                    relay.cut()
    assert [event.sequence_number for event in seen] == list(range(68))
    assert {event.stream_id for event in seen} == {"left"}
    assert attempts
