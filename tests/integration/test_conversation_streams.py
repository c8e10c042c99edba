"""Devices in step: a conversation's events over HTTP and over sockets, and its export."""

import json
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import Any

import anyio
import httpx2
import openai
import pytest
from openai.types.conversations import Conversation
from openai.types.conversations.conversation_item import ConversationItem
from openai.types.responses import Response
from pydantic import TypeAdapter

from chatbackend.adapters.wire.sse import SseEvent, SseReader
from tests.support.device import Device, Json
from tests.support.raw_socket import RawSocket, raw_socket
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
ITEM: TypeAdapter[ConversationItem] = TypeAdapter(ConversationItem)
OURS = "chatbackend.conversation."


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    async with Upstream() as upstream:
        settings = {"LLAMA31_ENDPOINT": upstream.url, "CHATBACKEND_DRAIN_S": "0.1"}
        async with serving(tmp_path_factory.mktemp("server"), settings) as server:
            yield server


@pytest.fixture
async def sdk(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with openai.AsyncOpenAI(base_url=running.base_url, api_key=running.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    headers = {"authorization": f"Bearer {running.key}"}
    async with httpx2.AsyncClient(base_url=running.base_url, headers=headers, timeout=30) as client:
        yield client


async def state(http: httpx2.AsyncClient, conversation_id: str) -> Json:
    found = await http.get(f"conversations/{conversation_id}", params={"include": "chatbackend.state"})
    Conversation.model_validate(found.json(), strict=True)
    return found.json()


async def add(http: httpx2.AsyncClient, conversation_id: str, text: str) -> None:
    items = [{"type": "message", "role": "user", "content": text}]
    assert (await http.post(f"conversations/{conversation_id}/items", json={"items": items})).status_code == 200


@asynccontextmanager
async def listening(
    http: httpx2.AsyncClient, conversation_id: str, *, after: int | None = None, last_event_id: int | None = None
) -> AsyncGenerator[AsyncIterator[SseEvent], None]:
    """Open a conversation's events over HTTP."""
    headers = {} if last_event_id is None else {"last-event-id": str(last_event_id)}
    params = {} if after is None else {"after": after}
    path = f"conversations/{conversation_id}/events"
    async with http.stream("GET", path, params=params, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


async def _events(answer: httpx2.Response) -> AsyncIterator[SseEvent]:
    reader = SseReader()
    async for chunk in answer.aiter_bytes():
        for event in reader.feed(chunk):
            yield event


async def following(socket: RawSocket, conversation_id: str, after: int = -1) -> None:
    await socket.send("chatbackend.subscribe", conversation=conversation_id, after=after)
    assert await socket.event() == {
        "type": "chatbackend.subscribed", "conversation_id": conversation_id, "after": after,
    }  # fmt: skip


async def test_events_have_ids_by_which_a_browser_comes_back(sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    name = (await sdk.conversations.create()).id
    await add(http, name, "one")
    async with listening(http, name) as events:
        first = [await anext(events) for _ in range(2)]
        assert [(event.id, event.event) for event in first] == [("0", f"{OURS}item.added"), ("1", f"{OURS}updated")]
        await add(http, name, "two")
        assert (await anext(events)).id == "2"
    async with listening(http, name, after=0, last_event_id=1) as events:
        again = await anext(events)
        assert (again.id, json.loads(again.data)["sequence_number"]) == ("2", 2)
    async with listening(http, name, after=0) as events:
        assert (await anext(events)).data == first[1].data


async def test_the_events_end_with_the_conversation(sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    name = (await sdk.conversations.create()).id
    async with listening(http, name) as events:
        await sdk.conversations.delete(name)
        last = [event async for event in events]
    assert [(event.event, event.id) for event in last] == [(f"{OURS}deleted", "")]
    assert (await http.get(f"conversations/{name}/events")).status_code == 404


@pytest.mark.parametrize(
    ("query", "headers", "refusal"),
    [
        ({"after": "5"}, {}, (409, "cursor_ahead", "after")),
        ({}, {"last-event-id": "5"}, (409, "cursor_ahead", "after")),
        ({"after": "x"}, {}, (400, None, "after")),
        ({}, {"last-event-id": "-2"}, (400, None, "Last-Event-ID")),
    ],
)
async def test_a_cursor_that_cannot_be_served_is_refused(
    sdk: openai.AsyncOpenAI,
    http: httpx2.AsyncClient,
    *,
    query: dict[str, str],
    headers: dict[str, str],
    refusal: tuple[int, str | None, str],
) -> None:
    name = (await sdk.conversations.create()).id
    refused = await http.get(f"conversations/{name}/events", params=query, headers=headers)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == refusal


async def test_three_devices_see_what_a_fourth_does(
    running: Server, sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient
) -> None:
    name = (await sdk.conversations.create()).id
    await add(http, name, "before")
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(raw_socket(running)) for _ in range(3)]
        devices = [Device(await state(http, name)) for _ in sockets]
        for socket, device in zip(sockets, devices, strict=True):
            await following(socket, name, device.last_event)
        answer = await sdk.responses.create(model="llama31/n3", input="hi", conversation=name)
        await sdk.conversations.update(name, metadata={"a": "b"}, extra_body={"chatbackend": {"title": "Tea"}})
        await sdk.conversations.items.delete(answer.output[0].id or "", conversation_id=name)
        async with anyio.create_task_group() as group:  # several writers at once
            for number in range(5):
                group.start_soon(add, http, name, f"text {number}")
        now = await state(http, name)
        head = now["chatbackend"]["state"]["last_event"]
        for socket, device in zip(sockets, devices, strict=True):
            while device.last_event < head:
                device.feed([await socket.event()])
            assert device.shown == now
        await sdk.conversations.delete(name)
        for socket, device in zip(sockets, devices, strict=True):
            device.feed([await socket.event()])
            assert device.deleted


async def test_a_socket_is_given_the_state_where_its_cursor_cannot_be_served(
    running: Server, sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient
) -> None:
    name = (await sdk.conversations.create()).id
    await add(http, name, "one")
    async with raw_socket(running) as socket:
        await socket.send("chatbackend.subscribe", conversation=name, after=77)
        reset, begun = await socket.events(2)
        assert (reset["type"], reset["conversation_id"]) == ("chatbackend.reset", name)
        device = Device(reset["conversation"])
        assert begun == {"type": "chatbackend.subscribed", "conversation_id": name, "after": device.last_event}
        await add(http, name, "two")
        device.feed([await socket.event()])
        assert device.shown == await state(http, name)


async def test_a_socket_follows_several_conversations_until_it_says_no_more(
    running: Server, sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient
) -> None:
    names = [(await sdk.conversations.create()).id for _ in range(2)]
    async with raw_socket(running) as socket:
        for name in names:
            await following(socket, name)
            await add(http, name, "one")
            assert {(await socket.event())["conversation_id"] for _ in range(2)} == {name}
        await following(socket, names[0], 0)
        assert (await socket.event())["sequence_number"] == 1
        await socket.send("chatbackend.unsubscribe", conversation=names[0])
        assert await socket.event() == {"type": "chatbackend.unsubscribed", "conversation_id": names[0]}
        await socket.send("chatbackend.unsubscribe", conversation=names[0])
        assert (await socket.event())["type"] == "chatbackend.unsubscribed"
        for name in names:
            await add(http, name, "two")
        assert (await socket.event())["conversation_id"] == names[1]


async def test_a_socket_follows_only_so_many_and_none_that_is_not_its_own(
    running: Server, sdk: openai.AsyncOpenAI
) -> None:
    mine = (await sdk.conversations.create()).id
    async with raw_socket(running, headers={"chatbackend-user": "eve"}) as socket:
        for name in (mine, "conv_none"):
            await socket.send("chatbackend.subscribe", conversation=name)
            refused = await socket.event()
            assert (refused["status"], refused["error"]["code"]) == (404, "conversation_not_found")
            assert refused["conversation_id"] == name
    async with raw_socket(running) as socket:
        for _ in range(64):
            await following(socket, (await sdk.conversations.create()).id)
        await socket.send("chatbackend.subscribe", conversation=mine)
        refused = await socket.event()
        assert (refused["status"], refused["error"]["code"]) == (429, "websocket_queue_full")


async def test_an_export_is_every_item_and_response_in_lines(sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    name = (await sdk.conversations.create(metadata={"a": "b"})).id
    for number in range(3):
        await add(http, name, f"text {number} " + "x" * 700_000)
    answer = await sdk.responses.create(model="llama31/n3", input="hi", conversation=name)
    exported = await http.get(f"conversations/{name}/export")
    assert exported.headers["content-type"].startswith("application/jsonl")
    first, *rest = [json.loads(line) for line in exported.text.splitlines()]
    Conversation.model_validate(first, strict=True)
    items = [line for line in rest if line["object"] == "chatbackend.item"]
    for line in items:
        ITEM.validate_python(line["item"])
    listed = [item.id async for item in sdk.conversations.items.list(name, order="asc")]
    assert [line["item"]["id"] for line in items] == listed
    assert [line["response_id"] for line in items] == [None] * 3 + [answer.id] * 2
    [response] = [line for line in rest if line["object"] == "response"]
    assert Response.model_validate(response).output_text == answer.output_text
    assert (await http.get("conversations/conv_none/export")).status_code == 404


async def test_erasing_leaves_nothing_to_be_read(
    running: Server, sdk: openai.AsyncOpenAI, http: httpx2.AsyncClient
) -> None:
    name = (await sdk.conversations.create()).id
    ended = await sdk.responses.create(model="llama31/n3", input="canary one", conversation=name)
    endless = await sdk.responses.create(
        model="llama31/endless", input="canary two", conversation=name, background=True
    )
    assert (await http.delete(f"conversations/{name}", params={"erase": "perhaps"})).status_code == 400
    erased = await http.delete(f"conversations/{name}", params={"erase": "true"})
    assert erased.json() == {"id": name, "object": "conversation.deleted", "deleted": True}
    for response_id in (ended.id, endless.id):
        for query in ({}, {"stream": "true"}):
            assert (await http.get(f"responses/{response_id}", params=query)).status_code == 404
        assert (await http.get(f"responses/{response_id}/input_items")).status_code == 404


async def test_a_revoked_key_ends_the_events(running: Server) -> None:
    key = await anyio.to_thread.run_sync(running.new_key, "leaver")
    with closing(sqlite3.connect(f"file:{running.data}/truth.db?mode=ro", uri=True)) as truth:
        (key_id,) = truth.execute("SELECT id FROM api_keys WHERE account = 'leaver'").fetchone()
    headers: dict[str, Any] = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(base_url=running.base_url, headers=headers, timeout=30) as other,
        listening(other, (await other.post("conversations", json={})).json()["id"]) as events,
    ):
        await anyio.to_thread.run_sync(running.run, "keys", "revoke", key_id)
        assert [event async for event in events] == []
