"""Going on from responses that are not stored, creating once, and preparing without generating."""

from collections.abc import AsyncGenerator

import openai
import pytest

from tests.support.raw_socket import Event, RawSocket, kinds, numbers, raw_socket, text_of
from tests.support.sdk import async_client
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
MODEL = "llama31/scripted-n2-d0"


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with async_client(running) as client:
        yield client


async def answered(socket: RawSocket, text: str, **fields: object) -> tuple[str, str]:
    """Ask and return the response's id and text."""
    await socket.create(MODEL, text, **fields)
    events = await socket.through()
    assert events[-1]["type"] == "response.completed"
    return events[0]["response"]["id"], text_of(events)


async def refused(socket: RawSocket, previous: str, **fields: object) -> Event:
    await socket.create(MODEL, "go on", previous_response_id=previous, **fields)
    error = await socket.event()
    assert error["type"] == "error", error
    return error["error"]


def prompt(upstream: Upstream) -> list[str]:
    """Return the messages of the newest call."""
    return [str(message["content"]) for message in upstream.calls[-1].asked.messages]


async def test_an_unstored_response_is_gone_on_from_on_its_own_connection(
    socket: RawSocket, upstream: Upstream
) -> None:
    first, one = await answered(socket, "first", store=False)
    second, two = await answered(socket, "second", store=False, previous_response_id=first)
    await answered(socket, "third", store=False, previous_response_id=second)
    assert prompt(upstream) == ["first", one, "second", two, "third"]


async def test_another_connection_knows_nothing_of_it(socket: RawSocket, running: Server) -> None:
    first, _ = await answered(socket, "first", store=False)
    async with raw_socket(running) as other:
        error = await refused(other, first)
    assert (error["code"], error["param"]) == ("previous_response_not_found", "previous_response_id")


async def test_a_lane_keeps_its_newest_unstored_response_only(socket: RawSocket) -> None:
    first, _ = await answered(socket, "first", store=False, stream_id="left")
    await answered(socket, "second", store=False, stream_id="left")
    assert (await refused(socket, first, stream_id="left"))["code"] == "previous_response_not_found"


async def test_a_conversation_forks_onto_another_lane(socket: RawSocket, upstream: Upstream) -> None:
    first, one = await answered(socket, "first", store=False, stream_id="left")
    await answered(socket, "fork", store=False, stream_id="right", previous_response_id=first)
    assert prompt(upstream) == ["first", one, "fork"]
    await answered(socket, "second", store=False, stream_id="left", previous_response_id=first)
    assert prompt(upstream) == ["first", one, "second"]


async def test_a_refused_continuation_gives_up_its_lanes_context(socket: RawSocket) -> None:
    first, _ = await answered(socket, "first", store=False, stream_id="left")
    assert (await refused(socket, first, stream_id="left", temperature=7))["param"] == "temperature"
    assert (await refused(socket, first, stream_id="left"))["code"] == "previous_response_not_found"


async def test_a_failed_continuation_gives_up_its_lanes_context_and_a_failed_fork_does_not(socket: RawSocket) -> None:
    first, _ = await answered(socket, "first", store=False, stream_id="left")
    assert (await refused(socket, first, stream_id="right", temperature=7))["param"] == "temperature"
    second, _ = await answered(socket, "second", store=False, stream_id="left", previous_response_id=first)
    await socket.create("llama31/scripted-error-at-1", previous_response_id=second, store=False, stream_id="left")
    assert (await socket.through())[-1]["type"] == "response.failed"
    assert (await refused(socket, second, stream_id="left"))["code"] == "previous_response_not_found"


async def test_a_stored_response_that_follows_an_unstored_one_remembers_everything(
    socket: RawSocket, client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    first, one = await answered(socket, "first", store=False)
    second, two = await answered(socket, "second", previous_response_id=first)
    third = await client.responses.create(model=MODEL, input="third", previous_response_id=second)
    assert prompt(upstream) == ["first", one, "second", two, "third"]
    assert third.status == "completed"


async def test_an_unstored_response_that_follows_a_stored_one_is_gone_on_from(
    socket: RawSocket, client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    stored = await client.responses.create(model=MODEL, input="first")
    second, two = await answered(socket, "second", store=False, previous_response_id=stored.id)
    await answered(socket, "third", store=False, previous_response_id=second)
    assert prompt(upstream) == ["first", stored.output_text, "second", two, "third"]


async def test_without_generation_a_response_only_prepares_the_next(socket: RawSocket, upstream: Upstream) -> None:
    before = len(upstream.calls)
    first, text = await answered(socket, "remember seven", store=False, generate=False)
    assert (text, len(upstream.calls)) == ("", before)
    await answered(socket, "what was it?", store=False, previous_response_id=first)
    assert prompt(upstream) == ["remember seven", "what was it?"]


@pytest.mark.parametrize("store", [True, False])
async def test_the_same_key_and_body_bring_the_same_response_from_its_first_event(
    running: Server, upstream: Upstream, *, store: bool
) -> None:
    before, once = len(upstream.calls), {"idempotency_key": f"key-{store}"}
    streams: list[list[Event]] = []
    for lane in ("left", "right"):
        async with raw_socket(running) as socket:
            await socket.create("llama31/scripted-n9-d0", chatbackend=once, store=store, stream_id=lane)
            streams.append(await socket.through())
    assert [{**event, "stream_id": "right"} for event in streams[0]] == streams[1]
    assert (numbers(streams[0]), len(upstream.calls)) == (list(range(17)), before + 1)


async def test_the_same_key_with_another_body_is_refused(socket: RawSocket) -> None:
    once = {"idempotency_key": "key-other-body"}
    await answered(socket, "one", chatbackend=once)
    await socket.create(MODEL, "two", chatbackend=once)
    error = await socket.event()
    assert (error["status"], error["error"]["code"]) == (422, "idempotency_key_reused")


async def test_a_key_means_the_same_over_http(socket: RawSocket, client: openai.AsyncOpenAI) -> None:
    response_id, _ = await answered(socket, "one", chatbackend={"idempotency_key": "key-http"}, stream_id="left")
    same = await client.responses.create(
        model=MODEL, input="one", extra_headers={"idempotency-key": "key-http", "x-stainless-retry-count": "0"}
    )
    assert same.id == response_id


async def test_a_stored_conversation_takes_turns_from_two_lanes(
    socket: RawSocket, client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    conversation = await client.conversations.create()
    for lane in ("left", "right"):
        await socket.create("llama31/scripted-n5-d10", lane, conversation=conversation.id, stream_id=lane)
    events = await socket.through(2)
    assert kinds(events).count("response.completed") == 2
    spoken = prompt(upstream)
    assert (spoken[0], spoken[2]) == ("left", "right")
