"""Requests of the Responses API over HTTP: who may, what is refused and how, what is done once."""

import json
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import httpx2
import openai
import pytest

from tests.integration.responses.conftest import MAX_BODY_BYTES, MODEL, SLOW, asked
from tests.support.server import Server
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_a_response_is_answered_kept_and_deleted(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(model=MODEL, input="hi", metadata={"a": "b"}, instructions="Be brief.")
    assert (made.status, made.metadata, made.instructions) == ("completed", {"a": "b"}, "Be brief.")
    assert await client.responses.retrieve(made.id) == made
    items = await client.responses.input_items.list(made.id)
    assert [item.model_dump()["content"][0]["text"] for item in items.data] == ["hi"]
    await client.responses.delete(made.id)
    for gone in (
        client.responses.retrieve(made.id),
        client.responses.delete(made.id),
        client.responses.cancel(made.id),
        client.responses.input_items.list(made.id),
    ):
        with pytest.raises(openai.NotFoundError) as missing:
            await gone
        assert missing.value.code == "response_not_found"


async def test_a_background_response_is_answered_at_once_and_ends_by_itself(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(model="llama31/scripted-n10-d10", input="hi", background=True)
    assert made.status in {"queued", "in_progress"}
    async with await client.responses.retrieve(made.id, stream=True) as stream:
        assert [event.type async for event in stream][-1] == "response.completed"
    assert (await client.responses.retrieve(made.id)).status == "completed"


async def test_branches_go_on_from_any_answer(client: openai.AsyncOpenAI, upstream: Upstream) -> None:
    root = await client.responses.create(model=MODEL, input="one")
    for text in ("left", "right"):
        number = len(upstream.calls)
        await client.responses.create(model=MODEL, input=text, previous_response_id=root.id)
        heard = [message["content"] for message in upstream.calls[number].asked.messages]
        assert heard == ["one", root.output_text, text]


async def test_what_has_ended_is_not_changed_by_a_cancel(client: openai.AsyncOpenAI) -> None:
    made = await client.responses.create(model=MODEL, input="hi")
    assert await client.responses.cancel(made.id) == made


async def test_the_same_key_gives_the_same_response_over_json_and_sse(
    http: httpx2.AsyncClient, bearer: dict[str, str], upstream: Upstream
) -> None:
    keyed = {**bearer, "idempotency-key": "once-1"}
    body: dict[str, Any] = {"model": MODEL, "input": "once"}
    calls = len(upstream.calls)
    first = (await http.post("/v1/responses", headers=keyed, json=body)).json()
    assert (await http.post("/v1/responses", headers=keyed, json=body)).json() == first
    events = await asked(http, keyed, {**body, "stream": True})
    assert json.loads(events[0].data)["sequence_number"] == 0
    assert json.loads(events[-1].data)["response"] == first
    assert len(upstream.calls) == calls + 1
    other = await http.post("/v1/responses", headers=keyed, json={**body, "input": "other"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_the_order_of_a_bodys_fields_is_of_no_account(http: httpx2.AsyncClient, bearer: dict[str, str]) -> None:
    keyed = {**bearer, "idempotency-key": "once-2", "content-type": "application/json"}
    one = await http.post("/v1/responses", headers=keyed, content=b'{"model": "local", "input": "x"}')
    two = await http.post("/v1/responses", headers=keyed, content=b'{"input":"x","model":"local"}')
    assert one.json()["id"] == two.json()["id"]


async def test_many_at_once_with_one_key_make_one_response(
    http: httpx2.AsyncClient, bearer: dict[str, str], upstream: Upstream
) -> None:
    calls, ids = len(upstream.calls), Counter[str]()
    keyed = {**bearer, "idempotency-key": "once-3"}

    async def create() -> None:
        found = await http.post("/v1/responses", headers=keyed, json={"model": MODEL, "input": "crowd"})
        ids[found.json()["id"]] += 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(create)
    assert list(ids.values()) == [20]
    assert len(upstream.calls) == calls + 1


@pytest.mark.parametrize("length", [0, 256])
async def test_a_key_of_no_or_too_much_length_is_refused(
    http: httpx2.AsyncClient, bearer: dict[str, str], length: int
) -> None:
    keyed = {**bearer, "idempotency-key": "k" * length}
    found = await http.post("/v1/responses", headers=keyed, json={"model": MODEL, "input": "x"})
    assert found.status_code == 400


async def test_an_sdk_that_tries_again_finds_what_it_had_made(
    http: httpx2.AsyncClient, bearer: dict[str, str], upstream: Upstream
) -> None:
    body = {"model": MODEL, "input": "retried"}
    calls = len(upstream.calls)
    first = (await http.post("/v1/responses", headers={**bearer, "x-stainless-retry-count": "0"}, json=body)).json()
    again = (await http.post("/v1/responses", headers={**bearer, "x-stainless-retry-count": "1"}, json=body)).json()
    assert again == first
    plain = (await http.post("/v1/responses", headers=bearer, json=body)).json()
    assert plain["id"] != first["id"]
    other = {**bearer, "x-stainless-retry-count": "1", "chatbackend-user": "anna"}
    assert (await http.post("/v1/responses", headers=other, json=body)).json()["id"] not in {first["id"], plain["id"]}
    assert len(upstream.calls) == calls + 3


async def test_an_sdk_that_lost_its_answer_attaches_to_the_running_response(
    http: httpx2.AsyncClient, bearer: dict[str, str], upstream: Upstream
) -> None:
    body = {"model": "llama31/scripted-n20-d20", "input": "lost", "stream": True}
    calls = len(upstream.calls)
    async with http.stream("POST", "/v1/responses", headers=bearer, json=body) as response:
        response_id = response.headers["x-chatbackend-response-id"]
    events = await asked(http, {**bearer, "x-stainless-retry-count": "1"}, body)
    assert json.loads(events[0].data)["response"]["id"] == response_id
    assert events[-1].event == "response.completed"
    assert len(upstream.calls) == calls + 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_json"),
        (b'{"model": "local", "input": "hi"', "invalid_json"),
        (b'{"model": "local" "input": 1}', "invalid_json"),
        (b"[1, 2]", "invalid_json"),
        (b"null", "invalid_json"),
        (b'{"model": "local", "input": "\xff"}', "invalid_json"),
        (b'{"model": "local", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "invalid_json"),
        (b'{"model": "local", "x": ' + b"[" * 972 + b"]" * 972 + b"}", "invalid_json"),
        (b'{"model": "local", "x": ' + b"[" * 300 + b"]" * 300 + b"}", "invalid_json"),
        (b'{"input": "hi"}', "missing_required_parameter"),
    ],
)
async def test_a_body_that_is_none_is_refused_with_its_place(
    http: httpx2.AsyncClient, bearer: dict[str, str], content: bytes, code: str
) -> None:
    found = await http.post("/v1/responses", headers=bearer, content=content)
    assert (found.status_code, found.json()["error"]["code"]) == (400, code)
    assert found.json()["error"]["type"] == "invalid_request_error"
    assert found.headers["x-request-id"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_the_limit_is_refused(
    http: httpx2.AsyncClient, bearer: dict[str, str], *, chunked: bool
) -> None:
    content = b'{"model": "local", "input": "' + b"x" * MAX_BODY_BYTES + b'"}'

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), 10_000):
            yield content[start : start + 10_000]

    found = await http.post("/v1/responses", headers=bearer, content=pieces() if chunked else content)
    assert (found.status_code, found.json()["error"]["code"]) == (413, "request_too_large")


async def test_an_unknown_model_is_refused_with_the_known_ones(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.responses.create(model="gpt-unknown", input="hi")
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert "local" in missing.value.message
    assert "llama31/" in missing.value.message


async def test_a_bad_field_is_named(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model=MODEL, input="hi", temperature=9)
    assert refused.value.param == "temperature"


async def test_generation_cannot_be_left_out_over_http(http: httpx2.AsyncClient, bearer: dict[str, str]) -> None:
    found = await http.post("/v1/responses", headers=bearer, json={"model": MODEL, "generate": False})
    assert (found.status_code, found.json()["error"]["param"]) == (400, "generate")


async def test_unknown_paths_and_methods_are_told_to_known_callers_only(
    http: httpx2.AsyncClient, bearer: dict[str, str]
) -> None:
    unknown = await http.get("/v1/nothing", headers=bearer)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")
    wrong = await http.put("/v1/responses", headers=bearer)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    for method, path in (("GET", "/v1/nothing"), ("PUT", "/v1/responses"), ("GET", "/v1/responses/resp_x")):
        found = await http.request(method, path)
        assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
async def test_the_state_of_the_server_needs_no_key(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.get(path)).json() == {"status": "ok"}


async def test_all_three_headers_carry_the_key(http: httpx2.AsyncClient, running: Server) -> None:
    carriers = [
        {"authorization": f"Bearer {running.key}"},
        {"authorization": f"bearer   {running.key}"},
        {"api-key": running.key},
        {"x-api-key": running.key},
        {"x-api-key": running.key, "api-key": running.key, "authorization": f"Bearer {running.key}"},
    ]
    for headers in carriers:
        assert (await http.get("/v1/models", headers=headers)).status_code == 200


async def test_a_credential_that_is_none_or_contradicts_itself_is_refused(
    http: httpx2.AsyncClient, running: Server
) -> None:
    wrong = [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {running.key}"},
        {"authorization": running.key},
        {"authorization": f"Bearer {running.key}x"},
        {"authorization": f"Bearer {running.key[:-1]}"},
        {"authorization": f"Bearer {running.key}", "api-key": "other"},
        {"x-api-key": running.key, "api-key": ""},
        {"api-key": "' OR 1=1 --"},
        {"authorization": "Bearer \u00e9"},
    ]
    for headers in wrong:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        found = await http.get("/v1/models", headers=raw)
        assert (found.status_code, found.json()["error"]["code"]) == (401, "invalid_api_key"), headers
        assert running.key not in found.text


async def test_users_of_one_key_do_not_meet(client: openai.AsyncOpenAI, running: Server) -> None:
    anna = client.with_options(default_headers={"chatbackend-user": "anna"})
    second = openai.AsyncOpenAI(base_url=running.base_url, api_key=running.new_key(), max_retries=0)
    foreign = openai.AsyncOpenAI(base_url=running.base_url, api_key=running.new_key("other"), max_retries=0)
    made = await anna.responses.create(model=MODEL, input="secret")
    running_id = (await anna.responses.create(model=SLOW, input="secret", background=True)).id
    for stranger in (client, client.with_options(default_headers={"chatbackend-user": "ben"}), second, foreign):
        for response_id in (made.id, running_id):
            for reach in (
                stranger.responses.retrieve(response_id),
                stranger.responses.retrieve(response_id, stream=True),
                stranger.responses.cancel(response_id),
                stranger.responses.delete(response_id),
                stranger.responses.input_items.list(response_id),
            ):
                with pytest.raises(openai.NotFoundError):
                    await reach
            with pytest.raises(openai.BadRequestError):
                await stranger.responses.create(model=MODEL, input="x", previous_response_id=response_id)
    same_account = second.with_options(default_headers={"chatbackend-user": "anna"})
    assert (await same_account.responses.retrieve(made.id)).id == made.id
    assert (await anna.responses.cancel(running_id)).status == "cancelled"
    await second.close()
    await foreign.close()


@pytest.mark.parametrize("user", ["", "a b", "x" * 129, "anna/../x", "é"])
async def test_a_users_name_has_its_letters(http: httpx2.AsyncClient, bearer: dict[str, str], user: str) -> None:
    headers = [(b"chatbackend-user", user.encode("latin-1")), (b"authorization", bearer["authorization"].encode())]
    found = await http.get("/v1/models", headers=headers)
    assert (found.status_code, found.json()["error"]["param"]) == (400, "chatbackend-user")


async def test_pages_of_allowed_origins_may_read_and_no_others(
    http: httpx2.AsyncClient, running: Server, bearer: dict[str, str]
) -> None:
    allowed = ["https://app.example.com", running.url]
    foreign = ["https://evil.example.com", "https://app.example.com.evil.com", "null", "http://app.example.com"]
    foreign += ["http://localhost:3000", "https://app.example.com:8443"]
    for origin in [*allowed, *foreign]:
        headers = {**bearer, "origin": origin}
        preflight = {"origin": origin, "access-control-request-method": "POST"}
        preflight["access-control-request-headers"] = "authorization,x-stainless-lang"
        found = await http.get("/v1/models", headers=headers)
        allowance = await http.request("OPTIONS", "/v1/responses", headers=preflight)
        if origin in allowed:
            assert found.headers["access-control-allow-origin"] == origin
            assert found.headers["vary"] == "origin"
            assert (allowance.status_code, allowance.headers["access-control-allow-origin"]) == (204, origin)
            assert "POST" in allowance.headers["access-control-allow-methods"]
            assert allowance.headers["access-control-allow-headers"] == "authorization,x-stainless-lang"
        else:
            assert "access-control-allow-origin" not in found.headers
            assert allowance.status_code == 401


async def test_input_items_are_listed_in_pages(client: openai.AsyncOpenAI) -> None:
    given: Any = [{"role": "user", "content": str(number)} for number in range(7)]
    made = await client.responses.create(model=MODEL, input=given)
    newest = [
        item.model_dump()["content"][0]["text"] async for item in client.responses.input_items.list(made.id, limit=2)
    ]
    assert newest == [str(number) for number in reversed(range(7))]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.input_items.list(made.id, after="nobody")
    assert refused.value.param == "after"
