"""Every dialect of the scripted upstream is what its vendor's SDK, validating strictly, takes for the real one."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pytest
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseIncompleteEvent,
    ResponseStreamEvent,
)

from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

KEY = "sk-upstream"
ASKED: Any = [{"role": "user", "content": "hi there"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream(key=KEY) as upstream:
        yield upstream


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai_at(f"{upstream.url}/v1") as client:
        yield client


@pytest.fixture
async def azure(upstream: Upstream) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    # Not strict: Azure's first chunk, and an embedding in base64, fit no type of the package's own.
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=upstream.url, api_key=KEY, api_version="2024-12-01-preview", max_retries=0
    ) as client:
        yield client


def openai_at(url: str, key: str = KEY) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, _strict_response_validation=True)


async def streamed(client: openai.AsyncOpenAI, model: str, **request: object) -> list[ResponseStreamEvent]:
    create: Any = client.responses.create
    async with await create(model=model, input="hi", stream=True, **request) as stream:
        return [event async for event in stream]


def ended(events: list[ResponseStreamEvent]) -> Response:
    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent | ResponseIncompleteEvent)
    assert last.type == f"response.{last.response.status}"
    return last.response


@pytest.mark.parametrize(
    ("model", "status", "kinds"),
    [
        ("n3", "completed", ["message"]),
        ("reason-n3", "completed", ["reasoning", "message"]),
        ("length-n3", "incomplete", ["message"]),
        ("filter-n3", "incomplete", ["message"]),
        ("refuse-n3", "completed", ["message"]),
        ("tool-call", "completed", ["function_call"]),
    ],
)
async def test_a_streamed_response_is_what_its_events_say(
    client: openai.AsyncOpenAI, upstream: Upstream, *, model: str, status: str, kinds: list[str]
) -> None:
    tools = [{"type": "function", "name": "weather", "parameters": WEATHER, "strict": None}]
    events = await streamed(client, model, tools=tools, include=["reasoning.encrypted_content"])
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = ended(events)
    assert last.status == status
    assert [item.type for item in last.output] == kinds
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert done == last.output
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == last.output_text
    assert last.usage is not None
    assert last.usage.output_tokens == upstream.calls[0].tokens


async def test_a_whole_response_says_the_same_as_a_streamed_one(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    whole = await client.responses.create(model="n3", input="hi")
    last = ended(await streamed(client, "n3"))
    first, second = (call.salt for call in upstream.calls)
    assert whole.output_text.replace(first, second) == last.output_text


@pytest.mark.parametrize(("model", "kind"), [("error-at-2", "error"), ("failed-at-2", "response.failed")])
async def test_a_response_fails_in_its_stream_in_either_way(client: openai.AsyncOpenAI, model: str, kind: str) -> None:
    raw = client.responses.with_streaming_response
    async with raw.create(model=model, input="hi", stream=True) as answer:
        lines = [line async for line in answer.iter_lines()]
    events = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert events[-1] == kind
    assert events.count("response.output_text.delta") == 2


async def test_azure_begins_with_a_chunk_without_a_choice(azure: openai.AsyncAzureOpenAI, upstream: Upstream) -> None:
    async with await azure.chat.completions.create(model="n3", messages=ASKED, stream=True) as stream:
        chunks = [chunk async for chunk in stream]
    extras: Any = [chunk.to_dict() for chunk in chunks]
    assert chunks[0].choices == []
    assert extras[0]["prompt_filter_results"][0]["prompt_index"] == 0
    assert extras[2]["choices"][0]["content_filter_results"]["violence"] == {"filtered": False, "severity": "safe"}
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    salt = upstream.calls[0].salt
    assert text == f"{salt}:0 {salt}:1 {salt}:2 "
    assert upstream.calls[0].path == "/openai/deployments/n3/chat/completions?api-version=2024-12-01-preview"


async def test_azures_undated_addresses_speak_both_dialects(upstream: Upstream) -> None:
    async with openai_at(f"{upstream.url}/openai/v1") as client:
        chat = await client.chat.completions.create(model="filter-n3", messages=ASKED)
        events = await streamed(client, "n3")
    extra: Any = chat.choices[0].to_dict()
    assert extra["content_filter_results"]["violence"]["filtered"] is True
    assert events[-1].type == "response.completed"
    assert [call.dialect for call in upstream.calls] == ["azure-chat", "azure-responses"]


async def test_azure_asks_to_wait_in_milliseconds_too(azure: openai.AsyncAzureOpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as limited:
        await azure.chat.completions.create(model="status-429-r1500", messages=ASKED)
    headers = limited.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1500")


async def test_a_dated_address_of_azure_wants_its_date(upstream: Upstream) -> None:
    async with openai_at(f"{upstream.url}/openai/deployments/n3") as client:
        with pytest.raises(openai.NotFoundError, match="Resource not found"):
            await client.chat.completions.create(model="n3", messages=ASKED)


@pytest.mark.parametrize(("path", "model"), [("", "n3"), ("/v1", "sonar-n3")])
async def test_perplexity_sends_usage_and_sources_with_every_chunk(upstream: Upstream, path: str, model: str) -> None:
    async with (
        openai.AsyncOpenAI(base_url=f"{upstream.url}{path}", api_key=KEY) as client,  # its last chunk fits no type
        await client.chat.completions.create(model=model, messages=ASKED, stream=True) as stream,
    ):
        chunks = [chunk async for chunk in stream]
    extras: list[Any] = [chunk.to_dict() for chunk in chunks]
    assert [len(extra["citations"]) for extra in extras] == [2] * 4
    assert extras[0]["search_results"][0]["url"] == extras[0]["citations"][0]
    assert [chunk.usage and chunk.usage.completion_tokens for chunk in chunks] == [0, 1, 2, 3]
    assert extras[-1]["object"] == "chat.completion.done"


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        (("user", "user"), "alternating"),
        (("assistant", "user"), "alternating"),
        (("user", "system", "user"), "alternating"),
        (("user", "assistant"), "Last message"),
        (("system", "system", "user"), None),
        (("system", "user", "assistant", "user"), None),
    ],
)
async def test_perplexity_takes_alternating_turns_only(
    upstream: Upstream, roles: tuple[str, ...], words: str | None
) -> None:
    messages: Any = [{"role": role, "content": "x"} for role in roles]
    async with openai_at(upstream.url) as client:
        if words is None:
            await client.chat.completions.create(model="sonar", messages=messages)
            return
        with pytest.raises(openai.BadRequestError, match=words) as refused:
            await client.chat.completions.create(model="sonar", messages=messages)
    body: Any = refused.value.body
    assert (body["type"], body["code"]) == ("invalid_message", 400)


async def test_perplexity_takes_no_tools(upstream: Upstream) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    async with openai_at(upstream.url) as client:
        with pytest.raises(openai.BadRequestError, match="Tool calling is not supported"):
            await client.chat.completions.create(model="sonar", messages=ASKED, tools=tools)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("tool-text-function", '<function=weather>{"city": "tool?"}</function>'),
        ("tool-text-python", '<|python_tag|>{"name": "weather", "parameters": {"city": "tool?"}}'),
        ("tool-text-json", '{"name": "weather", "parameters": {"city": "tool?"}}'),
    ],
)
async def test_a_llama_writes_its_calls_into_its_text(client: openai.AsyncOpenAI, model: str, text: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": WEATHER}}]
    asked: Any = [{"role": "user", "content": "tool?"}]
    answer = await client.chat.completions.create(model=model, messages=asked, tools=tools)
    assert (answer.choices[0].message.content, answer.choices[0].message.tool_calls) == (text, None)
    assert answer.choices[0].finish_reason == "stop"


async def test_ids_and_usage_may_never_arrive(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    asked: Any = {"model": "n2-no-usage-no-id", "messages": ASKED, "stream_options": {"include_usage": True}}
    async with await client.chat.completions.create(**asked, stream=True) as stream:
        chunks = [chunk async for chunk in stream]
    assert {(chunk.id, chunk.usage) for chunk in chunks} == {("", None)}
    assert upstream.calls[0].usage is None


async def test_tokens_are_counted_as_a_generation_would_report_them(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    responses = await client.responses.input_tokens.count(model="n1", input="one two three")
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key=KEY) as claude:
        counted = await claude.messages.count_tokens(model="n1", messages=ASKED, system="be brief")
        told = await claude.messages.create(model="n1", messages=ASKED, system="be brief", max_tokens=1)
    assert responses.input_tokens == 3
    assert counted.input_tokens == told.usage.input_tokens == 4


async def test_an_embedding_follows_from_its_text_in_either_encoding(
    client: openai.AsyncOpenAI, azure: openai.AsyncAzureOpenAI
) -> None:
    packed = await azure.embeddings.create(model="any", input=["red", "blue", "red"], dimensions=5)
    plain = await client.embeddings.create(model="any", input="red", dimensions=5, encoding_format="float")
    red, blue, again = (entry.embedding for entry in packed.data)
    assert red == again == pytest.approx(plain.data[0].embedding, abs=1e-6)
    assert red != blue
    assert len(red) == 5
    assert packed.usage.prompt_tokens == 3


PIXEL = "iVBORw0KGgo="  # the eight bytes that every PNG begins with


async def test_an_image_is_described_in_every_dialect(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    url = f"data:image/png;base64,{PIXEL}"
    chat: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    item: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"}]}]
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    message: Any = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    completion = await client.chat.completions.create(model="image", messages=chat)
    response = await client.responses.create(model="image", input=item)
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key=KEY) as claude:
        told = await claude.messages.create(model="image", messages=message, max_tokens=9)
    said = [completion.choices[0].message.content, response.output_text, getattr(told.content[0], "text", "")]
    assert said == [f"{call.salt} saw image/png of 8 bytes. " for call in upstream.calls]


async def test_every_dialect_wants_its_own_credential(upstream: Upstream) -> None:
    asked: Any = {"model": "n1", "messages": ASKED}
    for path in ("/v1", "/openai/v1", ""):
        async with openai_at(f"{upstream.url}{path}", "wrong") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(**asked)
    async with openai_at(f"{upstream.url}/v1", "wrong") as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.responses.create(model="n1", input="x")
    async with anthropic.AsyncAnthropic(base_url=upstream.url, api_key="wrong") as stranger:
        with pytest.raises(anthropic.AuthenticationError):
            await stranger.messages.create(**asked, max_tokens=1)
    assert {call.outcome for call in upstream.calls} == {"refused"}
