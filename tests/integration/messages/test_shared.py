"""What both APIs have: models, credentials and refusals, in the shape of the API that the caller speaks."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic, NotFoundError
from anthropic.types.shared import ErrorResponse

from tests.support import claude_sdk, sdk
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio

CONFIG = """
[aliases]
best = "claude/one"

[routes.any]
targets = ["llama31/org/two"]
"""
DEEP = b'{"model":"claude/one","x":' + b"[" * 900 + b"]" * 900 + b"}"
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture(scope="module")
async def named(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    """A server whose models have names; nobody answers there."""
    folder: Path = tmp_path_factory.mktemp("named")
    (folder / "config.toml").write_text(CONFIG)
    settings = {
        "CLAUDE_ENDPOINT": "http://127.0.0.1:9",
        "CLAUDE_MODELS": "one",
        "LLAMA31_ENDPOINT": "http://127.0.0.1:9",
        "LLAMA31_MODELS": "org/two",
        "CHATBACKEND_CONFIG": str(folder / "config.toml"),
    }
    async with serving(folder, settings) as server:
        yield server


async def test_models_are_listed_in_pages_for_anthropics_sdk(named: Server) -> None:
    async with claude_sdk.async_client(named) as client:
        names = [model.id async for model in client.models.list(limit=1)]
        one = await client.models.retrieve("claude/one")
        alias = await client.models.retrieve("best")
        with pytest.raises(NotFoundError) as unknown:
            await client.models.retrieve("claude/none")
    assert names == ["best", "any", "local", "claude/one", "llama31/org/two"]
    assert (one.id, one.type, alias.id) == ("claude/one", "model", "best")
    assert ErrorResponse.model_validate(unknown.value.body).error.type == "not_found_error"


async def test_models_keep_openais_shape_for_everybody_else(named: Server) -> None:
    async with sdk.async_client(named) as client:
        listed = [model.id async for model in client.models.list()]
        assert (await client.models.retrieve("claude/one")).owned_by == "claude"
    assert listed == ["best", "any", "local", "claude/one", "llama31/org/two"]


@pytest.mark.parametrize("path", ["llama31/org/two", "llama31%2Forg%2Ftwo", "llama31/org%2Ftwo"])
async def test_a_name_with_slashes_is_found_plain_and_encoded(named: Server, path: str) -> None:
    async with httpx2.AsyncClient(base_url=named.url, headers={"x-api-key": named.key}) as http:
        assert (await http.get(f"/v1/models/{path}")).json()["id"] == "llama31/org/two"


REFUSED: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/v1/messages", {"headers": {"x-api-key": "wrong"}}, 401, "authentication_error"),
    ("GET", "/v1/models", {"headers": VERSION | {"x-api-key": "wrong"}}, 401, "authentication_error"),
    ("GET", "/v1/messages", {}, 405, "invalid_request_error"),
    ("POST", "/v1/messages/batches", {}, 404, "not_found_error"),
    ("GET", "/v1/nowhere", {"headers": VERSION}, 404, "not_found_error"),
    ("POST", "/v1/messages", {"content": b"{"}, 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"content": b'{"model":"claude/one","x":"\xff"}'}, 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"content": DEEP}, 400, "invalid_request_error"),
    ("POST", "/v1/messages/count_tokens", {"content": DEEP}, 400, "invalid_request_error"),
    ("POST", "/v1/messages", {"content": b" " * 70_000_000}, 413, "request_too_large"),
    ("POST", "/v1/messages", {"json": {"model": "no", "messages": []}}, 404, "not_found_error"),
]


@pytest.mark.parametrize("case", REFUSED, ids=[f"{method} {path} {status}" for method, path, _, status, _ in REFUSED])
async def test_a_refusal_has_anthropics_envelope(
    named: Server, case: tuple[str, str, dict[str, Any], int, str]
) -> None:
    method, path, sent, status, kind = case
    headers = {"x-api-key": named.key, **sent.get("headers", {})}
    async with httpx2.AsyncClient(base_url=named.url, timeout=20) as http:
        answer = await http.request(method, path, headers=headers, content=sent.get("content"), json=sent.get("json"))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    body = answer.json()
    assert body["error"]["type"] == kind
    if kind != "request_too_large":  # the API's own name, which the SDK's types lack
        ErrorResponse.model_validate(body)
    assert set(body) == {"type", "error", "request_id"}
    assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_a_refusal_keeps_openais_envelope_for_everybody_else(named: Server) -> None:
    async with httpx2.AsyncClient(base_url=named.url) as http:
        answer = await http.get("/v1/models")
    assert set(answer.json()) == {"error"}
    assert "request-id" not in answer.headers


async def test_every_way_of_showing_the_key_is_taken_and_two_that_differ_are_not(named: Server) -> None:
    async with AsyncAnthropic(base_url=named.url, auth_token=named.key, api_key=None, max_retries=0) as bearer:
        assert (await bearer.models.retrieve("local")).id == "local"
    async with httpx2.AsyncClient(base_url=named.url, headers={"x-api-key": named.key}) as http:
        both, differing = {"authorization": f"Bearer {named.key}"}, {"authorization": "Bearer x"}
        assert (await http.get("/v1/models", headers=both)).status_code == 200
        assert (await http.get("/v1/models", headers=differing)).status_code == 401
