"""Sessions in text that are bound to a conversation: one history with text turns, over any model."""

from typing import Any

import anyio
import openai
import pytest
from openai.types.conversations import ConversationItem

from tests.support import sdk
from tests.support.realtime_sdk import sdk_talk, text_of
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
LAMP: dict[str, Any] = {"type": "function", "name": "lamp", "parameters": {"type": "object", "properties": {}}}


async def said_in(client: openai.AsyncOpenAI, conversation_id: str) -> list[str]:
    """Return every item of a conversation in short: who said what."""

    def short(item: ConversationItem) -> str:
        if item.type != "message":
            return item.type
        return f"{item.role}: {''.join(getattr(part, 'text', '') for part in item.content).strip()}"

    return [short(item) async for item in client.conversations.items.list(conversation_id, order="asc")]


async def said_until(client: openai.AsyncOpenAI, conversation_id: str, number: int) -> list[str]:
    with anyio.fail_after(10):
        while len(found := await said_in(client, conversation_id)) < number:  # noqa: ASYNC110 - another process
            await anyio.sleep(0.02)
    return found


async def test_text_turns_and_sessions_are_one_history(running: Server, upstream: Upstream) -> None:
    async with sdk.async_client(running) as client:
        made = await client.conversations.create()
        first = await client.responses.create(model="claude/scripted-n3", input="One", conversation=made.id)
        async with sdk_talk(running, "llama31/scripted-n3", query={"conversation": made.id}) as talk:
            second = text_of(await talk.ask("Two"))
        await said_until(client, made.id, 4)
        third = await client.responses.create(model="openai/scripted-n3", input="Three", conversation=made.id)
        words = ["One", first.output_text, "Two", second, "Three"]
        for call, told in zip(upstream.calls[-2:], (words[:3], words), strict=True):
            places = [call.asked.prompt.index(word.strip()) for word in told]
            assert places == sorted(places)
        roles = ["user", "assistant"] * 3
        everything = [*words, third.output_text]
        expected = [f"{role}: {word.strip()}" for role, word in zip(roles, everything, strict=True)]
        assert await said_in(client, made.id) == expected


async def test_a_beta_client_goes_on_a_conversation_by_its_secret(running: Server, upstream: Upstream) -> None:
    async with sdk.async_client(running) as client:
        items: list[object] = [{"type": "message", "role": "user", "content": "I am Anna"}]
        made = await client.conversations.create(extra_body={"items": items})
        body = {"chatbackend": {"conversation": made.id}}
        key = (await client.realtime.client_secrets.create(extra_body=body)).value
        async with (
            openai.AsyncOpenAI(
                base_url=running.base_url, api_key=key, websocket_base_url=f"{running.ws_url}/v1"
            ) as page,
            page.beta.realtime.connect(model="claude/scripted-n3") as connection,
        ):
            seen = [await connection.recv() for _ in range(2)]
            assert [event.type for event in seen] == ["session.created", "conversation.item.created"]
            await connection.conversation.item.create(
                item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Who am I?"}]}
            )
            await connection.response.create()
            while (await connection.recv()).type != "response.done":
                pass
        assert "I am Anna" in upstream.calls[-1].asked.prompt
        assert (await said_until(client, made.id, 3))[:2] == ["user: I am Anna", "user: Who am I?"]


async def test_calls_and_cut_answers_are_kept(running: Server) -> None:
    async with sdk.async_client(running) as client:
        made = await client.conversations.create()
        async with sdk_talk(running, "openai/scripted-tool-call-n4", query={"conversation": made.id}) as talk:
            await talk.update(tools=[LAMP])
            [call] = (await talk.ask("Light!"))["output"]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "on"}
            await talk.connection.send({"type": "conversation.item.create", "item": output})  # pyright: ignore[reportArgumentType] - as a client does
            await talk.answer()
        kept = await said_until(client, made.id, 4)
        assert kept[0] == "user: Light!"
        assert kept[1:3] == ["function_call", "function_call_output"]
        async with sdk_talk(running, "openai/scripted-endless", query={"conversation": made.id}) as talk:
            await talk.say("Go on")
            await talk.connection.response.create()
            await talk.until("response.output_text.delta", times=3)
        kept = await said_until(client, made.id, 6)
        assert kept[4] == "user: Go on"
        assert kept[5].startswith("assistant: ")
        [last] = (await client.conversations.items.list(made.id, limit=1)).data
        assert last.type == "message"
        assert last.status == "incomplete"


async def test_a_session_that_is_open_learns_of_a_text_turn(running: Server, upstream: Upstream) -> None:
    async with sdk.async_client(running) as client:
        made = await client.conversations.create()
        async with sdk_talk(running, "llama31/scripted-n3", query={"conversation": made.id}) as talk:
            turn = await client.responses.create(model="claude/scripted-n3", input="Typed", conversation=made.id)
            await talk.until("conversation.item.done", times=2)
            await talk.ask("Well?")
            prompt = upstream.calls[-1].asked.prompt
            places = [prompt.index(word) for word in ("Typed", turn.output_text.strip(), "Well?")]
            assert places == sorted(places)
            items = [item async for item in client.conversations.items.list(made.id, order="asc")]
            await client.conversations.items.delete(items[0].id or "", conversation_id=made.id)
            assert (await talk.until("conversation.item.deleted"))[-1]["item_id"] == items[0].id
        assert len(await said_until(client, made.id, 3)) == 3


async def test_a_conversation_that_is_deleted_ends_its_session(running: Server) -> None:
    async with sdk.async_client(running) as client:
        made = await client.conversations.create()
        async with sdk_talk(running, "openai/scripted-n3", query={"conversation": made.id}) as talk:
            await client.conversations.delete(made.id)
            [*_, error] = await talk.until("error")
            assert error["error"]["code"] == "conversation_not_found"
            with pytest.raises(Exception, match="1008"), anyio.fail_after(10):
                await talk.event()
