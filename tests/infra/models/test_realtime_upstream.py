"""Sessions dialled at a provider: over TLS, with fresh proof, nowhere else, and what its refusals mean."""

import ssl
import subprocess
from collections.abc import AsyncGenerator
from http import HTTPStatus
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from chatbackend.adapters.realtime.upstreams import RealtimeAddress
from chatbackend.domain.errors import ChatError, UpstreamDenied, UpstreamError, UpstreamLacks, UpstreamTimeout
from chatbackend.domain.realtime import Ended
from chatbackend.infra.models.credentials import Headers, fixed
from chatbackend.infra.models.realtime_upstream import UNSENT_BYTES, RealtimeUpstream
from tests.support.realtime_upstream import RealtimeUpstream as Provider

pytestmark = pytest.mark.anyio
KEY = "sk-vendor-0123456789abcdef"
KERNELS_BYTES = 16 << 20  # of what is sent, in the buffers of either end's kernel


@pytest.fixture
async def provider() -> AsyncGenerator[Provider]:
    async with Provider(key=KEY) as provider:
        yield provider


def no_tls() -> ssl.SSLContext:
    raise AssertionError


def at(provider: Provider, model: str = "realtime", *, key: str = KEY) -> RealtimeUpstream:
    url = f"ws{provider.url.removeprefix('http')}/v1/realtime?model={model}"
    return RealtimeUpstream(RealtimeAddress(url), fixed({"authorization": f"Bearer {key}"}), no_tls)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("realtime-status-404", UpstreamLacks),
        ("realtime-status-500", UpstreamError),
        ("realtime-status-302", UpstreamError),
        ("realtime-status-200", UpstreamError),
        ("realtime-late", UpstreamTimeout),
    ],
)
async def test_what_is_no_session_is_an_error(provider: Provider, model: str, kind: type[ChatError]) -> None:
    with pytest.raises(kind) as refused:
        await at(provider, model).connect(0.3)
    assert type(refused.value) is kind


async def test_a_credential_that_is_refused_is_the_operators_to_mend(provider: Provider) -> None:
    with pytest.raises(UpstreamDenied) as refused:
        await at(provider, key="sk-wrong").connect(5)
    assert KEY[:6] not in refused.value.message


async def test_nobody_at_an_address_is_an_error() -> None:
    nobody = RealtimeUpstream(RealtimeAddress("ws://127.0.0.1:1/v1/realtime?model=m"), fixed({}), no_tls)
    with pytest.raises(UpstreamError):
        await nobody.connect(5)


async def test_a_redirect_carries_the_key_nowhere(provider: Provider) -> None:
    def away(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.FOUND, "")
        response.headers["Location"] = f"{provider.url.replace('http', 'ws')}{request.path}"
        return response

    async def never(connection: ServerConnection) -> None:
        raise AssertionError(connection)

    async with serve(never, "127.0.0.1", 0, process_request=away) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        there = RealtimeUpstream(RealtimeAddress(f"ws://127.0.0.1:{port}/x?model=m"), fixed({"api-key": KEY}), no_tls)
        with pytest.raises(UpstreamError):
            await there.connect(5)
    assert provider.handshakes == []


async def test_each_session_proves_itself_anew(provider: Provider) -> None:
    tokens = iter(["first-token-of-entra", KEY])

    async def fresh() -> Headers:
        return {"authorization": f"Bearer {next(tokens)}"}

    url = f"ws{provider.url.removeprefix('http')}/v1/realtime?model=realtime"
    upstream = RealtimeUpstream(RealtimeAddress(url), fresh, no_tls)
    with pytest.raises(UpstreamDenied):
        await upstream.connect(5)
    link = await upstream.connect(5)
    assert link.secrets == [KEY]
    await link.close(Ended(1000))


async def test_a_session_over_tls_says_and_hears(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-keyout", str(key), "-out", str(cert), "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(cert, key)
    trusted = ssl.create_default_context(cafile=str(cert))
    async with Provider(tls=served) as provider:
        url = RealtimeAddress(f"wss://127.0.0.1:{provider.port}/v1/realtime?model=realtime")
        with pytest.raises(UpstreamError):
            await RealtimeUpstream(url, fixed({}), ssl.create_default_context).connect(5)
        link = await RealtimeUpstream(url, fixed({}), lambda: trusted).connect(5)
        await link.send(b"sound")
        await link.alive()
        assert await provider.sessions[-1].got(0) == b"sound"
        await provider.sessions[-1].close(4000, "bye")
        assert [frame async for frame in link.frames() if "session.created" not in str(frame)][1:] == []
        assert link.ended == Ended(4000, "bye")
        await link.send("late")
        await link.alive()
        await link.close(Ended(1000))


async def test_a_provider_that_takes_nothing_costs_its_bound_and_a_frame(provider: Provider) -> None:
    link = await at(provider).connect(5)
    session = await provider.session(0)
    session.fall_silent()
    frame, sent = '{"type":"input_audio_buffer.append","audio":"' + "A" * 2**16 + '"}', 0
    with anyio.move_on_after(1):
        while True:
            await link.send(frame)
            sent += len(frame)
    assert UNSENT_BYTES <= sent < UNSENT_BYTES + KERNELS_BYTES
    session.listen()
    end = '{"type":"input_audio_buffer.clear"}'
    await link.send(end)
    cut = sent // len(frame)  # the number of the frame in which the wait was cut
    assert await session.got(cut + 1) == end


async def test_what_waits_to_be_taken_is_dropped_when_the_provider_hangs_up(provider: Provider) -> None:
    link = await at(provider).connect(5)
    session = await provider.session(0)
    session.fall_silent()
    async with anyio.create_task_group() as group:
        for _ in range((UNSENT_BYTES + KERNELS_BYTES) >> 20):
            group.start_soon(link.send, "x" * 2**20)
        await anyio.sleep(0.2)
        session.hang_up()
        with anyio.fail_after(5):
            async for _ in link.frames():
                pass
    assert link.ended == Ended(1006)
