"""A handshake that nobody has answered when the server goes is refused as all new work is, not as our failure."""

import json
import socket
from contextlib import closing

import anyio
import pytest
import uvicorn

from chatbackend.infra.web.http import Receive, Scope, Send
from chatbackend.infra.web.lingering import LingeringWebSocket

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def test_a_handshake_that_waits_when_the_server_goes_is_told_to_come_back() -> None:
    asked, answer = anyio.Event(), b""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        asked.set()
        await anyio.sleep_forever()

    config = uvicorn.Config(app, ws=LingeringWebSocket, lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            async with await anyio.connect_tcp(*listener.getsockname()[:2]) as client:
                await client.send(UPGRADE)
                await asked.wait()
                server.should_exit = True
                answer = b"".join([part async for part in client])
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: " in head.lower()
    assert json.loads(body)["error"]["code"] == "stopping"
