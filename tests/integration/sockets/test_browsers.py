"""A page in a browser with a short-lived secret: what it may do, as whom, from where, and how long."""

import json
import re
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest
from openai.types.realtime import ClientSecretCreateResponse
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from chatbackend.infra.web.client_secrets import FOR_BROWSERS
from tests.support import sdk
from tests.support.raw_socket import RawSocket
from tests.support.readme import run
from tests.support.requires import ROOT, require_program
from tests.support.server import Server, serving
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio
PATH = "/v1/realtime/client_secrets"
APP = "https://app.example.com"
FOREIGN = ["https://evil.example", "null", f"{APP}.evil.example", f"{APP}:8443", "http://app.example.com"]
WITHIN_S = 5.0
Body = dict[str, Any]
Headers = dict[str, str]
ANNA: Body = {"chatbackend": {"user": "anna"}}


@pytest.fixture(scope="module")
async def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "LLAMA31_ENDPOINT": upstream.url,
        "CHATBACKEND_ALLOWED_ORIGINS": APP,
        "CHATBACKEND_LOG_LEVEL": "debug",
        "CHATBACKEND_DRAIN_S": "0.1",
    }
    async with serving(tmp_path_factory.mktemp("browsers"), settings) as server:
        yield server


async def minted(server: Server, body: dict[str, Any] | None = None, *, key: str | None = None) -> str:
    """Return a new secret."""
    async with sdk.async_client(server, key) as client:
        return (await client.realtime.client_secrets.create(extra_body=body or {})).value


async def revoke(server: Server, account: str) -> None:
    """Revoke the one key of an account."""
    with closing(sqlite3.connect(f"file:{server.data}/truth.db?mode=ro", uri=True)) as truth:
        (key_id,) = truth.execute("SELECT id FROM api_keys WHERE account = ?", (account,)).fetchone()
    await anyio.to_thread.run_sync(server.run, "keys", "revoke", key_id)


@asynccontextmanager
async def page(
    server: Server, secret: str, *, origin: str = APP, query: str = "", offered: tuple[str, ...] = ("realtime",)
) -> AsyncGenerator[RawSocket, None]:
    """Open a socket as a page does: no header of its own, the secret among the subprotocols."""
    names = [Subprotocol(name) for name in (*offered, f"openai-insecure-api-key.{secret}")]
    url = f"{server.ws_url}/v1/responses{query}"
    async with connect(url, subprotocols=names, origin=Origin(origin), close_timeout=1) as connection:
        yield RawSocket(connection)


async def refusal(
    server: Server, secret: str, *, origin: str = APP, query: str = "", offered: tuple[str, ...] = ("realtime",)
) -> tuple[int, str]:
    """Return the status and code of a refused handshake, which repeats no secret."""
    with pytest.raises(InvalidStatus) as caught:
        async with page(server, secret, origin=origin, query=query, offered=offered):
            pass
    answer = caught.value.response
    assert secret not in f"{answer.headers}{answer.body!r}"
    return answer.status_code, json.loads(answer.body or b"")["error"]["code"]


@pytest.fixture
async def http(running: Server) -> AsyncGenerator[httpx2.AsyncClient, None]:
    async with httpx2.AsyncClient(base_url=running.url, timeout=30) as client:
        yield client


async def test_a_secret_is_made_as_the_sdks_ask_for_it(running: Server) -> None:
    async with sdk.async_client(running) as client:
        made = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60}, session={"type": "realtime"}
        )
    assert made.value.startswith("ek_")
    assert 55 <= made.expires_at - time.time() <= 60
    blocking = sdk.client(running)
    other = await anyio.to_thread.run_sync(blocking.realtime.client_secrets.create)
    assert isinstance(other, ClientSecretCreateResponse)
    assert other.value != made.value
    assert 590 <= other.expires_at - time.time() <= 600


async def test_a_page_asks_as_its_user_and_hears_realtime_alone(running: Server) -> None:
    secret = await minted(running, ANNA)
    async with page(running, secret) as socket:
        assert socket.connection.subprotocol == "realtime"
        await socket.create("llama31/scripted-n20")
        response_id = (await socket.through())[-1]["response"]["id"]
    async with sdk.async_client(running) as backend:
        anna = backend.with_options(default_headers={"chatbackend-user": "anna"})
        assert (await anna.responses.retrieve(response_id)).status == "completed"
        with pytest.raises(openai.NotFoundError):
            await backend.responses.retrieve(response_id)
    async with sdk.async_client(running, await minted(running, {"chatbackend": {"user": "bob"}})) as bob:
        with pytest.raises(openai.NotFoundError):
            await bob.responses.retrieve(response_id)


async def test_the_sdk_takes_a_secret_for_a_key(running: Server) -> None:
    secret = await minted(running, ANNA)
    async with sdk.async_client(running, secret) as client:
        answered = await sdk.ask(client, "ws", model="llama31/scripted-n20", input="say on")
        response_id = answered.response.id
        assert (await client.responses.retrieve(response_id)).status == "completed"
        replayed = [event async for event in await client.responses.retrieve(response_id, stream=True)]
        assert len(replayed) == len(answered.events)
    with sdk.client(running, secret) as blocking:
        assert (await anyio.to_thread.run_sync(blocking.responses.retrieve, response_id)).id == response_id


async def test_a_secret_opens_what_a_page_needs_and_nothing_else(running: Server, http: httpx2.AsyncClient) -> None:
    secret = {"authorization": f"Bearer {await minted(running, ANNA)}"}
    document = (await http.get("/openapi.json")).json()
    opened = set[tuple[str, str]]()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation.get("security") == []:
                continue
            found = await http.request(method.upper(), path.replace("{", "").replace("}", ""), headers=secret, json={})
            if found.status_code != 403:
                assert found.status_code in (200, 404) or "calls" in path, (method, path, found.text)
                opened.add((method.upper(), path))
            else:
                assert found.json()["error"]["type"] == "permission_error"
    assert opened == {route for route in FOR_BROWSERS if route[0] != "WEBSOCKET"}
    for path in ("/openai/v1/responses/resp_1", "/openai/responses/resp_1"):
        assert (await http.get(path, headers=secret)).status_code == 403


async def test_a_secret_makes_no_further_secret_and_names_no_other_user(
    running: Server, http: httpx2.AsyncClient
) -> None:
    secret = {"authorization": f"Bearer {await minted(running, ANNA)}"}
    assert (await http.post(PATH, headers=secret, json={})).status_code == 403
    other = {**secret, "chatbackend-user": "bob"}
    assert (await http.get("/v1/conversations", headers=other)).status_code == 403


async def test_a_secret_asks_for_its_models_only(running: Server) -> None:
    bound = {"chatbackend": {"user": "anna", "models": ["local"]}}
    async with page(running, await minted(running, bound)) as socket:
        await socket.create("llama31/scripted-n20")
        refused = await socket.event()
        assert (refused["status"], refused["error"]["code"]) == (403, "model_not_allowed")
        await socket.create("local")
        assert (await socket.through())[-1]["type"] == "response.completed"


REFUSED: list[tuple[Body, Headers, str | None]] = [
    ({"session": {"type": "transcription", "model": "m"}}, {}, "session.model"),
    ({"expires_after": {"anchor": "created_at", "seconds": 5}}, {}, "expires_after"),
    ({"chatbackend": {"user": "a b"}}, {}, "chatbackend.user"),
    (ANNA, {"chatbackend-user": "bob"}, "chatbackend.user"),
    ({}, {"idempotency-key": "k"}, None),
]


@pytest.mark.parametrize(("body", "headers", "param"), REFUSED)
async def test_what_a_secret_cannot_be_bound_to_is_refused(
    running: Server, body: Body, headers: Headers, param: str | None
) -> None:
    sent = {"authorization": f"Bearer {running.key}", **headers}
    async with httpx2.AsyncClient(base_url=running.url) as http:
        found = await http.post(PATH, json=body, headers=sent)
    assert (found.status_code, found.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"chatbackend": {"user": "anna"}}'])
async def test_a_backend_may_name_the_user_as_everywhere(
    running: Server, http: httpx2.AsyncClient, content: bytes
) -> None:
    sent = {"authorization": f"Bearer {running.key}", "chatbackend-user": "anna"}
    found = await http.post(PATH, content=content, headers=sent)
    assert (found.status_code, found.headers["cache-control"]) == (200, "no-store")
    assert found.json()["chatbackend"] == {"user": "anna", "models": None}


async def test_pages_of_foreign_origins_are_refused_with_a_good_secret(
    running: Server, http: httpx2.AsyncClient
) -> None:
    secret = await minted(running, ANNA)
    for origin in FOREIGN:
        assert await refusal(running, secret, origin=origin) == (403, "forbidden")
        headers = {"authorization": f"Bearer {secret}", "origin": origin}
        found = await http.get("/v1/conversations", headers=headers)
        assert "access-control-allow-origin" not in found.headers
    found = await http.get("/v1/conversations", headers={"authorization": f"Bearer {secret}", "origin": APP})
    assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, APP)


async def test_a_handshake_with_anything_but_a_good_secret_is_refused(running: Server) -> None:
    secret = await minted(running, ANNA)
    assert await refusal(running, secret[:-1]) == (401, "invalid_api_key")
    assert await refusal(running, running.key) == (401, "invalid_api_key")
    other = f"openai-insecure-api-key.{await minted(running)}"
    assert await refusal(running, secret, offered=("realtime", other)) == (401, "invalid_api_key")


async def test_a_secret_in_a_url_is_refused_and_nothing_is_logged_of_it(
    running: Server, http: httpx2.AsyncClient
) -> None:
    secret = await minted(running, ANNA)
    assert await refusal(running, secret, query=f"?api_key={secret}") == (400, "credential_in_url")
    found = await http.get("/v1/conversations", params={"access_token": secret})
    assert (found.status_code, found.json()["error"]["code"]) == (400, "credential_in_url")
    assert secret not in found.text
    async with page(running, secret) as socket:
        await socket.create("local")
        await socket.through()
    log = await anyio.to_thread.run_sync(running.log)
    assert "handshake refused" in log
    assert secret not in log
    with closing(sqlite3.connect(f"file:{running.data}/truth.db?mode=ro", uri=True)) as truth:
        assert secret not in "\n".join(truth.iterdump())


async def test_a_live_socket_ends_with_its_secret_or_the_key_behind_it(running: Server) -> None:
    key = await anyio.to_thread.run_sync(running.new_key, "maker")
    short = {"expires_after": {"anchor": "created_at", "seconds": 10}}
    ending, began = await minted(running, short), time.monotonic()
    lasting, other = await minted(running, key=key), await minted(running)
    async with page(running, ending) as first, page(running, lasting) as second, page(running, other) as third:
        await second.create("llama31/scripted-endless-d20")
        await second.event()
        await revoke(running, "maker")
        revoked = time.monotonic()
        assert await second.closed() == (4401, "the API key was revoked")
        assert time.monotonic() - revoked < WITHIN_S
        assert await first.closed() == (4401, "the client secret expired")
        assert 8 < time.monotonic() - began < 10 + WITHIN_S
        await third.create("local")
        assert (await third.through())[-1]["type"] == "response.completed"
    assert await refusal(running, ending) == (401, "client_secret_expired")
    assert await refusal(running, lasting) == (401, "invalid_api_key")


async def test_a_stream_ends_with_its_secret(running: Server, http: httpx2.AsyncClient) -> None:
    key = await anyio.to_thread.run_sync(running.new_key, "reader")
    secret = await minted(running, key=key)
    async with page(running, secret) as socket:
        await socket.create("llama31/scripted-endless-d20")
        response_id = (await socket.event())["response"]["id"]
        headers = {"authorization": f"Bearer {secret}"}
        async with http.stream("GET", f"/v1/responses/{response_id}?stream=true", headers=headers) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("event: ")
            await revoke(running, "reader")
            with anyio.fail_after(WITHIN_S + 5):
                assert "event: response.completed" not in [line async for line in lines]
    assert (await http.get(f"/v1/responses/{response_id}", headers=headers)).status_code == 401


EXAMPLE = re.compile(r"```(python|js)\n(.*?)```", re.DOTALL)


async def test_the_pages_example_works_as_it_stands(running: Server) -> None:
    node = require_program("node", "nodejs")
    text = (ROOT / "docs" / "browsers.md").read_text("utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
    parts = dict(EXAMPLE.findall(text))
    source = f"{parts['python']}\nprint(secret_for('anna'))"
    secret = (await anyio.to_thread.run_sync(lambda: run(source, OPENAI_API_KEY=running.key))).strip()
    script = f"{parts['js']}\nask('{secret}', 'Hello', text => console.log(text)).then(r => console.log(r.status))"
    command = [node, "--experimental-websocket", "--input-type=module", "--eval", script]
    done = await anyio.run_process(command)
    assert done.stdout.decode().splitlines()[-1] == "completed"
    assert len(done.stdout.splitlines()) > 1


async def test_a_secret_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as server:
        secret = await minted(server, ANNA)
        await anyio.to_thread.run_sync(server.kill)
        await anyio.to_thread.run_sync(server.start)
        async with page(server, secret, origin="http://localhost:3000") as socket:
            await socket.create("local")
            assert (await socket.through())[-1]["type"] == "response.completed"
