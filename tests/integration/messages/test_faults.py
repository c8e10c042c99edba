"""What goes wrong with a provider, as a client of Messages sees it: before the first byte and after it."""

import sqlite3
from contextlib import closing
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from anthropic import APIStatusError, AsyncAnthropic, InternalServerError, RateLimitError
from anthropic.types import MessageParam
from anthropic.types.shared import ErrorResponse

from tests.support.server import Server
from tests.support.spools import all_written
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

SAY_ON: list[MessageParam] = [{"role": "user", "content": "say on"}]
PROVIDERS = ("openai", "claude")
REFUSALS = [
    ("status-400", 400, "invalid_request_error"),
    ("status-401", 502, "api_error"),
    ("status-403", 502, "api_error"),
    ("status-404", 404, "not_found_error"),
    ("status-413", 413, "request_too_large"),
    ("status-422", 422, "invalid_request_error"),
    ("status-429", 429, "rate_limit_error"),
    ("status-500", 502, "api_error"),
    ("status-503", 529, "overloaded_error"),
    ("status-529", 529, "overloaded_error"),
    ("context-length", 400, "invalid_request_error"),
    ("blocked", 400, "invalid_request_error"),
    ("huge-headers", 502, "api_error"),
]
BREAKS = ("cut-at-3", "truncated-at-3", "error-at-3", "failed-at-3", "cut-in-character", "false-done", "garbage")


def asked(model: str, *, stream: bool) -> dict[str, Any]:
    return {"model": model, "max_tokens": 50, "messages": SAY_ON, "stream": stream}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refusal", REFUSALS, ids=[script for script, _, _ in REFUSALS])
async def test_a_refusal_keeps_its_meaning(
    http: httpx2.AsyncClient, provider: str, stream: object, refusal: tuple[str, int, str]
) -> None:
    script, status, kind = refusal
    answer = await http.post("/v1/messages", json=asked(f"{provider}/{script}", stream=bool(stream)))
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert answer.json()["request_id"] == answer.headers["request-id"]
    if kind != "request_too_large":  # Anthropic's documentation has it, its package does not
        ErrorResponse.model_validate(answer.json())


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_sdk_raises_the_error_of_its_own(claude: AsyncAnthropic, provider: str) -> None:
    with pytest.raises(RateLimitError) as limited:
        await claude.messages.create(model=f"{provider}/status-429", max_tokens=9, messages=SAY_ON)
    assert limited.value.response.headers["retry-after"] == "2"
    with pytest.raises(InternalServerError) as busy:
        await claude.messages.create(model=f"{provider}/status-529", max_tokens=9, messages=SAY_ON)
    assert busy.value.status_code == 529


@pytest.mark.parametrize(
    ("provider", "script"),
    # Claude's own end without a reason passes: its bytes are gone by then.
    [
        (provider, script)
        for provider in PROVIDERS
        for script in BREAKS
        if (provider, script) != ("claude", "false-done")
    ],
)
async def test_a_break_after_the_first_token_is_the_last_event(
    http: httpx2.AsyncClient, claude: AsyncAnthropic, provider: str, script: str
) -> None:
    answer = await http.post("/v1/messages", json=asked(f"{provider}/{script}", stream=True))
    assert answer.status_code == 200
    name, _, data = answer.text.rstrip().rpartition("\n\n")[2].partition("\n")
    assert name == "event: error"
    shown = ErrorResponse.model_validate_json(data.removeprefix("data: "))
    assert shown.error.type == "api_error"
    assert shown.request_id == answer.headers["request-id"]
    assert answer.text.count("event: message_start") == 1
    with pytest.raises(APIStatusError):
        async with claude.messages.stream(model=f"{provider}/{script}", max_tokens=50, messages=SAY_ON) as stream:
            await stream.get_final_message()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("script", ["cut-before-first", "cut-at-3", "garbage", "wrong-type"])
async def test_a_whole_answer_that_is_none_is_an_error(http: httpx2.AsyncClient, provider: str, script: str) -> None:
    answer = await http.post("/v1/messages", json=asked(f"{provider}/{script}", stream=False))
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_closes_the_upstream(
    http: httpx2.AsyncClient, upstream: Upstream, stream: object
) -> None:
    number = len(upstream.calls)
    with anyio.move_on_after(0.5):
        await http.post("/v1/messages", json=asked("openai/scripted-n400-d50", stream=bool(stream)))
    left = anyio.current_time()
    call = await upstream.call(number)
    with anyio.fail_after(5):
        await call.ended.wait()
    assert call.outcome == "closed-by-client"
    assert anyio.current_time() - left < 0.25


async def test_silence_is_filled_with_pings_of_the_apis_own(http: httpx2.AsyncClient) -> None:
    body = asked("openai/stall-at-2", stream=True)
    async with http.stream("POST", "/v1/messages", json=body) as answer:
        lines = answer.aiter_lines()
        with anyio.fail_after(15):
            while await anext(lines) != "event: ping":
                pass
        assert await anext(lines) == 'data: {"type":"ping"}'


async def test_whatever_happened_every_call_is_settled(running: Server) -> None:
    def open_calls() -> int:
        with closing(sqlite3.connect(running.data / "truth.db")) as truth:
            return truth.execute("SELECT count(*) FROM ledger WHERE status = 'started'").fetchone()[0]

    await all_written(running.data)
    with anyio.fail_after(10):
        while await anyio.to_thread.run_sync(open_calls):  # noqa: ASYNC110 - another process writes it
            await anyio.sleep(0.02)
