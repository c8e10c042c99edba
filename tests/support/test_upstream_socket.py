"""The scripted upstream's WebSockets are what the unmodified SDK takes for OpenAI's, event by event."""

import json
from collections.abc import AsyncIterator
from typing import Any, cast

import openai
import pytest
from openai.types.responses import ResponsesServerEvent
from openai.types.responses.responses_server_event import ResponseWsError
from websockets.exceptions import InvalidStatus

from tests.support.sdk import SOCKET_EVENT, TERMINAL
from tests.support.upstream import Upgrades, Upstream

pytestmark = pytest.mark.anyio

KEY = "sk-upstream"
WEATHER: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream(key=KEY) as upstream:
        yield upstream


def sdk(upstream: Upstream, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{upstream.url}/v1", api_key=key, max_retries=0)


async def turn(connection: Any, **asked: Any) -> list[ResponsesServerEvent]:  # noqa: ANN401  # as the SDK types them
    await connection.response.create(**asked)
    events: list[ResponsesServerEvent] = []
    while not events or events[-1].type not in {*TERMINAL, "error"}:
        events.append(SOCKET_EVENT.validate_json(await connection.recv_bytes()))
    return events


@pytest.mark.parametrize("model", ["n3", "reason-n3", "length-n3", "refuse-n3", "tool-call", "failed-at-2"])
async def test_an_answer_is_events_of_the_sdk_numbered_from_0(upstream: Upstream, model: str) -> None:
    async with sdk(upstream) as client, client.responses.connect() as connection:
        events = await turn(connection, model=model, input="hi", tools=[WEATHER], store=False)
    numbers = [event.sequence_number for event in events if not isinstance(event, ResponseWsError)]
    assert numbers == list(range(len(events)))
    assert events[-1].type in TERMINAL


async def test_a_connection_remembers_its_newest_response_only(upstream: Upstream) -> None:
    async with sdk(upstream) as client, client.responses.connect() as connection:
        for _ in range(2):
            await turn(connection, model="tool-loop-9", input="hi", tools=[WEATHER], store=False)
        first, second = (f"resp_{call.salt}" for call in upstream.calls)
        [lost] = await turn(connection, model="n3", input="more", previous_response_id=first, store=False)
        await turn(connection, model="n3", input="more", previous_response_id=second, store=False)
    assert isinstance(lost, ResponseWsError)
    assert (lost.status, lost.error.code) == (400, "previous_response_not_found")


async def test_a_remembered_context_is_asked_with_what_is_new(upstream: Upstream) -> None:
    async with sdk(upstream) as client, client.responses.connect() as connection:
        await turn(connection, model="n3", input="hi", store=False)
        previous = f"resp_{upstream.calls[0].salt}"
        await turn(connection, model="n3", input="more", previous_response_id=previous, store=False)
    texts = [json.dumps(entry) for entry in upstream.calls[1].asked.messages]
    assert len(texts) == 3
    assert ("hi" in texts[0], upstream.calls[0].salt in texts[1], "more" in texts[2]) == (True, True, True)
    assert [call.said["input"] for call in upstream.calls] == ["hi", "more"]


async def test_an_overload_says_in_its_error_how_long_to_wait(upstream: Upstream) -> None:
    async with sdk(upstream) as client, client.responses.connect() as connection:
        [event] = await turn(connection, model="status-429", input="hi")
    error = cast(ResponseWsError, event)
    assert (error.status, error.error.headers) == (429, {"retry-after": "2"})


async def test_a_connection_is_spent_after_its_turns() -> None:
    async with (
        Upstream(upgrades=Upgrades(turns=1)) as upstream,
        sdk(upstream) as client,
        client.responses.connect() as connection,
    ):
        await turn(connection, model="n3", input="hi")
        [event] = await turn(connection, model="n3", input="hi")
    assert cast(ResponseWsError, event).error.code == "websocket_connection_limit_reached"


@pytest.mark.parametrize(("key", "upgrade", "status"), [("another", 101, 401), (KEY, 426, 426)])
async def test_a_handshake_is_refused_with_a_status(key: str, upgrade: int, status: int) -> None:
    async with Upstream(key=KEY, upgrades=Upgrades(upgrade)) as upstream, sdk(upstream, key) as client:
        with pytest.raises(InvalidStatus) as refused:
            await client.responses.connect().enter()
    assert refused.value.response.status_code == status
