"""The scripted upstream says what the official SDKs read, logs what it said, and runs in its own process."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.support.upstream import Upstream
from tests.support.upstream_script import Script, salts, script_of

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).with_name("upstream.py")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.mark.parametrize(
    ("model", "text", "script"),
    [
        ("scripted-n40-d5", "", Script("text", 40, 0.005)),
        ("openai/scripted-n2", "", Script("text", 2)),
        ("gpt-4o", "status-429 please", Script("status", at=429)),
        ("gpt-4o", "please do not echo", Script()),
        ("cut-at-7-n9", "", Script("cut-at", 9, at=7)),
        ("slow", "", Script("slow", delay_s=1.25)),
        ("claude-sonnet-4-5-20250929", "hello", Script()),
    ],
)
def test_a_name_is_a_script(model: str, text: str, script: Script) -> None:
    assert script_of(model, text) == script


async def test_the_official_sdks_read_its_streams(upstream: Upstream) -> None:
    asked: Any = [{"role": "user", "content": "hi"}]
    async with (
        AsyncOpenAI(base_url=f"{upstream.url}/v1", api_key="x") as openai,
        openai.chat.completions.stream(model="n3", messages=asked) as chat,
    ):
        completion = await chat.get_final_completion()
    async with (
        AsyncAnthropic(base_url=upstream.url, api_key="x") as anthropic,
        anthropic.messages.stream(model="reason-n3", max_tokens=9, messages=asked) as told,
    ):
        message = await told.get_final_message()
    first, second = (call.salt for call in upstream.calls)
    assert first != second
    assert completion.choices[0].message.content == f"{first}:0 {first}:1 {first}:2 "
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.usage.output_tokens == 3


async def test_passages_of_the_prompt_are_cited_by_their_marks(upstream: Upstream) -> None:
    prompt = "Write like 【2】. \n\n【1】 a.pdf, page 3\nRoses are red.\n\n【2】 b.txt\nViolets are blue."
    body = {"model": "cite", "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": "why"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.url}/v1/chat/completions", json=body) as told,
    ):
        text = (await told.json())["choices"][0]["message"]["content"]
    salt = upstream.calls[0].salt
    assert text == f'{salt} read "Roses are red."【1】. {salt} read "Violets are blue."【2】. '


async def test_in_its_own_process_it_logs_every_call_to_its_file(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), "--log", str(log), stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    body = {"model": "n5", "messages": [{"role": "user", "content": "a b"}]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/v1/chat/completions", json=body) as told:
            await told.read()
        async with session.get(f"{url}/_log") as shown:
            rows = [json.loads(line) for line in (await shown.text()).splitlines()]
    process.kill()
    await process.wait()
    assert [(row["outcome"], row["tokens"], row["usage"]) for row in rows] == [
        ("finished", 5, {"input_tokens": 2, "output_tokens": 5})
    ]
    assert [json.loads(line)["outcome"] for line in log.read_text("utf-8").splitlines()] == ["open", "finished"]
    assert json.loads(log.read_text("utf-8").splitlines()[-1]) == rows[0]


async def test_no_two_generations_have_one_salt() -> None:
    dealt = list(islice(salts(), 20_000))  # by chance alone a dozen would be there twice
    assert len(set(dealt)) == len(dealt)
