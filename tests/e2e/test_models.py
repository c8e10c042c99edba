"""Questions to models that environment variables name: answers, citations, tools, images, structure, usage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from anyio import to_thread
from openai.types.responses import FunctionToolParam
from openai.types.responses.response_input_param import FunctionCallOutput

from tests.support import readme
from tests.support.documents import pdf
from tests.support.sdk import TRANSPORTS, Transport, ask
from tests.support.server import Server
from tests.support.upstream import Upstream
from tests.support.upstream_script import Call, as_list, as_object

pytestmark = pytest.mark.anyio

FAMILIES = {
    "llama31": "chat",
    "openai": "chat",
    "claude": "messages",
    "azure": "azure-chat",
    "perplexity": "perplexity",
}
DIALECTS = ("llama31", "claude")
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather at a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    "strict": False,
}
SUBJECTS = ("coolant", "turbine", "antenna")


def chapter(subject: str) -> str:
    """Return a page that is long enough to be a passage of its own."""
    rules = [f"Rule {number} of the {subject} asks two people to sign the {subject} log." for number in range(14)]
    return f"The {subject} of the station is serviced every {len(subject)} months. " + " ".join(rules)


@pytest.fixture
async def store(client: openai.AsyncOpenAI) -> str:
    """Give a vector store that holds a PDF with a chapter a page."""
    document = pdf([[(14.0, f"About the {subject}"), (11.0, chapter(subject))] for subject in SUBJECTS])
    file = await client.files.create(file=("station.pdf", document), purpose="assistants")
    made = await client.vector_stores.create(name="station")
    await client.vector_stores.files.create_and_poll(vector_store_id=made.id, file_id=file.id, poll_interval_ms=50)
    return made.id


async def text_of(client: openai.AsyncOpenAI, store: str, file_id: str) -> str:
    parts = await client.vector_stores.files.content(file_id, vector_store_id=store)
    return "".join([part.text or "" async for part in parts])


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_readmes_file_question_is_answered_by_the_configured_model(
    running: Server, upstream: Upstream, tmp_path: Path, family: str
) -> None:
    manual = readme.write_manual(tmp_path)
    asked = len(upstream.calls)
    printed = await to_thread.run_sync(lambda: readme.ask_the_file(running, manual, model=f"{family}/scripted-cite"))
    [call] = upstream.calls[asked:]
    assert (call.dialect, call.asked.stream, call.outcome) == (FAMILIES[family], True, "finished")
    answer, _, _ = printed.partition("\n[")
    assert answer.startswith(f"{call.salt} read ")
    assert not set("【】") & set(printed)
    assert await to_thread.run_sync(lambda: readme.check_sources(running, manual, printed)) >= 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("family", FAMILIES)
async def test_torn_citation_marks_become_true_citations(
    client: openai.AsyncOpenAI, upstream: Upstream, store: str, *, family: str, transport: Transport
) -> None:
    request: dict[str, Any] = {"tools": [{"type": "file_search", "vector_store_ids": [store]}]}
    said = await ask(client, transport, model=f"{family}/scripted-cite", input="Who signs the log?", **request)
    text, call = said.response.output_text, upstream.calls[-1]
    assert call.dialect == FAMILIES[family]
    assert text.count(f"{call.salt} read ") >= len(SUBJECTS)
    assert not set("【】") & set(text)
    assert said.deltas == ("" if transport == "json" else text)
    assert {each["page"] for each in said.annotations} == {1, 2, 3}
    for each in said.annotations:
        source = await text_of(client, store, each["file_id"])
        assert source[each["start"] : each["end"]] == each["quote"]
        assert SUBJECTS[each["page"] - 1] in each["quote"]
        assert (each["type"], each["filename"]) == ("file_citation", "station.pdf")
        assert text[: each["index"]].rstrip().endswith('"')  # it stands where the mark stood


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("family", FAMILIES)
async def test_an_answer_is_whole_and_its_usage_is_the_providers_count(
    client: openai.AsyncOpenAI,
    upstream: Upstream,
    ledger: Callable[[str], list[dict[str, Any]]],
    *,
    family: str,
    transport: Transport,
) -> None:
    said = await ask(client, transport, model=f"{family}/scripted-n30", input="Tell me.")
    call, usage = upstream.calls[-1], said.response.usage
    assert said.response.output_text == "".join(f"{call.salt}:{number} " for number in range(30))
    assert said.deltas == ("" if transport == "json" else said.response.output_text)
    assert usage is not None
    assert {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens} == call.usage
    [row] = ledger(said.response.id)
    assert (row["status"], row["estimated"], row["model"]) == ("settled", 0, f"{family}/scripted-n30")
    assert {name: row[name] for name in ("input_tokens", "output_tokens")} == call.usage
    kept = await client.responses.retrieve(said.response.id)
    assert kept.output_text == said.response.output_text
    assert kept.usage == usage


@pytest.mark.parametrize("kept_by", ["previous_response_id", "conversation"])
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("family", DIALECTS)
async def test_a_function_call_and_its_output_make_the_round_trip(
    client: openai.AsyncOpenAI, upstream: Upstream, *, family: str, transport: Transport, kept_by: str
) -> None:
    request: dict[str, Any] = {"model": f"{family}/scripted-tool-call", "tools": [WEATHER]}
    if kept_by == "conversation":
        request["conversation"] = (await client.conversations.create()).id
    first = await ask(client, transport, input="How is the weather in Oslo?", **request)
    [call] = first.response.output
    assert call.type == "function_call"
    assert (call.name, call.status) == ("get_weather", "completed")
    assert json.loads(call.arguments) == {"place": "How is the weather in Oslo?"}
    if kept_by == "previous_response_id":
        request["previous_response_id"] = first.response.id
    output = FunctionCallOutput(type="function_call_output", call_id=call.call_id, output="Eleven degrees, rain.")
    second = await ask(client, transport, input=[output], **request)
    assert second.response.output_text.startswith(upstream.calls[-1].salt)
    assert tool_turns(upstream.calls[-1]) == {call.call_id: ("get_weather", "Eleven degrees, rain.")}


@pytest.mark.parametrize("family", FAMILIES)
async def test_structured_output_has_the_demanded_shape(
    client: openai.AsyncOpenAI, upstream: Upstream, family: str
) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}, "capital": {"type": "boolean"}},
        "required": ["city", "people", "capital"],
        "additionalProperties": False,
    }
    shape: Any = {"format": {"type": "json_schema", "name": "city", "schema": schema, "strict": True}}
    said = await ask(client, "ws", model=f"{family}/scripted-json", input="Name a city.", text=shape)
    call = upstream.calls[-1]
    assert json.loads(said.response.output_text) == {"city": call.salt, "people": 7, "capital": True}
    assert call.asked.schema() == schema


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_image_goes_to_models_that_see_and_is_refused_by_others(
    client: openai.AsyncOpenAI, upstream: Upstream, family: str
) -> None:
    question: Any = [
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                {"type": "input_text", "text": "What is this?"},
            ],
        }
    ]
    asked = len(upstream.calls)
    if family == "llama31":
        with pytest.raises(openai.BadRequestError, match="images"):
            await ask(client, "json", model=f"{family}/scripted", input=question)
        assert upstream.calls[asked:] == []
        return
    said = await ask(client, "json", model=f"{family}/scripted", input=question)
    assert said.response.status == "completed"
    sent = json.dumps(upstream.calls[-1].asked.body)
    assert PIXEL.partition(",")[2] in sent


@pytest.mark.parametrize("family", DIALECTS)
async def test_an_answer_cut_by_its_token_limit_ends_incomplete_with_its_text(
    client: openai.AsyncOpenAI, family: str
) -> None:
    cut = await ask(client, "sse", model=f"{family}/scripted-length", input="x", max_output_tokens=16)
    assert cut.response.status == "incomplete"
    assert cut.response.incomplete_details is not None
    assert cut.response.incomplete_details.reason == "max_output_tokens"
    assert cut.deltas == cut.response.output_text != ""


async def test_providers_get_their_own_key_and_never_the_callers(
    client: openai.AsyncOpenAI, upstream: Upstream, running: Server
) -> None:
    for family, secret in (
        ("openai", "Bearer sk-upstream-openai"),
        ("claude", "sk-upstream-claude"),
        ("llama31", ""),
        ("azure", "sk-upstream-azure"),
        ("perplexity", "Bearer sk-upstream-perplexity"),
    ):
        await ask(client, "json", model=f"{family}/scripted", input="x")
        headers = upstream.calls[-1].headers
        assert any(secret in value for value in headers.values())
        assert not any(running.key in value for value in headers.values())


def tool_turns(call: Call) -> dict[str, tuple[str, str]]:
    """Return what a provider was told of tools: call id -> (name, output), in either dialect."""
    names: dict[str, str] = {}
    outputs: dict[str, str] = {}
    for message in call.asked.messages:
        for tool in map(as_object, as_list(message.get("tool_calls"))):
            names[tool["id"]] = tool["function"]["name"]
        if message.get("role") == "tool":
            outputs[message["tool_call_id"]] = message["content"]
        for block in map(as_object, as_list(message.get("content"))):
            if block.get("type") == "tool_use":
                names[block["id"]] = block["name"]
            if block.get("type") == "tool_result":
                outputs[block["tool_use_id"]] = plain(block["content"])
    return {call_id: (names[call_id], output) for call_id, output in outputs.items()}


def plain(content: object) -> str:
    return content if isinstance(content, str) else "".join(as_object(part)["text"] for part in as_list(content))
