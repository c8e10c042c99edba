"""A route with deployments of several dialects: Claude gets what it understands, the others what they do."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from anthropic import AsyncAnthropic, BadRequestError
from anthropic.types import MessageParam, WebSearchTool20250305Param

from tests.support import claude_sdk
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

CONFIG = """
[routes.mixed]
targets = ["claude/scripted-n3"]
fallbacks = ["llama31/scripted-n3"]

[routes.failing]
targets = ["claude/scripted-status-500"]
fallbacks = ["llama31/scripted-n3"]

[routes.claudes]
targets = ["claude/scripted-status-502"]
fallbacks = ["claude/scripted-n3"]
"""
SAY_ON: list[MessageParam] = [{"role": "user", "content": "say on"}]
SEARCH: WebSearchTool20250305Param = {"type": "web_search_20250305", "name": "web_search"}


@pytest.fixture(scope="module")
async def routed(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    folder: Path = tmp_path_factory.mktemp("routed")
    (folder / "config.toml").write_text(CONFIG)
    settings = {
        "CLAUDE_ENDPOINT": upstream.url,
        "LLAMA31_ENDPOINT": upstream.url,
        "CHATBACKEND_CONFIG": str(folder / "config.toml"),
    }
    async with serving(folder, settings) as server:
        yield server


@pytest.fixture
async def claude(routed: Server) -> AsyncGenerator[AsyncAnthropic, None]:
    async with claude_sdk.async_client(routed) as client:
        yield client


async def test_claude_first_gets_its_own_tools_and_hints(claude: AsyncAnthropic, upstream: Upstream) -> None:
    number = len(upstream.calls)
    message = await claude.messages.create(
        model="mixed", max_tokens=50, messages=SAY_ON, tools=[SEARCH], extra_body={"top_k": 3}, service_tier="auto"
    )
    asked = (await upstream.call(number)).asked.body
    assert (asked["tools"], asked["top_k"], asked["service_tier"]) == ([SEARCH], 3, "auto")
    assert message.model == "claude/scripted-n3"


async def test_another_provider_takes_over_what_it_understands(claude: AsyncAnthropic, upstream: Upstream) -> None:
    raw = await claude.messages.with_raw_response.create(
        model="failing", max_tokens=50, messages=SAY_ON, service_tier="auto"
    )
    assert (await raw.parse()).model == raw.headers["x-chatbackend-deployment"] == "llama31/scripted-n3"
    assert raw.headers["x-chatbackend-attempts"] == "2"
    assert "service_tier" not in upstream.calls[-1].asked.body


@pytest.mark.parametrize("stream", [False, True])
async def test_claudes_stand_in_for_each_other_before_the_first_token(claude: AsyncAnthropic, stream: object) -> None:
    raw = await claude.messages.with_raw_response.create(
        model="claudes", max_tokens=50, messages=SAY_ON, extra_body={"stream": bool(stream)}
    )
    assert raw.headers["x-chatbackend-deployment"] == "claude/scripted-n3"
    assert raw.headers["x-chatbackend-attempts"] == "2"


async def test_what_nobody_left_understands_is_an_error(claude: AsyncAnthropic) -> None:
    with pytest.raises(BadRequestError):
        await claude.messages.create(
            model="llama31/scripted-n3", max_tokens=50, messages=SAY_ON, extra_body={"container": "c"}
        )
