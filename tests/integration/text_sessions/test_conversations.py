"""Text conversations of the unmodified `openai` SDK over models that have no Realtime API, of every family."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import anyio
import anyio.to_thread
import openai
import pytest

from tests.support.realtime_sdk import sdk_talk, text_of
from tests.support.realtime_watcher import Event
from tests.support.server import Server
from tests.support.spools import all_written
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

FAMILIES = ("openai", "azure", "claude", "llama31", "perplexity")
ADD: Any = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
}
LOOK: Any = ADD | {"name": "look"}


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_model_of_every_family_holds_a_conversation(running: Server, upstream: Upstream, family: str) -> None:
    before = len(upstream.calls)
    async with sdk_talk(running, f"{family}/scripted-n6") as talk:
        await talk.update(instructions="Be brief.")
        first = await talk.ask("One")
        second = await talk.ask("Two")
    calls = upstream.calls[before:]
    assert len(calls) == 2
    for response, call in zip((first, second), calls, strict=True):
        assert (response["status"], text_of(response).split()[0]) == ("completed", f"{call.salt}:0")
        assert call.usage is not None
        told = (response["usage"]["input_tokens"], response["usage"]["output_tokens"])
        assert told == (call.usage["input_tokens"], call.usage["output_tokens"])
    places = [calls[1].asked.prompt.index(text) for text in ("Be brief.", "One", text_of(first).strip(), "Two")]
    assert places == sorted(places)
    assert [item["type"] for item in talk.watcher.items.values()] == ["message"] * 4


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "perplexity"])
async def test_a_model_of_every_family_that_can_calls_tools(running: Server, upstream: Upstream, family: str) -> None:
    before = len(upstream.calls)
    async with sdk_talk(running, f"{family}/scripted-tool-call-n4") as talk:
        await talk.update(tools=[ADD, LOOK])
        asked = await talk.ask("Add and look")
        calls = [item for item in asked["output"] if item["type"] == "function_call"]
        assert [(call["name"], json.loads(call["arguments"])) for call in calls] == [
            ("add", {"a": 7, "b": 7}),
            ("look", {"a": 7, "b": 7}),
        ]
        for call in reversed(calls):
            output: Any = {"type": "function_call_output", "call_id": call["call_id"], "output": f"{call['name']}: 14"}
            await talk.connection.conversation.item.create(item=output)
        answer = await talk.answer()
    assert text_of(answer).startswith(upstream.calls[before + 1].salt)
    prompt = upstream.calls[before + 1].asked.prompt
    assert prompt.index("add: 14") < prompt.index("look: 14")


async def test_no_response_begins_between_the_outputs_of_parallel_calls(running: Server, upstream: Upstream) -> None:
    before = len(upstream.calls)
    async with sdk_talk(running, "claude/scripted-tool-call-n4") as talk:
        await talk.update(tools=[ADD, LOOK])
        asked = await talk.ask("Add and look")
        for item, answered in zip(asked["output"], ("error", "response.done"), strict=True):
            output: Any = {"type": "function_call_output", "call_id": item["call_id"], "output": "14"}
            await talk.connection.conversation.item.create(item=output)
            await talk.connection.response.create()
            await talk.until(answered)
    assert [response["status"] for response in talk.watcher.ended.values()] == ["completed"] * 2
    assert len(upstream.calls) - before == 2


async def test_a_model_without_tools_says_so_and_the_session_stays(running: Server) -> None:
    async with sdk_talk(running, "perplexity/scripted-n3") as talk:
        failed = await talk.ask("Add", tools=[ADD])
        assert (failed["status"], failed["usage"]) == ("failed", None)
        assert failed["status_details"]["error"]["code"] == "unsupported_by_model"
        assert (await talk.ask("Then just talk"))["status"] == "completed"


@pytest.mark.parametrize("family", ["azure", "claude", "llama31"])
async def test_reasoning_is_not_shown(running: Server, family: str) -> None:
    async with sdk_talk(running, f"{family}/scripted-reason-n3") as talk:
        await talk.say("Think")
        await talk.connection.response.create()
        events = await talk.until("rate_limits.updated")
    [item] = events[-2]["response"]["output"]
    assert item["type"] == "message"
    assert {event["output_index"] for event in events if "output_index" in event} == {0}
    assert len(events) == 15  # of the message itself and its three tokens


@pytest.mark.parametrize(
    ("script", "status", "details"),
    [
        ("length-n5", "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("filter-n5", "incomplete", {"type": "incomplete", "reason": "content_filter"}),
        ("refuse", "completed", None),
    ],
)
async def test_an_end_is_told_with_its_reason(
    running: Server, script: str, status: str, details: dict[str, str] | None
) -> None:
    async with sdk_talk(running, f"openai/scripted-{script}") as talk:
        response = await talk.ask("Hi")
    assert (response["status"], response["status_details"]) == (status, details)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("script", "code"),
    [("cut-at-3", "upstream_cut"), ("error-at-3", None), ("status-429", "rate_limit_exceeded"), ("status-500", None)],
)
async def test_a_fault_of_a_provider_ends_its_response_alone(
    running: Server, family: str, script: str, code: str | None
) -> None:
    async with sdk_talk(running, f"{family}/scripted-{script}") as talk:
        failed = await talk.ask("Hi")
        assert failed["status"] == "failed"
        assert code in (None, failed["status_details"]["error"]["code"])
        assert [item["status"] for item in failed["output"]] in ([], ["incomplete"])
        assert (await talk.ask("Again"))["status"] == "failed"


async def test_responses_beside_the_conversation_run_at_once(running: Server) -> None:
    async with sdk_talk(running, "llama31/scripted-n12-d20") as talk:
        await talk.say("Hi")
        await talk.connection.response.create()
        for topic in ("a", "b"):
            aside: Any = {"conversation": "none", "metadata": {"topic": topic}, "input": []}
            aside["input"] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": topic}]}]
            await talk.connection.response.create(response=aside)
        events = await talk.until("rate_limits.updated", times=3)
    begun = [event["type"] for event in events].index("response.done")
    assert [event["type"] for event in events[:begun]].count("response.created") == 3
    ended = talk.watcher.ended.values()
    assert sorted(str(response["metadata"]) for response in ended) == ["None", "{'topic': 'a'}", "{'topic': 'b'}"]
    assert len({text_of(response).split(":")[0] for response in ended}) == 3
    assert len(talk.watcher.conversation) == 2


async def test_sessions_never_mix(running: Server, upstream: Upstream) -> None:
    before = len(upstream.calls)

    async def hold(number: int) -> None:
        async with sdk_talk(running, f"llama31/scripted-echo-d{number + 1}") as talk:
            shown = await talk.update(instructions=f"You are {number}.", tools=[ADD | {"name": f"tool_{number}"}])
            assert [tool["name"] for tool in shown["tools"]] == [f"tool_{number}"]
            for turn in range(3):
                said = f"session-{number}-turn-{turn} " * 5
                assert text_of(await talk.ask(said)).endswith(said)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(hold, number)
    calls = upstream.calls[before:]
    assert len(calls) == 18
    for call in calls:
        found = {number for number in range(6) if f"session-{number}-" in call.asked.prompt}
        assert len(found) == 1
        assert f"You are {found.pop()}." in call.asked.prompt


def ledger(server: Server, model: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(server.data / "truth.db")) as truth:
        truth.row_factory = sqlite3.Row
        return [dict(row) for row in truth.execute("SELECT * FROM ledger WHERE model = ?", (model,))]


async def test_every_response_has_one_row_in_the_ledger(running: Server, upstream: Upstream) -> None:
    before, model = len(upstream.calls), "claude/scripted-endless-d5-billed"
    async with sdk_talk(running, model) as talk:
        await talk.say("Hi")
        await talk.connection.response.create()
        await talk.until("response.output_text.delta", times=3)
        await talk.connection.response.cancel()
        cancelled: Event = (await talk.until("rate_limits.updated"))[-2]["response"]
    async with sdk_talk(running, model.replace("endless-d5", "n7")) as talk:
        completed = await talk.ask("Hi")
    await upstream.calls[before].ended.wait()
    await all_written(running.data)
    [row] = await anyio.to_thread.run_sync(ledger, running, model)
    assert (row["outcome"], row["estimated"]) == ("cancelled", 1)
    assert row["output_tokens"] == cancelled["usage"]["output_tokens"] >= 3
    [row] = await anyio.to_thread.run_sync(ledger, running, model.replace("endless-d5", "n7"))
    assert (row["outcome"], row["estimated"]) == ("completed", 0)
    assert (row["input_tokens"], row["output_tokens"]) == (
        completed["usage"]["input_tokens"],
        completed["usage"]["output_tokens"],
    )


async def test_the_sdks_own_events_are_what_its_types_say(running: Server) -> None:
    deltas: list[str] = []
    async with (
        openai.AsyncOpenAI(base_url=running.base_url, api_key=running.key) as client,
        client.realtime.connect(model="claude/scripted-n5") as connection,
    ):
        item: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        await connection.conversation.item.create(item=item)
        await connection.response.create(response={"output_modalities": ["text"]})
        async for event in connection:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
            elif event.type == "response.done":
                assert event.response.output is not None
                assert event.response.usage is not None
                break
    assert [piece.partition(":")[2].strip() for piece in deltas] == [str(number) for number in range(5)]


async def test_a_client_that_speaks_beta_is_understood(running: Server) -> None:
    async with (
        openai.AsyncOpenAI(websocket_base_url=f"{running.ws_url}/v1", api_key=running.key) as client,
        client.beta.realtime.connect(model="claude/scripted-n4") as connection,
    ):
        await connection.session.update(session={"modalities": ["text"], "instructions": "Be brief."})
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
        )
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert kinds.count("response.text.delta") == 4
    assert "error" not in kinds
