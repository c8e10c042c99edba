"""Recorded answers of real providers, given again by a local server, say the same through ours in every dialect."""

import asyncio
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.e2e.recorded.reading import Reading, read
from tests.e2e.recorded.replay import TORN, Recorded, recordings, replaying
from tests.support.requires import require_shared_data
from tests.support.server import serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

PATHS = {"responses": "/v1/responses", "chat": "/v1/chat/completions", "messages": "/v1/messages"}
AT_ONCE = 16
ALL = recordings(require_shared_data("provider_streams"))

# Whose address a recording is given at, by its API; Perplexity's and Azure's chats have families of their own.
FAMILY = {"chat": "openai", "responses": "openai", "messages": "claude"}
OWN_FAMILY = {"perplexity": "perplexity", "azure": "azure"}
# Chats are relayed to the chat API of whoever speaks the Responses API.
COMBINATIONS = [(api, dialect) for api in FAMILY for dialect in PATHS if (api, dialect) != ("responses", "chat")]


@dataclass(frozen=True, slots=True)
class Asked:
    """A recording asked for in one dialect, and what was heard: a status and a reading."""

    recorded: Recorded
    dialect: str
    torn: bool
    status: int
    heard: Reading | Exception


@pytest.fixture(scope="module")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> list[Asked]:
    folder = tmp_path_factory.mktemp("recorded")
    found: list[Asked] = []
    async with replaying(ALL) as url:
        keys = {f"{name}_API_KEY": "sk-upstream" for name in ("OPENAI", "AZURE_OPENAI", "CLAUDE", "PERPLEXITY")}
        places = {"OPENAI_ENDPOINT": f"{url}/v1", "AZURE_OPENAI_ENDPOINT": url, "CLAUDE_ENDPOINT": url}
        chats = keys | places | {"PERPLEXITY_ENDPOINT": url}
        responses = chats | {"OPENAI_API": "responses", "AZURE_OPENAI_API": "responses"}
        for name, environment, apis in (
            ("chats", chats, {"chat", "messages"}),
            ("responses", responses, {"responses"}),
        ):
            (folder / name).mkdir()
            async with serving(folder / name, environment) as server:
                headers = {"authorization": f"Bearer {server.key}"}
                async with httpx2.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
                    found += await _ask_all(client, [each for each in ALL if each.api in apis])
    return found


@pytest.mark.parametrize("torn", [False, True], ids=["at once", "torn"])
@pytest.mark.parametrize(("api", "dialect"), COMBINATIONS)
async def test_an_answer_says_the_same_in_every_dialect(
    asked: list[Asked], *, api: str, dialect: str, torn: bool
) -> None:
    of = [each for each in asked if (each.recorded.api, each.dialect, each.torn) == (api, dialect, torn)]
    heard = {each.recorded.name: (each.status, each.heard) for each in of}
    assert len(heard) > 50
    right = {each.recorded.name: _right(each) for each in of}
    assert [(name, heard[name], right[name]) for name in heard if heard[name] != right[name]] == []


def _right(asked: Asked) -> tuple[int, Reading]:
    """Return the status and the reading that a recording must give."""
    recorded = asked.recorded
    reading = read(recorded.api, recorded.body, streamed=recorded.streamed)
    if reading.finish == "never":  # it runs on in the background, which is no answer to a caller who waits
        return 502, Reading(error="The provider's answer ended before its end.")
    return recorded.status, reading


async def _ask_all(client: httpx2.AsyncClient, answers: list[Recorded]) -> list[Asked]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(recorded: Recorded, dialect: str, *, torn: bool) -> Asked:
        async with room:
            answer = await client.post(PATHS[dialect], json=_request(recorded, dialect, torn=torn))
        try:
            streamed = answer.headers["content-type"].startswith("text/event-stream")
            heard = read(dialect, answer.text, streamed=streamed)
        except Exception as error:  # a finding of its own, shown beside the others
            heard = error
        return Asked(recorded, dialect, torn, answer.status_code, heard)

    kinds = [
        (each, dialect, torn)
        for each in answers
        for dialect in PATHS
        for torn in (False, True)
        if (each.api, dialect) in COMBINATIONS
    ]
    return await asyncio.gather(*(one(each, dialect, torn=torn) for each, dialect, torn in kinds))


def _request(recorded: Recorded, dialect: str, *, torn: bool) -> dict[str, Any]:
    """Return the request, in a stream where the recording is one, with the tools that its answer calls."""
    family = OWN_FAMILY.get(recorded.provider, FAMILY[recorded.api])
    names = sorted({name for name, _ in read(recorded.api, recorded.body, streamed=recorded.streamed).calls})
    tools: list[dict[str, Any]] = []
    body: dict[str, Any] = {"model": f"{family}/{recorded.name}{TORN if torn else ''}", "stream": recorded.streamed}
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    match dialect:
        case "responses":
            tools = [{"type": "function", "name": name, "parameters": schema, "strict": False} for name in names]
            body["input"] = "x"
        case "chat":
            tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in names]
            body["messages"] = [{"role": "user", "content": "x"}]
            body |= {"stream_options": {"include_usage": True}} if recorded.streamed else {}
        case _:
            tools = [{"name": name, "input_schema": schema} for name in names]
            body |= {"messages": [{"role": "user", "content": "x"}], "max_tokens": 64}
    return body | ({"tools": tools} if tools else {})
