"""What a client sees when its model fails, and what the upstream sees when a client has had enough."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from tests.support.sdk import SOCKET_EVENT, Transport, ask
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

DIALECTS = ("llama31", "claude")
STREAMS: tuple[Transport, ...] = ("sse", "ws")
Ledger = Callable[[str], list[dict[str, Any]]]


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("family", DIALECTS)
@pytest.mark.parametrize(
    ("script", "code"), [("status-429", "rate_limit_exceeded"), ("status-500", "server_error"), ("wrong-type", None)]
)
async def test_a_provider_that_refuses_ends_the_stream_as_failed_with_a_typed_error(
    client: openai.AsyncOpenAI, upstream: Upstream, *, transport: Transport, family: str, script: str, code: str | None
) -> None:
    asked = len(upstream.calls)
    said = await ask(client, transport, model=f"{family}/scripted-{script}", input="x")
    assert [call.outcome for call in upstream.calls[asked:]] == ["refused"]  # a later call would be another answer
    assert said.events[-1].type == "response.failed"
    assert (said.response.status, said.response.output) == ("failed", [])
    assert said.response.error is not None
    assert said.response.error.code == (code or "server_error")
    assert "scripted" not in said.response.error.message  # a provider's own words stay in the log
    kept = await client.responses.retrieve(said.response.id)
    assert (kept.status, kept.error) == ("failed", said.response.error)


@pytest.mark.parametrize("family", DIALECTS)
@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        ("status-429", openai.RateLimitError, "rate_limit_exceeded"),
        ("status-500", openai.InternalServerError, "server_error"),
        ("cut-at-3", openai.InternalServerError, "server_error"),
    ],
)
async def test_over_json_a_failed_answer_is_an_error_that_names_the_kept_response(
    client: openai.AsyncOpenAI, *, family: str, script: str, kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as failed:
        await ask(client, "json", model=f"{family}/scripted-{script}", input="x")
    assert failed.value.code == code
    assert failed.value.response.headers["x-should-retry"] == "false"
    body: Any = failed.value.body
    kept = await client.responses.retrieve(body["response_id"])
    assert kept.status == "failed"


@pytest.mark.parametrize("transport", STREAMS)
@pytest.mark.parametrize("family", DIALECTS)
@pytest.mark.parametrize("script", ["cut-at-12", "error-at-12", "garbage", "n12-false-done"])
async def test_a_stream_that_breaks_ends_as_failed_and_keeps_its_part(
    client: openai.AsyncOpenAI,
    upstream: Upstream,
    ledger: Ledger,
    *,
    transport: Transport,
    family: str,
    script: str,
) -> None:
    asked = len(upstream.calls)
    said = await ask(client, transport, model=f"{family}/scripted-{script}", input="x")
    [call] = upstream.calls[asked:]
    kept = await client.responses.retrieve(said.response.id)
    part = "".join(f"{call.salt}:{number} " for number in range(call.tokens))
    assert part
    assert (said.response.status, kept.status) == ("failed", "failed")
    assert said.deltas == said.response.output_text == kept.output_text == part
    assert [item.status for item in kept.output if item.type == "message"] == ["incomplete"]
    [row] = ledger(kept.id)
    assert (row["status"], row["estimated"]) == ("settled", 1)
    assert row["input_tokens"] > 0
    assert row["output_tokens"] >= call.tokens  # Claude tells 1 at the start and the rest only at the end


@pytest.mark.parametrize("family", DIALECTS)
async def test_cancelling_over_http_closes_the_upstream_and_keeps_the_part(
    client: openai.AsyncOpenAI, upstream: Upstream, family: str
) -> None:
    asked = len(upstream.calls)
    events: list[ResponseStreamEvent] = []
    async with await client.responses.create(model=f"{family}/scripted-endless-d5", input="x", stream=True) as stream:
        async for event in stream:
            events.append(event)
            if len(events) == 10:
                assert events[0].type == "response.created"
                cancelled = await client.responses.cancel(events[0].response.id)
                assert cancelled.status == "cancelled"
    await closed_by_us(upstream, asked)
    assert events[-1].type == "response.incomplete"
    check_cancelled(upstream, events[-1].response, asked)


async def test_cancelling_over_the_socket_closes_the_upstream(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    last = None
    async with client.responses.connect(extra_query={"chatbackend": "1"}) as connection:
        await connection.response.create(model="llama31/scripted-endless-d5", input="x")
        while last is None or last.type != "response.incomplete":
            data = await connection.recv_bytes()
            if json.loads(data)["type"].startswith("chatbackend."):
                continue
            last = SOCKET_EVENT.validate_json(data)
            if last.type == "response.created":
                await upstream.call(asked)
                command = {"type": "chatbackend.cancel", "response_id": last.response.id}
                await connection.send_raw(json.dumps(command))
    await closed_by_us(upstream, asked)
    check_cancelled(upstream, last.response, asked)


async def test_a_client_that_hangs_up_does_not_stop_its_answer(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    asked = len(upstream.calls)
    stream = await client.responses.create(model="llama31/scripted-n40-d5", input="x", stream=True)
    first = await anext(aiter(stream))
    assert first.type == "response.created"
    await stream.close()
    call = await upstream.call(asked)
    with anyio.fail_after(5):
        await call.ended.wait()
    assert (call.outcome, call.tokens) == ("finished", 40)
    replay = await client.responses.retrieve(first.response.id, stream=True, starting_after=first.sequence_number)
    events = [event async for event in replay]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text.count(call.salt) == 40


async def closed_by_us(upstream: Upstream, number: int) -> None:
    call = await upstream.call(number)
    with anyio.fail_after(5):
        await call.ended.wait()
    assert call.outcome == "closed-by-client"


def check_cancelled(upstream: Upstream, response: Response, number: int) -> None:
    call = upstream.calls[number]
    assert response.status == "cancelled"
    whole = "".join(f"{call.salt}:{token} " for token in range(call.tokens))
    assert whole.startswith(response.output_text)
