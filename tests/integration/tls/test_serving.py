"""A server with a certificate: what it does without one it does by https: and wss:, too."""

import contextlib
import socket
import ssl
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from websockets.asyncio.client import connect

from tests.support import sdk
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.sdk import TRANSPORTS, Transport
from tests.support.server import Server, serving
from tests.support.tls import certificate

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("trusted")]
TAKEN_UP_S = 15.0
GONE_S = 20.0


def trusting(server: Server) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.certificate)


@contextmanager
def connected(server: Server) -> Generator[ssl.SSLSocket]:
    plain = socket.create_connection(("127.0.0.1", server.port), 10)
    with trusting(server).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        yield connection


def serial(server: Server) -> object:
    with connected(server) as connection:
        return (connection.getpeercert() or {})["serialNumber"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_transport_answers(running: Server, transport: Transport) -> None:
    async with sdk.async_client(running) as client:
        answered = await sdk.ask(client, transport, model="llama31/scripted-n5", input="x")
    assert len(answered.response.output_text.split()) == 5


def test_what_is_no_tls_is_not_answered_and_hurts_nobody(running: Server) -> None:
    with closing(socket.create_connection(("127.0.0.1", running.port), 10)) as plain:
        plain.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in plain.recv(4096)
    assert serial(running)


def test_nothing_older_than_tls_1_2_is_spoken(running: Server) -> None:
    old = trusting(running)
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with closing(socket.create_connection(("127.0.0.1", running.port), 10)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_one_connection_too_many_is_told_so(running: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(connected(running)).sendall(b"GET /")
        told = stack.enter_context(connected(running)).recv(4096)
    assert told.startswith(b"HTTP/1.1 503 ")
    assert b"too_many_connections" in told


async def test_a_client_that_takes_nothing_is_cut_off(running: Server, provider: RealtimeUpstream) -> None:
    async with realtime(running, "/v1/realtime?model=openai/realtime") as client:
        await client.recv()
        client.connection.transport.pause_reading()
        session, sound = provider.sessions[-1], '{"type":"x","y":"' + "A" * 2**20 + '"}'
        with anyio.fail_after(GONE_S), contextlib.suppress(Exception):
            while True:
                await session.say(sound)
        assert session.code == 1001


async def test_the_end_of_the_server_is_told_and_is_no_later(tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "127.0.0.1")
    settings = {"CHATBACKEND_TLS_CERT": str(cert), "CHATBACKEND_TLS_KEY": str(key), "CHATBACKEND_DRAIN_S": "0.1"}
    async with serving(tmp_path, settings) as server:
        context = trusting(server)
        async with connect(
            f"{server.ws_url}/v1/responses", ssl=context, additional_headers={"authorization": f"Bearer {server.key}"}
        ) as idle:
            began = time.monotonic()
            code = await anyio.to_thread.run_sync(server.stop)
            await idle.wait_closed()
    assert (code, idle.close_code) == (0, 1012)
    assert time.monotonic() - began < GONE_S


async def test_a_renewed_certificate_is_taken_up_and_connections_stay(tmp_path: Path) -> None:
    """The file may hold the key, too."""
    (tmp_path / "server").mkdir()
    own = tmp_path / "own.pem"

    def renew(name: str) -> object:
        key, cert = certificate(tmp_path / name, "127.0.0.1")
        own.write_bytes(key.read_bytes() + cert.read_bytes())

    renew("first")
    async with serving(tmp_path / "server", {"CHATBACKEND_TLS_CERT": str(own)}) as server:
        first = await anyio.to_thread.run_sync(serial, server)
        with connected(server) as kept:
            own.write_text("half of a")
            with anyio.fail_after(TAKEN_UP_S):
                while "cannot be used" not in server.log():  # noqa: ASYNC110 - the server is another process
                    await anyio.sleep(0.1)
            renew("second")
            with anyio.fail_after(TAKEN_UP_S):
                while "was renewed" not in server.log():  # noqa: ASYNC110 - the server is another process
                    await anyio.sleep(0.1)
            assert await anyio.to_thread.run_sync(serial, server) != first
            kept.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert kept.recv(4096).startswith(b"HTTP/1.1 200 ")
