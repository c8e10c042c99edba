"""Lanes of a real socket: in order within one, side by side, bounded; and every refusal in its place."""

import json
from itertools import pairwise
from typing import Any

import anyio
import openai
import pytest

from tests.support.raw_socket import RawSocket, bare, kinds, numbers, of, raw_socket, text_of
from tests.support.sdk import TERMINAL, async_client
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_requests_of_a_lane_run_in_their_order_and_never_overlap(socket: RawSocket, upstream: Upstream) -> None:
    before = len(upstream.calls)
    for tokens in (7, 3, 5):
        await socket.create(f"llama31/scripted-n{tokens}-d3", stream_id="left")
    events = await socket.through(3)
    assert numbers(events) == [number for tokens in (7, 3, 5) for number in range(tokens + 8)]
    assert {event["stream_id"] for event in events} == {"left"}
    calls = upstream.calls[before:]
    assert [call.asked.model for call in calls] == [f"scripted-n{tokens}-d3" for tokens in (7, 3, 5)]
    assert all(later.started >= (earlier.ended_at or 0) for earlier, later in pairwise(calls))


async def test_lanes_run_side_by_side_and_each_event_names_its_own(socket: RawSocket) -> None:
    lanes = ["left", "right", None]
    for lane in lanes:
        await socket.create("llama31/scripted-n12-d25", stream_id=lane)
    events = await socket.through(3)
    first_end = next(index for index, event in enumerate(events) if event["type"] in TERMINAL)
    assert {event.get("stream_id") for event in events[:first_end]} == set(lanes)
    for lane in lanes:
        assert numbers(of(events, lane)) == list(range(20))
        salts = {word.partition(":")[0] for word in text_of(of(events, lane)).split()}
        assert len(salts) == 1
    assert all("stream_id" not in event for event in of(events, None))


async def test_the_events_are_those_that_sse_replays(socket: RawSocket, running: Server) -> None:
    await socket.create("llama31/scripted-n4-d0", stream_id="left")
    events = await socket.through()
    response_id = events[0]["response"]["id"]
    async with async_client(running) as client:
        replayed = await client.responses.retrieve(response_id, stream=True)
        assert [json.loads(event.to_json()) async for event in replayed] == bare(events)


async def test_a_seventeenth_response_waits_for_one_to_end(socket: RawSocket, upstream: Upstream) -> None:
    before = len(upstream.calls)
    for number in range(18):
        await socket.create("llama31/scripted-stall-at-1-n9", stream_id=f"lane{number}")
    started = [event for event in await socket.until("response.output_text.delta", times=16)]
    begun = [event["response"]["id"] for event in started if event["type"] == "response.created"]
    assert len(begun) == 16
    await socket.send("chatbackend.cancel", response_id=begun[3])
    more = await socket.until("response.output_text.delta")
    assert [event["stream_id"] for event in more if event["type"] == "response.created"] == ["lane16"]
    assert kinds(more).index("response.incomplete") < kinds(more).index("response.created")
    assert len(upstream.calls) - before == 17
    for response_id in (*begun[:3], *begun[4:], of(more, "lane16")[0]["response"]["id"]):
        await socket.send("chatbackend.cancel", response_id=response_id)
    last = [*more, *await socket.until("response.output_text.delta")]
    await socket.send("chatbackend.cancel", response_id=of(last, "lane17")[0]["response"]["id"])


async def test_more_names_than_the_limit_are_refused(socket: RawSocket) -> None:
    for number in range(33):
        await socket.create("llama31/scripted-n1-d0", generate=False, stream_id=f"lane{number}")
    events = await socket.until("error")
    error = events[-1]
    assert (error["status"], error["error"]["code"]) == (400, "websocket_stream_limit_reached")
    assert error["stream_id"] == "lane32"


async def test_more_waiting_commands_than_the_limit_are_refused(socket: RawSocket) -> None:
    await socket.create("llama31/scripted-stall-at-1", stream_id="left")
    response_id = (await socket.first("response.created"))["response"]["id"]
    for _ in range(257):
        await socket.create("nothing", stream_id="left")
    error = await socket.first("error")
    assert (error["status"], error["error"]["code"]) == (429, "websocket_queue_full")
    assert error["error"]["headers"] == {"retry-after": "1"}
    await socket.send("chatbackend.cancel", response_id=response_id)
    refused = [event for event in await socket.until("error", times=256) if event["type"] == "error"]
    assert {event["error"]["code"] for event in refused} == {"model_not_found"}


REFUSED: list[tuple[dict[str, Any], int, str | None]] = [
    ({"model": "no-such-model"}, 404, "model_not_found"),
    ({}, 400, "missing_required_parameter"),
    ({"model": "local", "background": True}, 400, "unsupported_parameter"),
    ({"model": "local", "temperature": 7}, 400, None),
    ({"model": "local", "previous_response_id": "resp_none"}, 400, "previous_response_not_found"),
    ({"model": "local", "conversation": "conv_none"}, 404, "conversation_not_found"),
    ({"model": "local", "chatbackend": {"idempotency_key": 7}}, 400, None),
]


@pytest.mark.parametrize(("fields", "status", "code"), REFUSED)
async def test_a_refused_request_is_an_error_in_its_lane(
    socket: RawSocket, fields: dict[str, Any], status: int, code: str | None
) -> None:
    await socket.send("response.create", input="hi", stream_id="left", **fields)
    error = await socket.event()
    assert (error["type"], error["status"], error["stream_id"]) == ("error", status, "left")
    assert code in (None, error["error"]["code"])


async def test_an_error_keeps_its_place_in_the_lane_and_other_lanes_go_on(socket: RawSocket) -> None:
    await socket.create("llama31/scripted-n5-d5", stream_id="left")
    await socket.create("no-such-model", stream_id="left")
    await socket.create("llama31/scripted-n5-d5", stream_id="left")
    await socket.create("llama31/scripted-n5-d5", stream_id="right")
    events = await socket.through(3)
    left = kinds(of(events, "left"))
    assert (left.count("error"), left[left.index("error") - 1]) == (1, "response.completed")
    assert left[left.index("error") + 1] == "response.created"
    assert numbers(of(events, "right")) == list(range(13))


@pytest.mark.parametrize(
    "data", ["{", "[]", '{"type": "no.such.type"}', '{"type": "response.create", "stream_id": ""}']
)
async def test_a_frame_that_is_no_command_is_refused_and_the_socket_stays(socket: RawSocket, data: str) -> None:
    await socket.connection.send(data)
    error = await socket.event()
    assert (error["type"], error["status"], "stream_id" in error) == ("error", 400, False)
    await socket.create("local")
    assert (await socket.through())[-1]["type"] == "response.completed"


async def test_binary_frames_are_refused(socket: RawSocket) -> None:
    await socket.connection.send(b'{"type": "response.create"}')
    error = await socket.event()
    assert (error["status"], error["error"]["code"]) == (400, "binary_frame")


async def test_a_failed_generation_ends_its_stream_and_frees_the_lane(socket: RawSocket) -> None:
    await socket.create("llama31/scripted-error-at-3", stream_id="left")
    await socket.create("llama31/scripted-n2-d0", stream_id="left")
    events = await socket.through(2)
    ends = [event["type"] for event in events if event["type"] in TERMINAL]
    assert ends == ["response.failed", "response.completed"]


async def test_the_sdk_cancels_what_another_connection_asked_for(
    socket: RawSocket, running: Server, upstream: Upstream
) -> None:
    before = len(upstream.calls)
    await socket.create("llama31/scripted-endless-d5", stream_id="left")
    response_id = (await socket.until("response.output_text.delta"))[0]["response"]["id"]
    async with async_client(running) as client, client.responses.connect() as other:
        await other.send_raw(json.dumps({"type": "chatbackend.cancel", "response_id": response_id}))
        answer = json.loads(await other.recv_bytes())
    assert answer == {
        "type": "chatbackend.cancelled",
        "response_id": response_id,
        "status": "cancelled",
        "stream_id": "left",
    }
    end = (await socket.through())[-1]
    assert (end["type"], end["response"]["status"]) == ("response.incomplete", "cancelled")
    with anyio.fail_after(5):
        await upstream.calls[before].ended.wait()
    assert upstream.calls[before].outcome == "closed-by-client"


async def test_a_response_deleted_while_it_runs_frees_its_lane(socket: RawSocket, running: Server) -> None:
    await socket.create("llama31/scripted-endless-d5", stream_id="left")
    response_id = (await socket.first("response.created"))["response"]["id"]
    async with async_client(running) as client:
        await client.responses.delete(response_id)
    await socket.create("local", stream_id="left")
    events = await socket.until("response.completed")
    seen = kinds(events)
    assert "error" in seen or "response.incomplete" in seen
    assert all(event["error"]["code"] == "response_not_found" for event in events if event["type"] == "error")


async def test_nobody_reaches_the_responses_of_another_user(running: Server) -> None:
    async with (
        raw_socket(running, headers={"chatbackend-user": "alice"}) as alice,
        raw_socket(running, headers={"chatbackend-user": "bob"}) as bob,
    ):
        await alice.create("llama31/scripted-n2-d0", store=True)
        stored = (await alice.through())[0]["response"]["id"]
        await alice.create("llama31/scripted-n2-d0", store=False)
        unstored = (await alice.through())[0]["response"]["id"]
        for response_id in (stored, unstored, "resp_none"):
            for command in ("chatbackend.cancel", "chatbackend.resume"):
                await bob.send(command, response_id=response_id)
                error = await bob.event()
                assert (error["status"], error["error"]["code"]) == (404, "response_not_found")
                assert error["error"]["message"] == f"Response with id '{response_id}' not found."
                assert error["response_id"] == response_id
            await bob.create("local", previous_response_id=response_id)
            assert (await bob.event())["error"]["code"] == "previous_response_not_found"
        async with raw_socket(running, [("resume", stored)], headers={"chatbackend-user": "bob"}) as again:
            assert (await again.event())["status"] == 404
        await alice.send("chatbackend.resume", response_id=stored)
        assert (await alice.through())[0]["response"]["id"] == stored


async def test_many_sockets_follow_one_response_to_the_letter(socket: RawSocket, running: Server) -> None:
    await socket.create("llama31/scripted-n40-d5", stream_id="left")
    response_id = (await socket.until("response.created"))[0]["response"]["id"]
    streams: list[list[Any]] = []

    async def follow() -> None:
        async with raw_socket(running, [("resume", response_id)]) as other:
            streams.append(await other.through())

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(follow)
    assert len(streams) == 5
    assert all(stream == streams[0] for stream in streams)
    assert numbers(streams[0]) == list(range(48))
    assert {event["stream_id"] for event in streams[0]} == {"left"}


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used as a context manager")  # the SDK's own use of websockets
async def test_the_synchronous_sdk_asks_in_lanes(running: Server) -> None:
    def ask() -> dict[str | None, str]:
        texts: dict[str | None, str] = {}
        with (
            openai.OpenAI(base_url=running.base_url, api_key=running.key) as client,
            client.responses.connect() as connection,
        ):
            connection.response.create(model="local", input="hi", stream_id="left")
            connection.response.create(model="local", input="hi", store=False)
            for event in connection:
                if event.type == "response.completed":
                    texts[event.stream_id] = event.response.output_text
                if len(texts) == 2:
                    break
        return texts

    texts = await anyio.to_thread.run_sync(ask)
    assert set(texts) == {"left", None}
    assert all(text.startswith("This is the built-in extractive model") for text in texts.values())
