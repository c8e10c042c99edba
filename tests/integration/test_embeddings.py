"""`POST /v1/embeddings`: the built-in embedder, and providers that make embeddings."""

import math
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import httpx2
import openai
import pytest

from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path, upstream: Upstream) -> AsyncIterator[Server]:
    async with serving(tmp_path, {"OPENAI_ENDPOINT": upstream.url, "CLAUDE_ENDPOINT": upstream.url}) as running:
        yield running


@pytest.fixture
async def sdk(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.key, max_retries=0) as client:
        yield client


def likeness(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


async def test_the_built_in_embedder_puts_like_by_like(sdk: openai.AsyncOpenAI) -> None:
    texts = ["The cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose again."]
    made = await sdk.embeddings.create(model="local", input=texts)
    cat, kitten, rates = (each.embedding for each in made.data)
    assert len(cat) == 384
    assert likeness(cat, cat) == pytest.approx(1, abs=1e-3)
    assert likeness(cat, kitten) > likeness(cat, rates) + 0.3
    assert made.usage.prompt_tokens > 10
    plain = await sdk.embeddings.create(model="local", input=texts[0], encoding_format="float")
    assert likeness(plain.data[0].embedding, cat) == pytest.approx(1, abs=1e-3)


async def test_a_providers_embeddings_come_as_they_are_and_are_billed(
    sdk: openai.AsyncOpenAI, server: Server, upstream: Upstream
) -> None:
    made = await sdk.embeddings.with_raw_response.create(model="openai/embedder", input="one two three")
    assert made.headers["x-chatbackend-deployment"] == "openai/embedder"
    assert upstream.calls[0].asked.model == "embedder"
    told = made.parse()
    wanted = "SELECT model, input_tokens, output_tokens, estimated FROM ledger WHERE status = 'settled'"
    with closing(sqlite3.connect(server.data / "truth.db")) as db, anyio.fail_after(5):
        while True:
            rows = db.execute(wanted).fetchall()
            if rows:
                break
            await anyio.sleep(0.01)
    assert rows == [("openai/embedder", told.usage.prompt_tokens, 0, 0)]


async def test_a_model_without_embeddings_is_refused(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        await sdk.embeddings.create(model="claude/x", input="one")
    with pytest.raises(openai.NotFoundError):
        await sdk.embeddings.create(model="nobody", input="one")
    with pytest.raises(openai.RateLimitError):
        await sdk.embeddings.create(model="openai/status-429", input="one")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "local"}, "input"),
        ({"model": "local", "input": ""}, "input"),
        ({"model": "local", "input": []}, "input"),
        ({"model": "local", "input": [1, 2]}, "input"),
        ({"model": "local", "input": "x", "dimensions": 12}, "dimensions"),
        ({"model": "local", "input": "x", "encoding_format": "int8"}, "encoding_format"),
        ([], None),
    ],
)
async def test_a_bad_request_names_its_field(server: Server, body: object, param: str | None) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {server.key}"}) as http:
        answer = await http.post(f"{server.base_url}/embeddings", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        broken = await http.post(f"{server.base_url}/embeddings", content=b"{")
        assert broken.json()["error"]["code"] == "invalid_json"
