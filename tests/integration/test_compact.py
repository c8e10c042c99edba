"""`POST /v1/responses/compact` through the real server: a long conversation goes on from one item."""

from collections.abc import AsyncIterator
from pathlib import Path

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
    async with serving(tmp_path, {"LLAMA31_ENDPOINT": upstream.url}) as running:
        yield running


@pytest.fixture
async def sdk(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key=server.key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


async def test_a_conversation_goes_on_from_its_short_form(sdk: openai.AsyncOpenAI, upstream: Upstream) -> None:
    first = await sdk.responses.create(model="llama31/n2", input="My cat is called Tom.")
    short = await sdk.responses.compact(
        model="llama31/n4", previous_response_id=first.id, input="And my dog Rex.", instructions="Keep pets."
    )
    asked = upstream.calls[1].asked
    for kept in ("My cat is called Tom.", first.output_text.strip(), "And my dog Rex.", "Keep pets."):
        assert kept in asked.prompt
    assert (short.object, len(short.output), short.output[0].type) == ("response.compaction", 1, "compaction")
    assert short.usage.output_tokens == 4
    further = [item.model_dump(exclude_none=True) for item in short.output]
    last = await sdk.responses.create(
        model="llama31/n1",
        input=[*further, {"role": "user", "content": "What is my cat called?"}],  # pyright: ignore[reportArgumentType]  # dumped items
    )
    told = upstream.calls[2].asked.messages
    assert [message["role"] for message in told] == ["user", "user"]
    summary = "".join(f"{upstream.calls[1].salt}:{number} " for number in range(4)).strip()
    assert told[0]["content"].endswith(summary)
    kept_items = await sdk.responses.input_items.list(last.id)
    assert "compaction" in {item.type for item in kept_items.data}


async def test_what_cannot_be_made_short_is_refused(server: Server, upstream: Upstream) -> None:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {server.key}"}) as http:

        async def refusal(body: object) -> tuple[int, str | None, str | None]:
            answer = await http.post(f"{server.base_url}/responses/compact", json=body)
            error = answer.json()["error"]
            return answer.status_code, error["param"], error["code"]

        assert await refusal({"model": "llama31/n1"}) == (400, "input", None)
        assert await refusal({"input": "x"}) == (400, "model", "missing_required_parameter")
        assert await refusal({"model": "local", "input": "x"}) == (400, "model", "unsupported_by_model")
        assert await refusal({"model": "nobody", "input": "x"}) == (404, "model", "model_not_found")
        unknown = (400, "previous_response_id", "previous_response_not_found")
        assert await refusal({"model": "llama31/n1", "previous_response_id": "resp_0"}) == unknown
        foreign = [{"type": "compaction", "encrypted_content": "gAAAA"}]
        assert await refusal({"model": "llama31/n1", "input": foreign}) == (400, "input", None)
        assert upstream.calls == []
        for script in ("length-n2", "n0"):
            assert await refusal({"model": f"llama31/{script}", "input": "x"}) == (502, None, "compaction_incomplete")
