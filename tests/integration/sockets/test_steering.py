"""Steering a response that runs: by the API's own definition, on a real server over a scripted upstream."""

from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest

from tests.support.raw_socket import Event, RawSocket, kinds, numbers, raw_socket, text_of
from tests.support.sdk import TERMINAL, async_client
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
MODEL = "llama31/m"  # the script is the first word of the newest question
LONG = "n60-d20 write an essay"
TOOL: dict[str, Any] = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with async_client(running) as client:
        yield client


async def begun(socket: RawSocket, text: str = LONG, **fields: object) -> str:
    """Ask, and return the response's id once its first words are here."""
    await socket.create(MODEL, text, **fields)
    events = await socket.until("response.output_text.delta", "response.reasoning_text.delta")
    return events[0]["response"]["id"]


async def steer(socket: RawSocket, response_id: str, given: object = "n3-d0 shorter") -> None:
    await socket.send("response.steer", previous_response_id=response_id, input=given)


async def failure(socket: RawSocket) -> Event:
    return (await socket.until("response.steer.failed"))[-1]


def prompt(upstream: Upstream) -> list[str]:
    """Return the messages of the newest call."""
    return [str(message["content"]) for message in upstream.calls[-1].asked.messages]


async def test_a_steered_message_is_finished_and_a_successor_follows_in_its_lane(
    socket: RawSocket, client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    first = await begun(socket, stream_id="left", instructions="Be kind.", metadata={"a": "b"})
    await steer(socket, first)
    events = await socket.through(2)
    accepted = next(event for event in events if event["type"] == "response.steer.accepted")
    assert accepted["steer"]["previous_response_id"] == first
    assert accepted["stream_id"] == "left"
    cut = kinds(events).index("response.completed")
    created, end = events[cut + 1], events[-1]
    assert (created["type"], created["response"]["previous_response_id"]) == ("response.created", first)
    assert numbers(events[cut + 1 :]) == list(range(len(events) - cut - 1))
    assert {event.get("stream_id") for event in events} == {"left"}
    assert (end["response"]["instructions"], end["response"]["metadata"]) == ("Be kind.", {"a": "b"})
    answer = next(event for event in events if event["type"] == "response.output_text.done")["text"]
    assert answer.count(":") == 60
    assert prompt(upstream) == ["Be kind.", LONG, answer, "n3-d0 shorter"]
    inputs = await client.responses.input_items.list(end["response"]["id"])
    assert [item.type for item in inputs.data] == ["message"]
    assert (await client.responses.retrieve(end["response"]["id"])).output_text == text_of(events[cut:])


async def test_steering_stops_a_response_between_two_of_its_items(socket: RawSocket, upstream: Upstream) -> None:
    first = await begun(socket, "reason-n2-d800 think")
    await steer(socket, first, [{"role": "user", "content": [{"type": "input_text", "text": "n2-d0 stop"}]}])
    events = await socket.through(2)
    ends = [event for event in events if event["type"] in TERMINAL]
    assert [event["type"] for event in ends] == ["response.incomplete", "response.completed"]
    steered = ends[0]["response"]
    assert (steered["id"], steered["incomplete_details"]["reason"]) == (first, "steered")
    assert [(item["type"], item["status"]) for item in steered["output"]] == [("reasoning", "completed")]
    assert upstream.calls[-2].outcome == "closed-by-client"
    assert ends[1]["response"]["previous_response_id"] == first


async def test_steering_before_the_first_word_stops_at_once(socket: RawSocket) -> None:
    await socket.create(MODEL, "silent")
    first = (await socket.until("response.in_progress"))[0]["response"]["id"]
    await steer(socket, first, "n2-d0 rather this")
    await socket.until("response.steer.accepted")
    ends = [event for event in await socket.through(2) if event["type"] in TERMINAL]
    assert [event["type"] for event in ends] == ["response.incomplete", "response.completed"]
    assert ends[0]["response"]["output"] == []


async def test_several_inputs_are_taken_together_in_their_order(socket: RawSocket, upstream: Upstream) -> None:
    first = await begun(socket)
    for word in ("one", "two", "n2-d0 three"):
        await steer(socket, first, word)
    events = await socket.through(2)
    assert kinds(events).count("response.steer.accepted") == 3
    assert prompt(upstream)[-3:] == ["one", "two", "n2-d0 three"]


async def test_a_successor_can_be_steered_too(socket: RawSocket) -> None:
    first = await begun(socket)
    await steer(socket, first, LONG)
    await socket.through()
    second = (await socket.first("response.created"))["response"]["id"]
    await socket.first("response.output_text.delta")
    await steer(socket, second)
    events = await socket.through(2)
    assert events[-1]["response"]["previous_response_id"] == second


async def test_an_unstored_response_is_steered_and_its_lane_goes_on_from_the_successor(
    socket: RawSocket, upstream: Upstream
) -> None:
    first = await begun(socket, store=False)
    await steer(socket, first)
    events = await socket.through(2)
    last = events[-1]["response"]
    assert (last["previous_response_id"], last["store"]) == (first, False)
    await socket.create(MODEL, "n1-d0 and", previous_response_id=last["id"], store=False)
    assert (await socket.through())[-1]["type"] == "response.completed"
    assert [text for text in prompt(upstream) if ":" not in text] == [LONG, "n3-d0 shorter", "n1-d0 and"]


@pytest.mark.parametrize("store", [True, False])
async def test_with_a_call_open_the_input_waits_for_the_client_and_goes_before_its_outputs(
    socket: RawSocket, upstream: Upstream, *, store: bool
) -> None:
    await socket.create(MODEL, "tool-call-d600", tools=[TOOL], store=store, stream_id="a")
    first = (await socket.until("response.output_item.added"))[0]["response"]["id"]
    await steer(socket, first, "n2-d0 and be quick")
    await socket.through()
    pending = await socket.event()
    assert (pending["type"], pending["reason"]) == ("response.steer.pending", "waiting_for_required_input")
    (stub,) = pending["required_input"]
    assert (stub["type"], stub["name"]) == ("function_call_output", "look")
    output = {**stub, "output": "seen"}
    await socket.create(MODEL, [output], previous_response_id=first, store=store, stream_id="a", tools=[TOOL])
    events = await socket.through()
    assert events[-1]["type"] == "response.completed"
    assert [message["role"] for message in upstream.calls[-1].asked.messages][-3:] == ["assistant", "tool", "user"]
    assert prompt(upstream)[-1] == "n2-d0 and be quick"
    if store:
        await socket.create(MODEL, [output], previous_response_id=first, tools=[TOOL], stream_id="a")
        await socket.through()
        assert "n2-d0 and be quick" not in prompt(upstream)  # taken once


async def test_what_cannot_be_steered_is_refused_and_given_back(
    socket: RawSocket, running: Server, client: openai.AsyncOpenAI
) -> None:
    await steer(socket, "resp_none", "Faster")
    failed = await failure(socket)
    assert (failed["error"]["code"], failed["steer"]) == (
        "response_not_found",
        {"previous_response_id": "resp_none", "input": "Faster"},
    )
    await socket.create(MODEL, "n1-d0")
    done = (await socket.through())[-1]["response"]["id"]
    await steer(socket, done)
    assert (await failure(socket))["error"]["code"] == "response_already_completed"
    conversation = await client.conversations.create()
    bound = await begun(socket, "n60-d30 in it", conversation=conversation.id)
    await steer(socket, bound)
    assert (await failure(socket))["error"]["code"] == "steering_not_supported"
    async with raw_socket(running) as other:
        await steer(other, bound)
        assert (await failure(other))["error"]["code"] == "response_not_found"


async def test_more_than_sixteen_inputs_are_too_many(socket: RawSocket) -> None:
    first = await begun(socket)
    for number in range(17):
        await steer(socket, first, f"{number}")
    failed = await failure(socket)
    assert (failed["error"]["code"], failed["steer"]["input"]) == ("too_many_pending_steers", "16")


async def test_a_response_that_fails_gives_its_steering_back(socket: RawSocket) -> None:
    first = await begun(socket, "error-at-20-d50")
    await steer(socket, first, "n1-d0 on")
    events = await socket.until("response.steer.failed")
    steer_id = next(event for event in events if event["type"] == "response.steer.accepted")["steer"]["id"]
    assert "response.failed" in kinds(events)
    assert events[-1]["steer"] == {"id": steer_id, "previous_response_id": first, "input": "n1-d0 on"}
    assert events[-1]["error"]["code"] == "response_not_active"


async def test_who_comes_back_gets_the_successor_too(socket: RawSocket, running: Server) -> None:
    first = await begun(socket)
    await steer(socket, first)
    events = [await socket.first("response.steer.accepted")]
    socket.cut()
    async with raw_socket(running, [("resume", first), ("starting_after", events[-1]["sequence_number"])]) as again:
        events = await again.through(2)
    assert events[-1]["response"]["previous_response_id"] == first
    async with raw_socket(running, [("resume", first)]) as later:
        assert [event["type"] for event in await later.through(2) if event["type"] in TERMINAL] == [
            "response.completed",
            "response.completed",
        ]


async def test_the_sdk_steers(client: openai.AsyncOpenAI) -> None:
    async with client.responses.connect() as connection:
        await connection.response.create(model=MODEL, input=LONG)
        seen, first = list[str](), ""
        async for event in connection:
            seen.append(event.type)
            if event.type == "response.created":
                first = first or event.response.id
            if seen.count("response.output_text.delta") == 1 and event.type == "response.output_text.delta":
                await connection.response.steer(input="n1-d0 less", previous_response_id=first)
            if sum(kind in TERMINAL for kind in seen) == 2:
                break
    assert seen.count("response.steer.accepted") == 1
