"""What goes wrong: a status before the first token, a last event without an end mark after it; and nobody listening."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import httpx2
import msgspec
import openai
import pytest

from tests.integration.chat.conftest import Row, body
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Booked = Callable[[int], Awaitable[list[Row]]]
Way = Literal["whole", "streamed"]
WAYS = pytest.mark.parametrize("way", ["whole", "streamed"])
HANG_UP_S = 0.25
PATH = "/chat/completions"

BEFORE: list[tuple[str, int, str]] = [
    ("status-400", 400, "invalid_prompt"),
    ("status-401", 502, "upstream_denied"),
    ("status-403", 502, "upstream_denied"),
    ("status-404", 404, "not_found"),
    ("status-413", 413, "request_too_large"),
    ("status-422", 422, "unprocessable"),
    ("status-429", 429, "rate_limit_exceeded"),
    ("status-500", 502, "upstream_error"),
    ("status-503", 503, "upstream_overloaded"),
    ("status-529", 503, "upstream_overloaded"),
    ("context-length", 400, "context_length_exceeded"),
    ("blocked", 400, "invalid_prompt"),
    ("no-headers", 504, "upstream_timeout"),
    ("silent", 504, "upstream_timeout"),
    ("cut-before-first", 502, "upstream_cut"),
    ("cut-at-0", 502, "upstream_cut"),
    ("error-at-0", 502, "upstream_error"),
    ("stall-at-0", 504, "upstream_timeout"),
    ("wrong-type", 502, "upstream_error"),
    ("huge-headers", 502, "upstream_error"),
]
AFTER: list[tuple[str, int, str]] = [
    ("cut-at-3", 502, "upstream_cut"),
    ("truncated-at-3", 502, "upstream_cut"),
    ("error-at-3", 502, "upstream_error"),
    ("error-in-stream", 502, "upstream_error"),
    ("garbage", 502, "upstream_error"),
    ("false-done", 502, "upstream_cut"),
    ("cut-in-character", 502, "upstream_cut"),
    ("stall-at-3", 504, "upstream_timeout"),
]


def events(text: str) -> list[Json]:
    """Return the data of every event of a stream but its end mark."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    return [msgspec.json.decode(line) for line in lines if line != "[DONE]"]


@WAYS
@pytest.mark.parametrize(("script", "status", "code"), BEFORE)
async def test_a_fault_before_the_first_token_is_a_status(
    http: httpx2.AsyncClient, booked: Booked, *, script: str, status: int, code: str, way: Way
) -> None:
    answer = await http.post(PATH, json=body(f"claude/scripted-{script}-{way}", stream=way == "streamed"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(await booked(1)) == 1


@pytest.mark.parametrize(("script", "status", "code"), AFTER)
async def test_a_fault_in_the_middle_ends_a_stream_with_the_error_and_without_its_mark(
    http: httpx2.AsyncClient, booked: Booked, *, script: str, status: int, code: str
) -> None:
    answer = await http.post(PATH, json=body(f"claude/scripted-{script}", stream=True))
    assert answer.status_code == 200
    *chunks, last = events(answer.text)
    assert last["error"]["code"] == code
    assert "[DONE]" not in answer.text
    assert chunks[0]["choices"][0]["delta"]["content"].endswith(":0 ")
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in chunks)
    ((_, _, _, wrote, estimated),) = await booked(1)
    assert (wrote > 0, estimated) == (True, 1)
    whole = await http.post(PATH, json=body(f"claude/scripted-{script}"))
    assert (whole.status_code, whole.json()["error"]["code"]) == (status, code)


async def test_the_sdk_raises_what_came_as_the_last_event(client: openai.AsyncOpenAI) -> None:
    asked = body("claude/scripted-error-at-3")
    stream = await client.chat.completions.create(model=asked["model"], messages=asked["messages"], stream=True)
    with pytest.raises(openai.APIError) as broken:
        async for _ in stream:
            pass
    assert broken.value.code == "upstream_error"


async def test_an_overloaded_provider_says_how_long_to_wait(http: httpx2.AsyncClient) -> None:
    answer = await http.post(PATH, json=body("claude/scripted-status-429-waiting"))
    assert answer.headers["retry-after"] == "2"


@asynccontextmanager
async def left(http: httpx2.AsyncClient, upstream: Upstream, asked: Json, *, calls: int) -> AsyncGenerator[None, None]:
    """Ask, and hang up once so many calls have come (and something of a stream); inside, the client is gone."""
    before, heard = len(upstream.calls), anyio.Event()
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            async with http.stream("POST", PATH, json=asked) as answer:
                async for _ in answer.aiter_bytes():
                    heard.set()

        group.start_soon(ask)
        for number in range(calls):
            await upstream.call(before + number)
        if asked.get("stream"):
            await heard.wait()
        group.cancel_scope.cancel()
    yield


@WAYS
@pytest.mark.parametrize("choices", [1, 3])
async def test_a_client_that_hangs_up_closes_the_upstream_at_once(
    http: httpx2.AsyncClient, upstream: Upstream, booked: Booked, *, choices: int, way: Way
) -> None:
    before = len(upstream.calls)
    asked = body("claude/scripted-n400-d50", stream=way == "streamed", n=choices)
    async with left(http, upstream, asked, calls=choices):
        gone_at = time.time()
        for call in upstream.calls[before:]:
            with anyio.fail_after(5):
                await call.ended.wait()
    calls = upstream.calls[before:]
    assert [call.outcome for call in calls] == ["closed-by-client"] * choices
    assert max(call.ended_at or 0 for call in calls) - gone_at <= HANG_UP_S
    assert len(await booked(choices)) == choices


async def test_a_client_that_hangs_up_before_the_first_token_closes_the_upstream_too(
    http: httpx2.AsyncClient, upstream: Upstream, booked: Booked
) -> None:
    before = len(upstream.calls)
    async with left(http, upstream, body("claude/scripted-n2-d900", n=2), calls=2):
        with anyio.fail_after(HANG_UP_S * 3):
            for call in upstream.calls[before:]:
                await call.ended.wait()
    assert len(await booked(2)) == 2


async def test_several_choices_come_interleaved_and_their_usage_is_summed(
    http: httpx2.AsyncClient, upstream: Upstream, booked: Booked
) -> None:
    before = len(upstream.calls)
    asked = body("claude/scripted-n5-d5", n=3, stream=True, stream_options={"include_usage": True})
    answer = await http.post(PATH, json=asked)
    assert answer.text.endswith("data: [DONE]\n\n")
    *chunks, last = events(answer.text)
    assert [chunk["choices"][0]["index"] for chunk in chunks[:3]] == [0, 1, 2]
    assert all(chunk["choices"][0]["delta"]["role"] == "assistant" for chunk in chunks[:3])
    texts = ["", "", ""]
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["delta"].get("content") or ""
    calls = upstream.calls[before:]
    assert sorted(texts) == sorted("".join(f"{call.salt}:{number} " for number in range(5)) for call in calls)
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert sum(chunk["choices"][0]["finish_reason"] == "stop" for chunk in chunks) == 3
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 15)
    assert last["usage"]["prompt_tokens"] == 3 * calls[0].input_tokens
    assert [row[1:4] for row in await booked(3)] == [("settled", calls[0].input_tokens, 5)] * 3


async def test_several_choices_make_one_whole_answer(http: httpx2.AsyncClient, booked: Booked) -> None:
    answer = await http.post(PATH, json=body("claude/scripted-n5", n=8))
    whole = answer.json()
    assert [choice["index"] for choice in whole["choices"]] == list(range(8))
    assert len({choice["message"]["content"] for choice in whole["choices"]}) == 8
    assert whole["usage"]["completion_tokens"] == 40
    assert answer.headers["x-chatbackend-attempts"] == "8"
    assert len(await booked(8)) == 8


@WAYS
@pytest.mark.parametrize(("script", "status"), [("status-400", 400), ("silent", 504)])
async def test_one_choice_that_fails_before_its_first_token_fails_all(
    http: httpx2.AsyncClient, upstream: Upstream, booked: Booked, *, script: str, status: int, way: Way
) -> None:
    """The others are hung up on, whether they have begun (behind a silent one) or not (behind a quick one)."""
    before = len(upstream.calls)
    asked = body(f"claude/scripted-fail-1-times-{script}-n400-d20", n=3, stream=way == "streamed")
    answer = await http.post(PATH, json=asked | {"messages": [{"role": "user", "content": f"{script} {way}"}]})
    assert answer.status_code == status
    calls = upstream.calls[before:]
    with anyio.fail_after(HANG_UP_S * 4):
        for call in calls:
            await call.ended.wait()
    assert {call.outcome for call in calls} <= {"refused", "closed-by-client"}
    assert len(await booked(3)) == 3


async def test_one_choice_that_fails_later_ends_the_stream_with_the_error(
    http: httpx2.AsyncClient, upstream: Upstream, booked: Booked
) -> None:
    before = len(upstream.calls)
    asked = body("claude/scripted-fail-1-times-error-at-2-n100-d20", n=3, stream=True)
    answer = await http.post(PATH, json=asked | {"messages": [{"role": "user", "content": "later"}]})
    *chunks, last = events(answer.text)
    assert last["error"]["code"] == "upstream_error"
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1, 2}
    assert "[DONE]" not in answer.text
    calls = upstream.calls[before:]
    with anyio.fail_after(HANG_UP_S * 4):
        for call in calls:
            await call.ended.wait()
    assert sorted(call.outcome for call in calls) == ["closed-by-client", "closed-by-client", "refused"]
    assert len(await booked(3)) == 3
