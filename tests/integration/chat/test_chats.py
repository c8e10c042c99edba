"""`POST /v1/chat/completions` over providers that speak something else, through the official SDK on a real server."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any, Literal, cast

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.integration.chat.conftest import Row, body
from tests.support.upstream import Call, Upstream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Booked = Callable[[int], Awaitable[list[Row]]]
PNG = "data:image/png;base64," + base64.b64encode(b"not really").decode()
ADD: Json = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}
SUB: Json = {"type": "function", "function": {"name": "sub", "parameters": {"type": "object", "properties": {}}}}
Way = Literal["whole", "streamed"]
WAYS = pytest.mark.parametrize("way", ["whole", "streamed"])
MODELS = pytest.mark.parametrize(("model", "who"), [("claude/talk", "claude/talk"), ("responding", "openai/talk")])


async def ask(client: openai.AsyncOpenAI, way: Way, **request: object) -> ChatCompletion:
    """Ask for a whole answer, or for a stream that the SDK's own accumulator puts together."""
    if way == "whole":
        return await cast(Callable[..., Any], client.chat.completions.create)(**request)
    request = {"stream_options": {"include_usage": True}, **request}
    async with cast(Callable[..., Any], client.chat.completions.stream)(**request) as answer:
        async for _ in answer:
            pass
        return answer.current_completion_snapshot


def hi(text: str = "hi") -> list[Json]:
    return [{"role": "user", "content": text}]


def last(upstream: Upstream) -> Call:
    return upstream.calls[-1]


@WAYS
@MODELS
async def test_a_text_is_what_the_provider_said_and_its_usage_what_it_told(
    client: openai.AsyncOpenAI, upstream: Upstream, booked: Booked, *, model: str, who: str, way: Way
) -> None:
    answer = await ask(client, way, model=model, messages=hi("scripted-n5"))
    (choice,) = answer.choices
    call = last(upstream)
    assert choice.message.content == "".join(f"{call.salt}:{number} " for number in range(5))
    assert (choice.finish_reason, choice.message.refusal, choice.message.tool_calls) == ("stop", None, None)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == who
    assert answer.usage is not None
    assert call.usage == {"input_tokens": answer.usage.prompt_tokens, "output_tokens": answer.usage.completion_tokens}
    *_, row = await booked(1)
    assert row == (who, "settled", answer.usage.prompt_tokens, answer.usage.completion_tokens, 0)


async def test_every_key_of_the_api_is_there_and_a_stream_ends_with_its_mark(http: httpx2.AsyncClient) -> None:
    whole = (await http.post("/chat/completions", json=body("claude/scripted-n2"))).json()
    assert set(whole) == {
        "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint",
    }  # fmt: skip
    assert set(whole["choices"][0]) == {"index", "message", "logprobs", "finish_reason"}
    assert set(whole["choices"][0]["message"]) == {"role", "content", "refusal", "annotations"}
    streamed = await http.post("/chat/completions", json=body("claude/scripted-n2", stream=True))
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert "usage" not in streamed.text
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.headers["x-accel-buffering"] == "no"


@WAYS
async def test_who_answered_is_told_in_the_headers(http: httpx2.AsyncClient, way: Way) -> None:
    asked = body("chatting", presence_penalty=0.5, stream=way == "streamed")
    answer = await http.post("/chat/completions", json=asked)
    assert answer.headers["x-chatbackend-deployment"] == "llama31/scripted-n5"
    assert answer.headers["x-chatbackend-attempts"] == "1"  # who does not take a field is not called
    assert '"model":"llama31/scripted-n5"' in answer.text


@WAYS
@MODELS
async def test_parallel_tools_make_a_round_trip(
    client: openai.AsyncOpenAI, upstream: Upstream, *, model: str, who: str, way: Way
) -> None:
    messages = hi("scripted-tool-call")
    answer = await ask(client, way, model=model, messages=messages, tools=[ADD, SUB])
    (choice,) = answer.choices
    assert (answer.model, choice.finish_reason) == (who, "tool_calls")
    calls = choice.message.tool_calls or []
    assert [(call.type, cast(Any, call).function.name) for call in calls] == [("function", "add"), ("function", "sub")]
    assert [cast(Any, call).function.arguments for call in calls] == ['{"a": 7}', "{}"]
    outputs = [{"role": "tool", "tool_call_id": call.id, "content": str(number)} for number, call in enumerate(calls)]
    given = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
    follow = await ask(client, way, model=model, messages=[*messages, given, *outputs], tools=[ADD, SUB])
    assert follow.choices[0].finish_reason == "stop"
    assert (follow.choices[0].message.content or "").startswith(f"{last(upstream).salt}:0 ")


async def test_a_single_call_is_asked_for_and_tools_can_be_forbidden(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    answer = await ask(
        client, "whole", model="claude/scripted-tool-call", messages=hi(), tools=[ADD, SUB], parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls or ()) == 1
    await ask(client, "whole", model="claude/scripted-n2", messages=hi(), tools=[ADD], tool_choice="none")
    assert last(upstream).asked.body["tool_choice"] == {"type": "none"}


@WAYS
async def test_functions_of_the_old_form_are_answered_in_it(client: openai.AsyncOpenAI, way: Way) -> None:
    functions = [ADD["function"], SUB["function"]]
    answer = await ask(client, way, model="claude/scripted-tool-call", messages=hi(), functions=functions)
    (choice,) = answer.choices
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert choice.message.function_call.name == "add"
    follow = [
        *hi(),
        {"role": "assistant", "content": None, "function_call": choice.message.function_call.model_dump()},
        {"role": "function", "name": "add", "content": "7"},
    ]
    again = await ask(client, way, model="claude/scripted-tool-call", messages=follow, functions=functions)
    assert again.choices[0].finish_reason == "stop"


@WAYS
@MODELS
async def test_an_answer_has_the_demanded_schema(client: openai.AsyncOpenAI, model: str, who: str, way: Way) -> None:
    city = {"type": "string"}
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": False}
    answer = await ask(
        client,
        way,
        model=model,
        messages=hi("scripted-json"),
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}},
    )
    assert answer.model == who
    assert (answer.choices[0].message.content or "").startswith('{"city": "s')


async def test_images_and_files_reach_the_provider(client: openai.AsyncOpenAI) -> None:
    data = base64.b64encode(b"%PDF-1.7").decode()
    content = [
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}},
    ]
    messages = [{"role": "user", "content": content}]
    answer = await ask(client, "whole", model="claude/scripted-image", messages=messages)
    assert "saw image/png of 10 bytes" in (answer.choices[0].message.content or "")
    assert "saw application/pdf of 8 bytes" in (answer.choices[0].message.content or "")


async def test_a_file_that_was_uploaded_reaches_the_provider(client: openai.AsyncOpenAI) -> None:
    file = await client.files.create(file=("note.txt", b"the note"), purpose="user_data")
    messages = [{"role": "user", "content": [{"type": "file", "file": {"file_id": file.id}}]}]
    answer = await ask(client, "whole", model="claude/scripted-echo", messages=messages)
    assert answer.choices[0].message.content


async def test_system_messages_sampling_and_limits_reach_the_provider(
    client: openai.AsyncOpenAI, upstream: Upstream
) -> None:
    await ask(
        client,
        "whole",
        model="claude/scripted-n2",
        messages=[{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Rhyme."}, *hi()],
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=77,
        stop=["END"],
        user="eve",
    )
    sent = last(upstream).asked.body
    assert sent["system"] == "Be brief.\n\nRhyme."
    assert (sent["temperature"], sent["top_p"], sent["max_tokens"]) == (0.5, 0.9, 77)
    assert (sent["stop_sequences"], sent["metadata"]) == (["END"], {"user_id": "eve"})


@WAYS
@pytest.mark.parametrize(
    ("script", "reason"), [("length", "length"), ("refuse", "content_filter"), ("filter", "content_filter")]
)
async def test_every_end_has_its_finish_reason(client: openai.AsyncOpenAI, script: str, reason: str, way: Way) -> None:
    answer = await ask(client, way, model=f"claude/scripted-{script}-n3", messages=hi())
    assert answer.choices[0].finish_reason == reason


async def test_a_models_own_refusal_is_a_refusal(client: openai.AsyncOpenAI) -> None:
    answer = await ask(client, "whole", model="responding", messages=hi("scripted-refuse-n3"))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (None, "stop")
    assert answer.choices[0].message.refusal


@WAYS
async def test_sealed_reasoning_goes_back_to_its_provider_as_it_came(
    client: openai.AsyncOpenAI, upstream: Upstream, way: Way
) -> None:
    model = "claude/scripted-reason-n3"
    answer = await ask(client, way, model=model, messages=hi(), reasoning_effort="low")
    message = answer.choices[0].message
    salt = last(upstream).salt
    assert cast(Any, message).reasoning_content == f"{salt} thinks. "
    given = message.model_dump(exclude_none=True, exclude={"parsed"})
    await ask(client, way, model=model, messages=[*hi(), given, *hi("and?")], reasoning_effort="low")
    turn = last(upstream).asked.messages[1]
    assert turn["content"][0] == {"type": "thinking", "thinking": f"{salt} thinks. ", "signature": f"sig-{salt}"}
    assert turn["content"][1]["type"] == "text"


@WAYS
async def test_citations_of_the_web_point_into_the_text(client: openai.AsyncOpenAI, way: Way) -> None:
    answer = await ask(client, way, model="searching", messages=hi())
    message = answer.choices[0].message
    marks = [(message.content or "")[note.url_citation.start_index : note.url_citation.end_index]
             for note in message.annotations or ()]  # fmt: skip
    assert marks == ["[1]", "[2]", "[1]"]


@WAYS
async def test_the_built_in_model_answers_too(client: openai.AsyncOpenAI, way: Way) -> None:
    answer = await ask(client, way, model="local", messages=hi())
    assert answer.model == "local"
    assert answer.choices[0].message.content


async def test_a_field_that_we_do_not_know_goes_to_the_same_dialect_only(
    http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    refused = await http.post("/chat/completions", json=body("claude/scripted-n2", top_k=5, store=True))
    error = refused.json()["error"]
    assert (refused.status_code, error["param"], error["code"]) == (400, "top_k", "unsupported_by_model")
    kept = await http.post("/chat/completions", json=body("claude/scripted-n2", store=True, frequency_penalty=0))
    assert kept.status_code == 200
    assert "store" not in last(upstream).asked.body
    await http.post("/chat/completions", json=body("chatting", presence_penalty=0.5, top_k=5, store=True))
    sent = last(upstream).asked.body
    assert (sent["presence_penalty"], sent["top_k"], sent["store"]) == (0.5, 5, True)


WRONG: list[tuple[Json, str | None]] = [
    ({"n": 9}, "n"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
    ({"temperature": 3}, "temperature"),
    ({"stream": "yes"}, None),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file_none"}}]}]}, None),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
async def test_a_wrong_request_is_answered_with_the_field_before_anything_is_asked(
    http: httpx2.AsyncClient, upstream: Upstream, fields: Json, param: str | None
) -> None:
    before = len(upstream.calls)
    answer = await http.post("/chat/completions", json=body("claude/scripted-n2") | fields)
    assert answer.status_code in {400, 404}
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert param is None or error["param"] == param
    assert len(upstream.calls) == before


async def test_what_a_model_cannot_take_names_this_apis_field(http: httpx2.AsyncClient) -> None:
    content = [{"type": "file", "file": {"filename": "a.pdf", "file_data": "QUJD"}}]
    answer = await http.post(
        "/chat/completions", json=body("local") | {"messages": [{"role": "user", "content": content}]}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
