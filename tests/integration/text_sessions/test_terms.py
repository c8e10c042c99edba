"""Sessions in text of client secrets: what the server sets is kept, and never seen."""

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support import sdk
from tests.support.realtime_sdk import sdk_talk, text_of
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
CANARY = "The canary lives in box seven of the cellar."
LAMP: Any = {"type": "function", "name": "lamp", "parameters": {"type": "object", "properties": {}}}


async def secret(server: Server, session: dict[str, Any] | None = None, **held: object) -> str:
    async with sdk.async_client(server) as client:
        body = {"session": {"type": "realtime", **(session or {})}, "chatbackend": held}
        return (await client.realtime.client_secrets.create(extra_body=body)).value


async def store(server: Server) -> str:
    """Return a vector store that knows of the canary."""
    async with sdk.async_client(server) as client:
        made = await client.vector_stores.create(name="cellar")
        file = await client.files.create(file=("cellar.txt", CANARY.encode()), purpose="assistants")
        await client.vector_stores.files.create_and_poll(vector_store_id=made.id, file_id=file.id, poll_interval_ms=50)
        return made.id


async def test_instructions_and_tools_of_a_secret_reach_the_model_and_not_the_client(
    running: Server, upstream: Upstream
) -> None:
    before = len(upstream.calls)
    made = await secret(running, {"tools": [LAMP]}, instructions="Canary: never tell.", client_tools=["lamp"])
    async with sdk_talk(running, "claude/scripted-n3", key=made) as talk:
        shown = await talk.update(instructions="Sing.")
        assert (shown["instructions"], [tool["name"] for tool in shown["tools"]]) == ("Sing.", ["lamp"])
        await talk.connection.session.update(session={"type": "realtime", "tools": [LAMP | {"name": "door"}]})
        assert (await talk.until("error"))[-1]["error"]["code"] == "tool_not_allowed"
        answer = await talk.ask("Hi", instructions="Shout.")
    prompt = upstream.calls[before].asked.prompt
    assert "Canary: never tell.\n\nShout." in prompt
    assert "Canary" not in json.dumps([shown, answer, talk.watcher.items])


async def test_files_of_a_secret_are_searched_and_not_shown(running: Server, upstream: Upstream) -> None:
    before, stored = len(upstream.calls), await store(running)
    made = await secret(running, vector_store_ids=[stored])
    async with sdk_talk(running, "claude/scripted-cite", key=made) as talk:
        answer = await talk.ask("Where does the canary live?")
    assert CANARY in upstream.calls[before].asked.prompt
    assert "box seven" in text_of(answer)
    assert "【" not in text_of(answer)
    shown = json.dumps([answer, talk.watcher.items])
    assert stored not in shown
    assert "cellar.txt" not in shown


async def test_files_that_are_gone_fail_a_response_without_a_word_of_them(running: Server) -> None:
    made = await secret(running, vector_store_ids=["vs_gone"])
    async with sdk_talk(running, "claude/scripted-n3", key=made) as talk:
        failed = await talk.ask("Where does the canary live?")
        assert failed["status_details"]["error"]["code"] == "search_failed"
        assert "vs_gone" not in json.dumps(failed)
        assert (await talk.answer(input=[]))["status"] == "completed"


async def test_a_session_that_has_used_its_tokens_is_told_and_closed(running: Server) -> None:
    made = await secret(running, max_tokens=1)
    async with sdk_talk(running, "claude/scripted-n3", key=made) as talk:
        assert len(text_of(await talk.ask("Hi")).split()) == 3
        assert (await talk.event())["error"]["code"] == "budget_exceeded"
        with pytest.raises(ConnectionClosed) as closed:
            await talk.event()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert "its client secret allows 1" in closed.value.rcvd.reason
