"""An Idempotency-Key on Chat Completions and Messages: one generation, and its very bytes for whoever asks again."""

import json
from itertools import count

import anyio
import httpx2
import pytest

from tests.integration.kept.conftest import CHAT, FAMILIES, MESSAGES, asked, calls_of, settled
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio

DIALECTS = pytest.mark.parametrize("path", [CHAT, MESSAGES])
STREAMED = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
_numbers = count()
LEFT_OUT = ("date", "x-request-id", "request-id", "idempotent-replayed", "transfer-encoding")


def fresh(script: str) -> str:
    """Return a model of its own, so that its calls can be told from those of others."""
    return f"{script}-of-{next(_numbers)}"


def shown(answer: httpx2.Response) -> tuple[int, dict[str, str], bytes]:
    """Return what must be the same: all but the marks of the one request."""
    kept = {name: value for name, value in answer.headers.items() if name not in LEFT_OUT}
    return answer.status_code, kept, answer.content


@DIALECTS
@STREAMED
@pytest.mark.parametrize("family", FAMILIES)
async def test_a_repeat_gets_the_same_bytes_and_nobody_is_asked_again(
    http: httpx2.AsyncClient, running: Server, upstream: Upstream, *, path: str, stream: bool, family: str
) -> None:
    name = fresh("sonar-n7" if family == "perplexity" else "scripted-n7")
    body, headers = asked(f"{family}/{name}", stream=stream), {"idempotency-key": f"same {path} {stream} {family}"}
    first = await http.post(path, json=body, headers=headers)
    again = await http.post(path, json=body, headers=headers)
    assert first.status_code == 200, first.text
    assert shown(first) == shown(again)
    assert [answer.headers.get("idempotent-replayed") for answer in (first, again)] == [None, "true"]
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    call = next(call for call in upstream.calls if call.asked.model == name)
    assert first.text.count(f"{call.salt}:") == 7
    assert calls_of(upstream, name) == 1
    [row] = await settled(running.data, f"{family}/{name}")
    assert (row["outcome"], row["estimated"]) == ("completed", 0 if call.usage else 1)


@DIALECTS
@STREAMED
async def test_two_at_once_are_one_generation(
    http: httpx2.AsyncClient, upstream: Upstream, *, path: str, stream: bool
) -> None:
    name = fresh("scripted-n20-d5")
    body, headers = asked(f"llama31/{name}", stream=stream), {"idempotency-key": name}
    found: list[httpx2.Response] = []

    async def ask() -> None:
        found.append(await http.post(path, json=body, headers=headers))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert [shown(answer) == shown(found[0]) for answer in found] == [True] * 5
    assert found[0].status_code == 200
    assert calls_of(upstream, name) == 1


@DIALECTS
@STREAMED
async def test_a_client_that_leaves_stops_nothing_and_finds_its_answer(
    http: httpx2.AsyncClient, running: Server, upstream: Upstream, *, path: str, stream: bool
) -> None:
    name = fresh("scripted-n40-d5")
    body, headers = asked(f"claude/{name}", stream=stream), {"idempotency-key": name}
    before = len(upstream.calls)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: http.post(path, json=body, headers=headers))
        await upstream.call(before)
        group.cancel_scope.cancel()
    call = upstream.calls[before]
    answer = await http.post(path, json=body, headers=headers)
    assert (answer.status_code, answer.text.count(f"{call.salt}:")) == (200, 40)
    assert (call.outcome, calls_of(upstream, name)) == ("finished", 1)
    [row] = await settled(running.data, f"claude/{name}")
    assert row["outcome"] == "completed"


@DIALECTS
async def test_a_stream_is_shown_as_it_comes(http: httpx2.AsyncClient, upstream: Upstream, path: str) -> None:
    name = fresh("scripted-stall-at-3")
    body = asked(f"llama31/{name}", stream=True)
    seen = ""
    async with http.stream("POST", path, json=body, headers={"idempotency-key": name}) as answer:
        async for text in answer.aiter_text():
            seen += text
            if seen.count(":2 ") == 1:
                break
    call = next(call for call in upstream.calls if call.asked.model == name)
    assert f"{call.salt}:2 " in seen


@DIALECTS
async def test_another_body_under_the_key_is_refused(http: httpx2.AsyncClient, path: str) -> None:
    body, headers = asked(f"llama31/{fresh('scripted-n2')}", stream=False), {"idempotency-key": f"other {path}"}
    assert (await http.post(path, json=body, headers=headers)).status_code == 200
    for change in ({"stream": True}, {"max_tokens": 999}, {"new": None}):
        refused = await http.post(path, json=body | change, headers=headers)
        assert refused.status_code == 422
        if path == CHAT:
            assert refused.json()["error"]["code"] == "idempotency_key_reused"
    spelled = json.dumps(dict(reversed(body.items())), indent=2)
    again = await http.post(path, content=spelled, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"  # the same body, spelled otherwise


async def test_a_key_is_one_of_its_user_and_path(http: httpx2.AsyncClient, upstream: Upstream) -> None:
    name = fresh("scripted-n2")
    body, headers = asked(f"llama31/{name}", stream=False), {"idempotency-key": "mine"}
    for path, user in ((CHAT, {}), (MESSAGES, {}), (CHAT, {"chatbackend-user": "eve"})):
        answer = await http.post(path, json=body, headers=headers | user)
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (200, None)
    assert calls_of(upstream, name) == 3


@DIALECTS
@STREAMED
@pytest.mark.parametrize(
    ("script", "status"), [("status-429", 429), ("status-500", 502), ("status-400", 400), ("fail-1-times-n4", 502)]
)
async def test_what_the_provider_refused_leaves_the_key_free(
    http: httpx2.AsyncClient, upstream: Upstream, *, path: str, stream: bool, script: str, status: int
) -> None:
    name = fresh(script)
    body, headers = asked(f"llama31/{name}", stream=stream, text=name), {"idempotency-key": name}
    refused = await http.post(path, json=body, headers=headers)
    assert (refused.status_code, refused.headers.get("x-should-retry")) == (status, None)
    assert "retry-after" in refused.headers or status != 429
    again = await http.post(path, json=body, headers=headers)
    assert again.status_code == (200 if script.startswith("fail-1") else status)
    assert "idempotent-replayed" not in again.headers
    assert calls_of(upstream, name) == 2


@DIALECTS
@pytest.mark.parametrize("script", ["cut-before-first", "cut-at-3"])
async def test_what_may_have_been_generated_is_kept_as_the_error_that_it_was(
    http: httpx2.AsyncClient, upstream: Upstream, *, path: str, script: str
) -> None:
    name = fresh(f"scripted-{script}")
    body, headers = asked(f"openai/{name}", stream=False), {"idempotency-key": name}
    first = await http.post(path, json=body, headers=headers)
    again = await http.post(path, json=body, headers=headers)
    assert (first.status_code, first.headers["x-should-retry"]) == (502, "false")
    assert shown(first) == shown(again)
    assert again.headers["idempotent-replayed"] == "true"
    assert calls_of(upstream, name) == 1


@DIALECTS
@pytest.mark.parametrize("family", ["llama31", "claude"])
async def test_a_stream_that_broke_is_kept_with_its_error(
    http: httpx2.AsyncClient, upstream: Upstream, *, path: str, family: str
) -> None:
    name = fresh("scripted-cut-at-5")
    body, headers = asked(f"{family}/{name}", stream=True), {"idempotency-key": name}
    first = await http.post(path, json=body, headers=headers)
    again = await http.post(path, json=body, headers=headers)
    assert '"error"' in first.text.rstrip().rpartition("\n")[2]
    assert shown(first) == shown(again)
    assert "[DONE]" not in first.text
    assert "message_stop" not in first.text
    assert calls_of(upstream, name) == 1


@DIALECTS
async def test_what_was_never_asked_leaves_the_key_free(http: httpx2.AsyncClient, path: str) -> None:
    headers = {"idempotency-key": f"never {path}"}
    wrong = await http.post(path, json=asked("nobody/knows", stream=True), headers=headers)
    assert wrong.status_code == 404
    right = await http.post(path, json=asked(f"llama31/{fresh('scripted-n2')}", stream=True), headers=headers)
    assert (right.status_code, right.headers.get("idempotent-replayed")) == (200, None)


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_has_a_length(http: httpx2.AsyncClient, key: str) -> None:
    refused = await http.post(CHAT, json=asked("local", stream=False), headers={"idempotency-key": key})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "idempotency_key")


async def test_what_is_no_json_is_refused_as_ever(http: httpx2.AsyncClient) -> None:
    refused = await http.post(CHAT, content=b"{", headers={"idempotency-key": "k"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_json")


async def test_embeddings_and_compacted_conversations_are_kept_too(
    http: httpx2.AsyncClient, upstream: Upstream
) -> None:
    for path, name, body in (
        ("/v1/embeddings", fresh("vectors"), {"input": "some words"}),
        ("/v1/responses/compact", fresh("scripted-n4"), {"input": "a long conversation"}),
        ("/openai/deployments/llama31/{}/embeddings", fresh("vectors"), {"input": "some words"}),
    ):
        asking = {"model": f"llama31/{name}", **body}
        first = await http.post(path.format(name), json=asking, headers={"idempotency-key": name})
        again = await http.post(path.format(name), json=asking, headers={"idempotency-key": name})
        assert first.status_code == 200, first.text
        assert shown(first) == shown(again)
        assert again.headers["idempotent-replayed"] == "true"
        assert calls_of(upstream, name) == 1
