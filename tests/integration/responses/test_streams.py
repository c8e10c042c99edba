"""Streams of responses over SSE: the same bytes for every reader, behind any cursor, whatever becomes of the client."""

import json
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest

from tests.integration.responses.conftest import MODEL, SLOW, asked, followed, frames
from tests.support.openai_types import checked_event
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_a_stream_is_framed_as_browsers_and_sdks_read_it(
    http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    body = {"model": MODEL, "input": "hi", "stream": True}
    async with http.stream("POST", "/v1/responses", headers=bearer, json=body) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-request-id"]
        response_id = response.headers["x-chatbackend-response-id"]
        found = [frame async for frame in frames(response)]
    events = [checked_event(frame.data.encode()) for frame in found]
    assert [frame.event for frame in found] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert {event["response"]["id"] for event in events if "response" in event} == {response_id}


async def test_every_reader_gets_the_same_bytes_behind_its_own_cursor(
    http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    live = await asked(http, bearer, {"model": MODEL, "input": "hi", "stream": True})
    response_id = json.loads(live[0].data)["response"]["id"]
    path = f"/v1/responses/{response_id}?stream=true"
    assert await followed(http, path, bearer) == live
    for after in (-1, 0, 3, len(live) - 2, len(live) - 1):
        assert await followed(http, f"{path}&starting_after={after}", bearer) == live[after + 1 :]


async def test_deltas_terminal_event_and_stored_output_are_one_text(client: openai.AsyncOpenAI) -> None:
    deltas, last = "", None
    async with await client.responses.create(model=MODEL, input="hi", stream=True) as stream:
        async for event in stream:
            deltas += event.delta if event.type == "response.output_text.delta" else ""
            last = event
    assert last is not None
    assert last.type == "response.completed"
    kept = await client.responses.retrieve(last.response.id)
    assert deltas == last.response.output_text == kept.output_text
    assert kept == last.response


async def test_readers_that_come_while_it_runs_get_the_exact_rest(
    http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    seen: dict[int, list[int]] = {}

    async def watch(response_id: str, after: int) -> None:
        path = f"/v1/responses/{response_id}?stream=true&starting_after={after}"
        found = await followed(http, path, bearer)
        seen[after] = [json.loads(frame.data)["sequence_number"] for frame in found]

    body = {"model": "llama31/scripted-n60-d10", "input": "hi", "stream": True}
    count = 0
    async with (
        anyio.create_task_group() as group,
        http.stream("POST", "/v1/responses", headers=bearer, json=body) as response,
    ):
        async for _ in frames(response):
            if count % 15 == 0:
                group.start_soon(watch, response.headers["x-chatbackend-response-id"], count)
            count += 1
    assert len(seen) >= 4
    assert seen == {after: list(range(after + 1, count)) for after in seen}


@pytest.mark.parametrize(
    ("cursor", "status", "code"),
    [("99999", 409, "cursor_ahead"), ("-2", 400, None), ("x", 400, None), ("1" * 30, 400, None), ("", 400, None)],
)
async def test_a_cursor_that_cannot_be_served_is_refused(
    http: httpx2.AsyncClient, client: openai.AsyncOpenAI, bearer: dict[str, str], *, cursor: str, status: int, code: str
) -> None:
    response_id = (await client.responses.create(model=MODEL, input="hi")).id
    found = await http.get(f"/v1/responses/{response_id}?stream=true&starting_after={cursor}", headers=bearer)
    assert (found.status_code, found.json()["error"]["code"]) == (status, code)
    assert found.json()["error"]["param"] == "starting_after"


async def test_a_client_that_hangs_up_misses_nothing_when_it_comes_back(
    http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    body = {"model": "llama31/scripted-n40-d10", "input": "hi", "stream": True}
    async with http.stream("POST", "/v1/responses", headers=bearer, json=body) as response:
        response_id = response.headers["x-chatbackend-response-id"]
        stream = frames(response)
        heard = [await anext(stream) for _ in range(8)]
    rest = await followed(http, f"/v1/responses/{response_id}?stream=true&starting_after=7", bearer)
    numbers = [json.loads(frame.data)["sequence_number"] for frame in [*heard, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].event == "response.completed"


async def test_a_stream_that_is_cancelled_ends_incomplete_and_says_cancelled(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    number = len(upstream.calls)
    response_id, last = "", None
    async with await client.responses.create(model=SLOW, input="hi", stream=True) as stream:
        async for event in stream:
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta" and event.sequence_number < 6:
                await client.responses.cancel(response_id)
            last = event
    assert last is not None
    assert last.type == "response.incomplete"
    assert last.response.status == "cancelled"
    kept = await client.responses.retrieve(last.response.id)
    assert (kept.status, kept.output_text) == ("cancelled", last.response.output_text)
    assert kept.output_text
    call = await upstream.call(number)
    with anyio.fail_after(5):
        await call.ended.wait()
    assert call.outcome == "closed-by-client"


async def test_an_unstored_response_can_be_replayed_but_not_read(
    http: httpx2.AsyncClient, client: openai.AsyncOpenAI, bearer: dict[str, str]
) -> None:
    live = await asked(http, bearer, {"model": MODEL, "input": "hi", "stream": True, "store": False})
    response_id = json.loads(live[0].data)["response"]["id"]
    assert await followed(http, f"/v1/responses/{response_id}?stream=true", bearer) == live
    assert await followed(http, f"/v1/responses/{response_id}?stream=true&starting_after=4", bearer) == live[5:]
    for missing in (
        client.responses.retrieve(response_id),
        client.responses.delete(response_id),
    ):
        with pytest.raises(openai.NotFoundError):
            await missing
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model=MODEL, input="and?", previous_response_id=response_id)
    assert refused.value.code == "previous_response_not_found"


async def test_a_running_unstored_response_can_be_stopped(http: httpx2.AsyncClient, bearer: dict[str, str]) -> None:
    body = {"model": SLOW, "input": "hi", "stream": True, "store": False}
    async with http.stream("POST", "/v1/responses", headers=bearer, json=body) as response:
        response_id = response.headers["x-chatbackend-response-id"]
        stopped = await http.post(f"/v1/responses/{response_id}/cancel", headers=bearer)
        last = [frame async for frame in frames(response)][-1]
    assert stopped.json()["status"] == "cancelled"
    assert json.loads(last.data)["response"]["status"] == "cancelled"


async def test_a_response_that_is_deleted_while_it_runs_ends_its_stream(
    http: httpx2.AsyncClient, client: openai.AsyncOpenAI, bearer: dict[str, str]
) -> None:
    body = {"model": SLOW, "input": "hi", "stream": True}
    with anyio.fail_after(10):
        async with http.stream("POST", "/v1/responses", headers=bearer, json=body) as response:
            response_id = response.headers["x-chatbackend-response-id"]
            await client.responses.delete(response_id)
            assert [frame async for frame in frames(response)]
    for path in ("", "?stream=true", "/input_items"):
        assert (await http.get(f"/v1/responses/{response_id}{path}", headers=bearer)).status_code == 404


async def test_turns_of_a_conversation_wait_for_each_other(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    conversation = await client.conversations.create()
    first_call = len(upstream.calls)
    slow = await client.responses.create(
        model="llama31/scripted-n30-d20", input="one", conversation=conversation.id, background=True
    )
    second = await client.responses.create(model=MODEL, input="two", conversation=conversation.id, background=True)
    assert (await client.responses.retrieve(second.id)).status == "queued"
    items = await client.conversations.items.list(conversation.id, order="asc")
    assert [item.model_dump()["content"][0]["text"] for item in items.data] == ["one", "two"]
    async with await client.responses.retrieve(second.id, stream=True) as stream:
        types = [event.type async for event in stream]
    assert types[:3] == ["response.created", "response.queued", "response.in_progress"]
    answered = await client.responses.retrieve(slow.id)
    assert answered.status == "completed"
    [first, then] = upstream.calls[first_call:]
    assert first.ended_at is not None
    assert then.started >= first.ended_at
    assert [message["content"] for message in then.asked.messages] == ["one", answered.output_text, "two"]


async def test_requests_are_logged_without_key_and_words(tmp_path: Path, upstream: Upstream) -> None:
    server = Server(tmp_path, {"LLAMA31_ENDPOINT": upstream.url, "CHATBACKEND_LOG_LEVEL": "debug"})
    await anyio.to_thread.run_sync(server.start)
    bearer = {"authorization": f"Bearer {server.key}"}
    body = {"model": "llama31/scripted-echo", "input": "prompt-canary-7e1", "instructions": "instruction-canary-9c2"}
    try:
        async with httpx2.AsyncClient(base_url=server.url) as http:
            await http.post("/v1/responses", headers=bearer, json=body)
            await http.post("/v1/responses", headers={"authorization": "Bearer key-canary-55d"}, json=body)
            await http.get("/v1/responses/resp_x?stream=true&api_key=query-canary-11a", headers=bearer)
            await http.post("/v1/responses", headers=bearer, content=b'{"input": "broken-canary-3f0')
    finally:
        await anyio.to_thread.run_sync(server.stop)
    lines = [json.loads(line) for line in server.err.read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request" and line["route"] != "/readyz"]
    assert [line["status"] for line in requests] == [200, 401, 404, 400]
    assert all({"method", "route", "status", "ms", "request_id", "key"} <= set(line) for line in requests)
    log = server.log()
    for canary in ("prompt-canary", "instruction-canary", "key-canary", "query-canary", "broken-canary", server.key):
        assert canary not in log
