"""The unmodified SDKs against a server that asks its provider on WebSockets: loops, cancels, bills, restarts."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import openai
import pytest
from anthropic import AsyncAnthropic
from anyio import to_thread

from tests.e2e.conftest import ledger_rows
from tests.support.sdk import TRANSPORTS, Transport, ask
from tests.support.server import Server
from tests.support.upstream import Call, Upstream

pytestmark = pytest.mark.anyio

KEY = "sk-upstream-never-shown"
CLOSED_S = 0.25
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {"OPENAI_ENDPOINT": f"{upstream.url}/v1", "OPENAI_API_KEY": KEY}
    spoken = {"OPENAI_API": "responses", "OPENAI_TRANSPORT": "websocket"}
    with Server(tmp_path_factory.mktemp("server"), settings | spoken) as server:
        yield server


def outputs(response: Any) -> list[dict[str, str]]:  # noqa: ANN401  # of either kind
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "Rain."} for call in calls]


def said(calls: list[Call]) -> list[tuple[int | None, int, bool]]:
    """Return, for each call, its connection, how many items it said, and whether it went on from a predecessor."""
    return [(call.connection, len(call.said["input"]), "previous_response_id" in call.said) for call in calls]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_tool_loop_keeps_to_one_socket_and_every_turn_is_billed_once(
    client: openai.AsyncOpenAI, running: Server, upstream: Upstream, transport: Transport
) -> None:
    asked = len(upstream.calls)
    model = f"openai/tool-loop-3-{transport}"
    answered = [await ask(client, transport, model=model, input="Weather?", tools=[WEATHER])]
    while found := outputs(answered[-1].response):
        previous = answered[-1].response.id
        answered.append(
            await ask(client, transport, model=model, input=found, tools=[WEATHER], previous_response_id=previous)
        )
    calls = upstream.calls[asked:]
    assert said(calls) == [(calls[0].connection, 1, place > 0) for place in range(4)]
    assert answered[-1].response.output_text.startswith(calls[-1].salt)
    assert [len(call.asked.messages) for call in calls] == [1, 3, 5, 7]
    for each, call in zip(answered, calls, strict=True):
        [row] = ledger_rows(running.data, each.response.id)
        assert {name: row[name] for name in ("input_tokens", "output_tokens")} == call.usage
        assert (row["status"], row["outcome"], row["attempt"], row["estimated"]) == ("settled", "completed", 1, 0)


async def test_a_loop_that_nobody_stores_goes_on_there_as_well(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    history: list[Any] = [{"type": "message", "role": "user", "content": "Weather?"}]
    for _ in range(3):
        answered = await ask(
            client, "sse", model="openai/tool-loop-9-unstored", input=history, tools=[WEATHER], store=False
        )
        history += [item.model_dump(exclude_none=True) for item in answered.response.output]
        history += outputs(answered.response)
    assert [went_on for _, _, went_on in said(upstream.calls[asked:])] == [False, True, True]


async def test_a_loop_of_messages_goes_on_there_as_well(running: Server, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    tool: Any = {"name": "weather", "input_schema": WEATHER["parameters"]}
    history: list[Any] = [{"role": "user", "content": "Weather?"}]
    async with AsyncAnthropic(base_url=running.url, api_key=running.key, max_retries=0) as client:
        for _ in range(3):
            async with client.messages.stream(
                model="openai/tool-loop-9-messages", max_tokens=64, messages=history, tools=[tool]
            ) as stream:
                answer = await stream.get_final_message()
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": "Rain."}
                for block in answer.content
                if block.type == "tool_use"
            ]
            history += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    assert [went_on for _, _, went_on in said(upstream.calls[asked:])] == [False, True, True]


async def test_cancelling_closes_the_socket_and_the_next_turn_takes_another(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    asked = len(upstream.calls)
    async with await client.responses.create(model="openai/endless-d5", input="x", stream=True) as stream:
        first = await anext(aiter(stream))
        assert first.type == "response.created"
        call = await upstream.call(asked)
        began = anyio.current_time()
        cancelled = await client.responses.cancel(first.response.id)
        with anyio.fail_after(5):
            await call.ended.wait()
    assert anyio.current_time() - began < CLOSED_S
    assert (cancelled.status, call.outcome) == ("cancelled", "closed-by-client")
    again = await ask(client, "json", model="openai/n3", input="x")
    assert again.response.output_text.startswith(upstream.calls[-1].salt)


async def test_a_server_that_stops_leaves_its_sockets_and_the_next_one_says_everything_once(
    client: openai.AsyncOpenAI, running: Server, upstream: Upstream
) -> None:
    model = "openai/tool-loop-9-restart"
    first = await ask(client, "sse", model=model, input="Weather?", tools=[WEATHER])
    while not upstream.left.empty():
        upstream.left.get_nowait()
    await to_thread.run_sync(running.stop)
    with anyio.fail_after(5):
        assert await upstream.left.get() == 1001
    await to_thread.run_sync(running.start)
    asked, turn = len(upstream.calls), first
    for _ in range(2):
        turn = await ask(
            client,
            "sse",
            model=model,
            input=outputs(turn.response),
            tools=[WEATHER],
            previous_response_id=turn.response.id,
        )
    assert [(items, went_on) for _, items, went_on in said(upstream.calls[asked:])] == [(3, False), (1, True)]


async def test_the_providers_key_is_in_no_log(running: Server, client: openai.AsyncOpenAI) -> None:
    await ask(client, "json", model="openai/n3", input="x")
    assert KEY not in running.log()
