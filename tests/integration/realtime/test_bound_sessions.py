"""One history of voice and text: what is said in a session that is bound to a conversation is kept there."""

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import closing

import anyio
import openai
import pytest
from openai.types.realtime.realtime_conversation_item_user_message_param import Content

from chatbackend.adapters.realtime.history import MAX_ITEMS
from tests.integration.realtime.conftest import VENDOR_KEY
from tests.support import sdk
from tests.support.realtime_client import Event, RealtimeClient, realtime
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
TRANSCRIBES = {"type": "realtime", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}


@pytest.fixture(scope="module")
async def texts() -> AsyncGenerator[Upstream, None]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
async def running(
    provider: RealtimeUpstream, texts: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Server, None]:
    settings = {
        "OPENAI_ENDPOINT": provider.url,
        "OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_DEPLOYMENTS": "voice=gpt-realtime",
        "AZURE_OPENAI_REALTIME_API_VERSION": "2025-04-01-preview",
        "LLAMA31_ENDPOINT": f"{texts.url}/v1",
        "CHATBACKEND_DRAIN_S": "0.1",
    }
    async with serving(tmp_path_factory.mktemp("bound"), settings) as server:
        yield server


@pytest.fixture
async def client(running: Server) -> AsyncGenerator[openai.AsyncOpenAI, None]:
    async with sdk.async_client(running) as client:
        yield client


def acting_as(running: Server, user: str) -> openai.AsyncOpenAI:
    headers = {"chatbackend-user": user}
    return openai.AsyncOpenAI(base_url=running.base_url, api_key=running.key, default_headers=headers)


def path(conversation_id: str, model: str = "openai/realtime", more: str = "") -> str:
    return f"/v1/realtime?model={model}&conversation={conversation_id}{more}"


def words_of(item: Event) -> str:
    return "".join(part.get("text", "") for part in item["content"])


async def items_of(client: openai.AsyncOpenAI, conversation_id: str) -> list[Event]:
    return [item.model_dump() async for item in client.conversations.items.list(conversation_id, order="asc")]


async def items_until(client: openai.AsyncOpenAI, conversation_id: str, number: int) -> list[Event]:
    """Return a conversation's items once there are so many."""
    with anyio.fail_after(10):
        while len(found := await items_of(client, conversation_id)) < number:  # noqa: ASYNC110 - another process
            await anyio.sleep(0.02)
    return found


async def speak(talk: RealtimeClient) -> list[Event]:
    """Speak, and have what was said transcribed."""
    await talk.send({"type": "input_audio_buffer.commit"})
    return await talk.until("conversation.item.input_audio_transcription.completed")


def given(session: Session) -> list[Event]:
    """Return the items that a provider was given."""
    return [event["item"] for event in session.events if event["type"] == "conversation.item.create"]


def text_of(events: list[Event]) -> str:
    return "".join(event.get("delta", "") for event in events)


@pytest.mark.parametrize("model", ["openai/realtime", "azure/voice"])
async def test_what_is_said_is_kept_in_its_order(running: Server, client: openai.AsyncOpenAI, model: str) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id, model)) as talk:
        await talk.recv()
        await talk.send({"type": "session.update", "session": TRANSCRIBES})
        await talk.until("session.updated")
        heard = await speak(talk)
        await talk.send({"type": "response.create"})
        spoken = text_of(await talk.until("response.done"))
        typed = text_of(await talk.ask("And in writing?"))
    items = await items_until(client, made.id, 4)
    said = [(item["role"], words_of(item), item["status"]) for item in items]
    assert said == [
        ("user", "What was said.", "completed"),
        ("assistant", spoken, "completed"),
        ("user", "And in writing?", "completed"),
        ("assistant", typed, "completed"),
    ]
    assert items[0]["id"] == heard[-1]["item_id"]


async def test_a_text_turn_is_given_what_was_said_and_the_next_session_both(
    running: Server, client: openai.AsyncOpenAI, provider: RealtimeUpstream, texts: Upstream
) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        await talk.send({"type": "session.update", "session": TRANSCRIBES})
        await speak(talk)
        await talk.send({"type": "response.create"})
        spoken = text_of(await talk.until("response.done"))
    await items_until(client, made.id, 2)
    written = await client.responses.create(model="llama31/scripted-n4", input="In writing", conversation=made.id)
    asked = texts.calls[-1].asked.messages
    assert [(each["role"], each["content"]) for each in asked] == [
        ("user", "What was said."),
        ("assistant", spoken),
        ("user", "In writing"),
    ]
    items = await items_of(client, made.id)
    async with realtime(running, path(made.id)) as talk:
        shown = [event["item"] for _ in range(9) if "item" in (event := await talk.recv())]
        await talk.ask("Thanks")
    told = given(provider.sessions[-1])
    assert [item["role"] for item in told] == ["user", "assistant", "user", "assistant", "user"]
    assert [part["text"] for item in told for part in item["content"]] == [
        *("What was said.", spoken, "In writing", written.output_text, "Thanks")
    ]
    assert [part["type"] for item in told for part in item["content"]] == [
        *("input_text", "output_text", "input_text", "output_text", "input_text")
    ]
    assert all(len(item.get("id", "")) <= 32 for item in told)
    assert list(dict.fromkeys(item["id"] for item in shown)) == [item["id"] for item in items]
    assert len(await items_until(client, made.id, 6)) == 6


async def test_an_item_that_was_there_before_is_found_and_deleted_by_its_own_id(
    running: Server, client: openai.AsyncOpenAI
) -> None:
    made = await client.conversations.create(items=[{"type": "message", "role": "user", "content": "Forget me"}])
    [item] = await items_of(client, made.id)
    async with realtime(running, path(made.id)) as talk:
        await talk.until("conversation.item.done")
        await talk.send({"type": "conversation.item.retrieve", "item_id": item["id"]})
        assert (await talk.recv())["item"]["id"] == item["id"]
        await talk.send({"type": "conversation.item.delete", "item_id": item["id"]})
        assert (await talk.recv())["item_id"] == item["id"]
        with anyio.fail_after(10):
            while await items_of(client, made.id):  # noqa: ASYNC110 - another process
                await anyio.sleep(0.02)


async def test_a_call_is_kept_with_its_output_and_given_to_the_next_session(
    running: Server, client: openai.AsyncOpenAI, provider: RealtimeUpstream
) -> None:
    made = await client.conversations.create()
    lamp: Event = {"type": "function", "name": "lamp", "parameters": {"type": "object", "properties": {}}}
    async with realtime(running, path(made.id, "openai/realtime-call")) as talk:
        await talk.send({"type": "session.update", "session": {"type": "realtime", "tools": [lamp]}})
        answer = (await talk.ask("Light!"))[-1]["response"]
        call_id = answer["output"][0]["call_id"]
        output = {"type": "function_call_output", "call_id": call_id, "output": "on"}
        await talk.send({"type": "conversation.item.create", "item": output})
        await talk.send({"type": "response.create"})
        await talk.until("response.done")
    items = await items_until(client, made.id, 4)
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output", "message"]
    assert (items[1]["call_id"], items[1]["name"], items[2]["call_id"], items[2]["output"]) == (
        call_id,
        "lamp",
        call_id,
        "on",
    )
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        await talk.ask("Thanks")
    told = given(provider.sessions[-1])
    assert [item["type"] for item in told[:4]] == [item["type"] for item in items]
    assert told[1]["arguments"] == items[1]["arguments"]


async def test_a_call_that_nobody_answered_does_not_stand_in_the_way_of_a_text_turn(
    running: Server, client: openai.AsyncOpenAI, texts: Upstream
) -> None:
    made = await client.conversations.create()
    lamp: Event = {"type": "function", "name": "lamp", "parameters": {"type": "object", "properties": {}}}
    async with realtime(running, path(made.id, "openai/realtime-call")) as talk:
        await talk.send({"type": "session.update", "session": {"type": "realtime", "tools": [lamp]}})
        await talk.ask("Light!")
    assert len(await items_until(client, made.id, 1)) == 1
    await client.responses.create(model="llama31/scripted-n4", input="Never mind", conversation=made.id)
    assert [each["role"] for each in texts.calls[-1].asked.messages] == ["user", "user"]


async def test_conversations_of_nobody_and_of_others_are_not_found_before_the_upgrade(
    running: Server, client: openai.AsyncOpenAI
) -> None:
    others = acting_as(running, "b")
    async with others:
        foreign = await others.conversations.create()
    for unknown in ("conv_none", foreign.id):
        with pytest.raises(Exception, match="404"):
            async with realtime(running, path(unknown)):
                pass
    async with realtime(running, path(foreign.id), headers={"chatbackend-user": "b"}) as talk:
        assert (await talk.recv())["type"] == "session.created"


async def test_a_secret_is_for_its_conversation_alone(running: Server, client: openai.AsyncOpenAI) -> None:
    anna = acting_as(running, "anna")
    async with anna:
        made, other = await anna.conversations.create(), await anna.conversations.create()

    async def secret(**held: object) -> str:
        body = {"session": {"type": "realtime", "model": "openai/realtime"}, "chatbackend": held}
        return (await client.realtime.client_secrets.create(extra_body=body)).value

    for held in ({"conversation": made.id}, {"conversation": made.id, "user": "ben"}):
        with pytest.raises(openai.NotFoundError):
            await secret(**held)
    key = await secret(conversation=made.id, user="anna")
    with pytest.raises(Exception, match="403"):
        async with realtime(running, path(other.id), key=key):
            pass
    async with realtime(running, "/v1/realtime", key=key) as talk:
        await talk.recv()
        await talk.ask("It is me")
    found = acting_as(running, "anna")
    async with found:
        assert words_of((await items_until(found, made.id, 2))[0]) == "It is me"


async def test_a_conversation_that_is_deleted_ends_its_session(running: Server, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        await client.conversations.delete(made.id)
        events = await talk.until("error")
        assert events[-1]["error"]["code"] == "conversation_not_found"
        assert (await talk.closed())[0] == 1008


async def test_what_is_said_names_the_conversation_and_is_found_exported_and_erased(
    running: Server, client: openai.AsyncOpenAI
) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        await talk.send({"type": "input_audio_buffer.commit"})  # without a transcription that was asked for
        await talk.until("conversation.item.input_audio_transcription.completed")
        await talk.ask("Xylophones, please")
    await items_until(client, made.id, 3)
    shown = await got(client, f"/{made.id}")
    assert shown["chatbackend"]["title"] == "What was said."
    assert [each["id"] for each in (await got(client, "", q="xylophones"))["data"]] == [made.id]
    export = (await client.get(f"/conversations/{made.id}/export", cast_to=openai.HttpxBinaryResponseContent)).text
    exported = [json.loads(line) for line in export.splitlines()]
    said = [line["item"]["role"] for line in exported if line["object"] == "chatbackend.item"]
    assert said == ["user", "user", "assistant"]
    await client.conversations.delete(made.id, extra_query={"erase": "true"})
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(made.id)
    assert (await got(client, "", q="xylophones"))["data"] == []


async def got(client: openai.AsyncOpenAI, path: str, **query: str) -> Event:
    found: Event = await client.get(f"/conversations{path}", cast_to=Event, options={"params": query})
    return found


async def test_two_sessions_of_one_conversation_are_one_history(running: Server, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id)) as one, realtime(running, path(made.id)) as other:
        for talk in (one, other):
            await talk.recv()
        for number in range(4):
            await (one if number % 2 else other).ask(f"Question {number}")
            await items_until(client, made.id, 2 * number + 2)
    items = await items_until(client, made.id, 8)
    asked = [words_of(item) for item in items if item["role"] == "user"]
    assert asked == [f"Question {number}" for number in range(4)]
    assert len({item["id"] for item in items}) == 8


async def test_a_session_goes_on_while_the_database_takes_nothing_and_is_kept_when_it_does(
    running: Server, client: openai.AsyncOpenAI
) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        with closing(sqlite3.connect(running.data / "truth.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for number in range(3):
                await talk.ask(f"Question {number}")
            assert await items_of(client, made.id) == []
            other.execute("ROLLBACK")
        items = await items_until(client, made.id, 6)
        await talk.ask("Question 3")
        items = await items_until(client, made.id, 8)
    assert [words_of(item) for item in items if item["role"] == "user"] == [f"Question {number}" for number in range(4)]
    assert len({item["id"] for item in items}) == 8


async def test_the_official_client_speaks_in_a_conversation(running: Server, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    query = {"conversation": made.id}
    async with client.realtime.connect(model="openai/realtime", extra_query=query) as connection:
        content: list[Content] = [{"type": "input_text", "text": "Hello"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        with anyio.fail_after(10):
            while (await connection.recv()).type != "response.done":
                pass
    assert [item["role"] for item in await items_until(client, made.id, 2)] == ["user", "assistant"]


async def test_a_long_conversation_is_given_from_its_newest_items_on(
    running: Server, client: openai.AsyncOpenAI, provider: RealtimeUpstream
) -> None:
    made = await client.conversations.create()
    for first in range(0, MAX_ITEMS + 20, 20):
        items: list[Event] = [
            {"type": "message", "role": "user", "content": f"w{number}"} for number in range(first, first + 20)
        ]
        await client.conversations.items.create(made.id, items=[], extra_body={"items": items})
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        await talk.ask("And now?")
        await items_until(client, made.id, MAX_ITEMS + 22)
    said = [item["content"][0]["text"] for item in given(provider.sessions[-1])]
    assert said == [*(f"w{number}" for number in range(20, MAX_ITEMS + 20)), "And now?"]


async def test_a_session_that_is_open_learns_of_a_text_turn_and_of_other_sessions(
    running: Server, client: openai.AsyncOpenAI, provider: RealtimeUpstream
) -> None:
    made = await client.conversations.create()
    async with realtime(running, path(made.id)) as talk:
        await talk.recv()
        await talk.ask("Spoken")
        session = provider.sessions[-1]
        await items_until(client, made.id, 2)
        turn = await client.responses.create(model="llama31/scripted-n4", input="Typed", conversation=made.id)
        shown = [await talk.recv() for _ in range(4)]
        items = await items_of(client, made.id)
        assert [event["item"]["id"] for event in shown[::2]] == [item["id"] for item in items[2:]]
        async with realtime(running, path(made.id)) as other:
            await other.ask("From elsewhere")
            await items_until(client, made.id, 6)
            await talk.until("conversation.item.done")
            await talk.until("conversation.item.done")
        await client.conversations.items.delete(items[2]["id"], conversation_id=made.id)
        assert (await talk.recv())["type"] == "conversation.item.deleted"
        await talk.ask("Spoken again")
        texts = [item["content"][0]["text"] for item in given(session)]
        assert texts[:4] == ["Spoken", "Typed", turn.output_text, "From elsewhere"]
        assert texts[-1] == "Spoken again"
        assert [event["type"] for event in session.events].count("conversation.item.delete") == 1
    kept = await items_until(client, made.id, 7)
    assert len({item["id"] for item in kept}) == len(kept) == 7


async def test_hidden_words_and_searches_are_not_kept(running: Server, client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create()
    store = await client.vector_stores.create(name="empty")
    held = {"instructions": "Canary", "vector_store_ids": [store.id], "conversation": made.id}
    body = {"session": {"type": "realtime", "model": "openai/realtime-call"}, "chatbackend": held}
    key = (await client.realtime.client_secrets.create(extra_body=body)).value
    async with realtime(running, "/v1/realtime", key=key) as talk:
        await talk.recv()
        await talk.ask("Where is the bird?")
    items = await items_until(client, made.id, 2)
    assert [(item["type"], item["role"]) for item in items] == [("message", "user"), ("message", "assistant")]
