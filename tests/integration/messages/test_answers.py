"""`POST /v1/messages` over a real server, spoken by Anthropic's own SDK, over providers of other dialects."""

import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam

from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SAY_ON: list[MessageParam] = [{"role": "user", "content": "say on"}]


@pytest.mark.parametrize("provider", ["openai", "llama31"])
async def test_a_whole_answer_is_a_message(provider: str, claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    raw = await claude.messages.with_raw_response.create(
        model=f"{provider}/scripted-n5", max_tokens=50, messages=SAY_ON
    )
    message, call = await raw.parse(), await upstream.call(number)
    assert message.id.startswith("msg_")
    assert message.model == f"{provider}/scripted-n5"
    assert [block.to_dict() for block in message.content] == [
        {"type": "text", "text": "".join(f"{call.salt}:{n} " for n in range(5)), "citations": None}
    ]
    assert message.stop_reason == "end_turn"
    assert call.usage == {"input_tokens": message.usage.input_tokens, "output_tokens": message.usage.output_tokens}
    assert raw.headers["x-chatbackend-deployment"] == message.model
    assert raw.headers["x-chatbackend-attempts"] == "1"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]


@pytest.mark.parametrize("provider", ["openai", "llama31"])
async def test_a_stream_adds_up_to_the_same_message(provider: str, claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    async with claude.messages.stream(model=f"{provider}/scripted-n5", max_tokens=50, messages=SAY_ON) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    call = await upstream.call(number)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert message.content[0].type == "text"
    assert message.content[0].text == "".join(f"{call.salt}:{n} " for n in range(5))
    assert message.stop_reason == "end_turn"
    assert call.usage == {"input_tokens": message.usage.input_tokens, "output_tokens": message.usage.output_tokens}
