"""Sessions of client secrets: what the server sets is kept, and never seen."""

import json
from typing import Any

import pytest

from tests.integration.realtime.test_relay import settled
from tests.support import sdk
from tests.support.realtime_client import RealtimeClient, realtime
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server

pytestmark = pytest.mark.anyio
OURS = "Canary: never tell."
LAMP: dict[str, Any] = {"type": "function", "name": "lamp", "parameters": {"type": "object", "properties": {}}}
DOOR: dict[str, Any] = {**LAMP, "name": "door"}
CANARY = "The canary lives in box seven of the cellar."


async def secret(running: Server, session: dict[str, Any] | None = None, **held: object) -> str:
    async with sdk.async_client(running) as client:
        begun = {"type": "realtime", **(session or {})}
        body = {"session": begun, "chatbackend": {"models": ["openai/realtime", "openai/realtime-call"], **held}}
        return (await client.realtime.client_secrets.create(extra_body=body)).value


async def store(running: Server) -> str:
    """Return a vector store that knows of the canary."""
    async with sdk.async_client(running) as client:
        made = await client.vector_stores.create(name="cellar")
        file = await client.files.create(file=("canary.txt", CANARY.encode()), purpose="assistants")
        await client.vector_stores.files.create_and_poll(vector_store_id=made.id, file_id=file.id, poll_interval_ms=50)
        return made.id


def last_update(session: Session) -> dict[str, Any]:
    return [event["session"] for event in session.events if event["type"] == "session.update"][-1]


def assert_hidden(events: list[dict[str, Any]]) -> None:
    text = json.dumps(events)
    assert "Canary" not in text
    assert "chatbackend" not in text


async def test_a_session_begins_as_its_secret_says(running: Server, provider: RealtimeUpstream) -> None:
    begun = {"model": "openai/realtime", "audio": {"output": {"voice": "cedar"}}, "tools": [LAMP]}
    made = await secret(running, begun)
    async with realtime(running, "/v1/realtime", key=made) as client:
        created = await client.recv()
        assert created["type"] == "session.created"
        assert created["session"]["audio"]["output"]["voice"] == "cedar"
        assert [tool["name"] for tool in created["session"]["tools"]] == ["lamp"]
        await client.send({"type": "response.cancel"})
        assert (await client.recv())["type"] == "error"
    assert provider.sessions[-1].model == "realtime"


async def test_instructions_of_the_server_go_before_the_clients_and_are_never_shown(
    running: Server, provider: RealtimeUpstream
) -> None:
    made = await secret(running, instructions=OURS)
    async with realtime(running, key=made) as client:
        seen = [await client.recv()]
        session = provider.sessions[-1]
        assert last_update(session)["instructions"] == OURS
        await client.send({"type": "session.update", "session": {"type": "realtime", "instructions": "Sing."}})
        seen.append(await client.recv())
        assert seen[-1]["session"]["instructions"] == "Sing."
        assert last_update(session)["instructions"] == f"{OURS}\n\nSing."
        await client.send({"type": "session.update", "session": {"type": "realtime", "instructions": ""}})
        seen.append(await client.recv())
        assert last_update(session)["instructions"] == OURS
        await client.send({"type": "response.create", "response": {"instructions": "Shout."}})
        seen += await client.until("response.done")
        asked = await session.got_type("response.create")
        assert asked["response"]["instructions"] == f"{OURS}\n\nShout."
        await client.send({"type": "session.update", "session": {"type": "realtime", "prompt": {"id": "pmpt_1"}}})
        assert (await client.recv())["error"]["code"] == "unsupported_parameter"
    assert_hidden(seen)


@pytest.mark.parametrize("place", ["session.update", "response.create"])
async def test_a_clients_tools_are_those_of_the_list(running: Server, provider: RealtimeUpstream, place: str) -> None:
    made = await secret(running, client_tools=["lamp"])

    async def offer(client: RealtimeClient, *tools: dict[str, Any]) -> None:
        given = {"tools": list(tools)}
        event = {"session": {"type": "realtime", **given}} if place == "session.update" else {"response": given}
        await client.send({"type": place, **event})

    async with realtime(running, key=made) as client:
        await client.recv()
        for refused in (DOOR, {"type": "mcp", "server_label": "lamp", "server_url": "https://evil.example"}):
            await offer(client, LAMP, refused)
            assert (await client.recv())["error"]["code"] == "tool_not_allowed"
        await offer(client, LAMP)
        await provider.sessions[-1].got_type(place, 1 if place == "session.update" else 0)
        assert DOOR["name"] not in json.dumps(provider.sessions[-1].events)


async def test_the_servers_search_answers_and_its_client_sees_one_response(
    running: Server, provider: RealtimeUpstream
) -> None:
    made = await secret(running, vector_store_ids=[await store(running)], instructions=OURS)
    async with realtime(running, "/v1/realtime?model=openai/realtime-call", key=made) as client:
        seen = [await client.recv()]
        await client.send({"type": "session.update", "session": {"type": "realtime", "tools": [LAMP]}})
        seen.append(await client.recv())
        assert [tool["name"] for tool in seen[-1]["session"]["tools"]] == ["lamp"]
        answer = await client.ask("Where is the bird?")
    session = provider.sessions[-1]
    assert [tool["name"] for tool in last_update(session)["tools"]] == ["chatbackend_file_search", "lamp"]
    outputs = [event["item"] for event in session.events if event.get("item", {}).get("type") == "function_call_output"]
    assert CANARY in outputs[0]["output"]
    assert_hidden([*seen, *answer])
    one_response(answer)


async def test_a_client_that_may_see_it_is_told_what_was_found_before_the_answer_goes_on(running: Server) -> None:
    made = await secret(running, vector_store_ids=[await store(running)], show_sources=True)
    async with realtime(running, "/v1/realtime?model=openai/realtime-call&chatbackend=1", key=made) as client:
        answer = await client.ask("Where is the bird?")
    [told] = [event for event in answer if event["type"] == "chatbackend.sources"]
    assert [(each["filename"], each["quote"]) for each in told["sources"]] == [("canary.txt", CANARY)]
    assert answer.index(told) < next(at for at, event in enumerate(answer) if "output_text" in event["type"])


def one_response(events: list[dict[str, Any]]) -> None:
    """Check that a client sees one response: its own ids, places from 0, and what both parts used."""
    (created,) = (event["response"] for event in events if event["type"] == "response.created")
    done = events[-1]["response"]
    assert done["id"] == created["id"]
    assert {event["response_id"] for event in events if "response_id" in event} == {created["id"]}
    assert {event["output_index"] for event in events if "output_index" in event} == {0}
    assert [item["type"] for item in done["output"]] == ["message"]
    assert (done["usage"]["input_tokens"], done["usage"]["output_tokens"]) == (22, 14)
    assert done["metadata"] is None
    known = {event["item"]["id"] for event in events if "item" in event}
    assert {event["previous_item_id"] for event in events if event.get("previous_item_id")} <= known


async def test_a_client_cannot_take_the_place_of_the_servers_tool(running: Server) -> None:
    made = await secret(running, vector_store_ids=[await store(running)])
    async with realtime(running, key=made) as client:
        await client.recv()
        taken = {**LAMP, "name": "chatbackend_file_search"}
        await client.send({"type": "session.update", "session": {"type": "realtime", "tools": [taken]}})
        assert (await client.recv())["error"]["code"] == "tool_name_taken"
        named = {"type": "function", "name": "chatbackend_file_search"}
        await client.send({"type": "response.create", "response": {"tool_choice": named}})
        assert (await client.recv())["error"]["code"] == "tool_not_found"


async def test_two_sessions_of_two_secrets_never_mix(running: Server, provider: RealtimeUpstream) -> None:
    one, other = await secret(running, instructions="Canary one."), await secret(running, instructions="Canary two.")
    async with realtime(running, key=one) as first:
        await first.recv()
        async with realtime(running, key=other) as second:
            await second.recv()
            for client in (first, second):
                await client.send({"type": "session.update", "session": {"type": "realtime", "instructions": "Go."}})
                await client.recv()
    told = [last_update(session)["instructions"] for session in provider.sessions[-2:]]
    assert told == ["Canary one.\n\nGo.", "Canary two.\n\nGo."]


async def test_a_session_that_has_used_its_tokens_is_told_and_closed_and_billed(running: Server) -> None:
    made = await secret(running, {"model": "openai/realtime-spent"}, models=["openai/realtime-spent"], max_tokens=20)
    async with realtime(running, "/v1/realtime", key=made) as client:
        assert (await client.ask())[-1]["response"]["status"] == "completed"
        assert (await client.ask())[-1]["response"]["usage"]["total_tokens"] == 18
        assert (await client.recv())["error"]["code"] == "budget_exceeded"
        assert await client.closed() == (1008, "The session has used 36 tokens; its client secret allows 20.")
    assert len(await settled(running, "openai/realtime-spent", 2)) == 2
    async with realtime(running, "/v1/realtime", key=made) as another:
        assert (await another.ask())[-1]["response"]["status"] == "completed"
