"""Realtime at Azure without a key: a token of an identity endpoint on this machine goes into the handshake."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import serving

pytestmark = pytest.mark.anyio
SCOPE = "https://cognitiveservices.azure.com"
PATH = "/v1/realtime?model=azure/voice"


class Identity:
    """The endpoint that App Service offers: numbered tokens for whoever knows the secret of its header."""

    def __init__(self) -> None:
        self.port = 0
        self.given = 0
        self.life_s = 3600
        self.resources: list[str] = []
        self.refuses = False

    @property
    def token(self) -> str:
        return f"entra-token-{self.given}-of-the-test"

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Identity"]:
        async with serve(self._never, "127.0.0.1", 0, process_request=self._answer) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    async def _never(self, connection: ServerConnection) -> None:
        raise AssertionError(connection)

    def _answer(self, connection: ServerConnection, request: Request) -> Response:
        if request.headers.get("X-IDENTITY-HEADER") != "proof" or self.refuses:
            return connection.respond(HTTPStatus.FORBIDDEN, '{"error": "no words of it"}')
        self.given += 1
        self.resources += parse_qs(urlsplit(request.path).query)["resource"]
        ends = str(int(time.time()) + self.life_s)
        body = {"access_token": self.token, "expires_on": ends, "resource": SCOPE, "token_type": "Bearer"}
        response = connection.respond(HTTPStatus.OK, json.dumps(body))
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response


def settings(identity: Identity, provider: RealtimeUpstream) -> dict[str, str]:
    return {
        "AZURE_OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_DEPLOYMENTS": "voice=gpt-realtime",
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        "IDENTITY_ENDPOINT": f"http://127.0.0.1:{identity.port}/msi/token",
        "IDENTITY_HEADER": "proof",
        "CHATBACKEND_LOG_LEVEL": "debug",
    }


async def test_a_token_is_the_proof_is_shared_and_is_shown_to_nobody(tmp_path: Path) -> None:
    async with (
        RealtimeUpstream() as provider,
        Identity().running() as identity,
        serving(tmp_path, settings(identity, provider)) as server,
    ):
        assert identity.given == 0
        for _ in range(3):
            async with realtime(server, PATH) as client:
                assert (await client.ask())[-1]["response"]["status"] == "completed"
            headers = provider.sessions[-1].headers
            assert headers["authorization"] == f"Bearer {identity.token}"
            assert "api-key" not in headers
            assert server.key not in str(headers)
        assert identity.resources == [SCOPE]
        async with realtime(server, f"{PATH}", checked=False) as client:
            await client.recv()
            await provider.sessions[-1].say(
                json.dumps({"type": "error", "error": {"message": f"bad {identity.token}"}})
            )
            assert (await client.recv())["error"]["message"] == "bad [redacted]"
        assert "entra-token" not in server.log()


async def test_a_session_begins_with_a_token_that_is_good_then(tmp_path: Path) -> None:
    async with (
        RealtimeUpstream() as provider,
        Identity().running() as identity,
        serving(tmp_path, settings(identity, provider)) as server,
    ):
        identity.life_s = 1
        async with realtime(server, PATH) as first:
            await first.recv()
            old = identity.token
            await anyio.sleep(2.5)  # until the token has expired, and its library's look at it
            identity.life_s = 3600
            async with realtime(server, PATH) as second:
                await second.recv()
            assert identity.token != old
            assert provider.sessions[-1].headers["authorization"] == f"Bearer {identity.token}"
            assert (await first.ask())[-1]["response"]["status"] == "completed"  # a session keeps what it began with


async def test_where_no_token_can_be_had_the_session_says_so_and_the_next_one_may_begin(tmp_path: Path) -> None:
    async with (
        RealtimeUpstream() as provider,
        Identity().running() as identity,
        serving(tmp_path, settings(identity, provider)) as server,
    ):
        identity.refuses = True
        async with realtime(server, PATH) as client:
            assert (await client.recv())["error"]["code"] == "upstream_denied"
            assert (await client.closed())[0] == 1011
        assert provider.handshakes == []
        identity.refuses = False
        with anyio.fail_after(30):
            while True:
                async with realtime(server, PATH) as client:
                    if (await client.recv())["type"] == "session.created":
                        break
                await anyio.sleep(0.5)
