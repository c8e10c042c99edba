"""A WebSocket to a provider against servers that say every byte: handshakes, fragments, strays, peers that are gone."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from chatbackend.domain.errors import (
    UpstreamCut,
    UpstreamError,
    UpstreamOverloaded,
    UpstreamTimeout,
)
from chatbackend.domain.events import TextDelta
from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.socket_pool import SocketPool
from tests.support.asking import HASTY, answer, answer_until_error, asking
from tests.support.flaky_proxy import FlakyProxy
from tests.support.socket_models import model, pooled
from tests.support.tls import certificate, server_tls
from tests.support.upstream import Upstream

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[LeanClient]:
    async with LeanClient() as client:
        yield client


@pytest.fixture
async def pool(client: LeanClient) -> AsyncIterator[SocketPool]:
    async with pooled(client) as pool:
        yield pool


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@asynccontextmanager
async def talking(
    *answers: Sequence[str | list[str]], tls: ssl.SSLContext | None = None, leaves: bool = False
) -> AsyncGenerator[tuple[str, list[str]]]:
    """Serve WebSockets: the n-th turn of each is answered with the n-th messages (a list: in so many fragments).

    After the last it waits, or `leaves`. Yields the address, and what every turn asked.
    """
    turns: list[str] = []

    async def talk(connection: ServerConnection) -> None:
        for messages in answers:
            turns.append(str(await connection.recv()))
            for message in messages:
                await connection.send(message)
        if not leaves:
            await connection.wait_closed()

    async with serve(talk, "127.0.0.1", 0, compression=None, ssl=tls) as server:
        yield f"http{'s' * bool(tls)}://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", turns


ENDED = '{"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}'
HELLO = '{"type": "response.output_text.delta", "delta": "hello"}'


async def test_a_message_in_fragments_is_one_event(client: LeanClient, pool: SocketPool) -> None:
    async with talking([[HELLO[:9], HELLO[9:30], HELLO[30:]], ENDED]) as (url, _):
        assert (await answer(model(client, pool, url), asking("m"))).text == "hello"


@pytest.mark.parametrize("trusted_s", [0, 60])
async def test_a_socket_that_says_more_than_it_was_asked_is_not_used_again(
    client: LeanClient, trusted_s: float
) -> None:
    stray = HELLO.replace("hello", "stray")
    async with (
        pooled(client, trusted_s=trusted_s) as pool,
        talking([HELLO, ENDED, stray, stray], [HELLO, ENDED]) as (url, turns),
    ):
        asked = model(client, pool, url)
        heard = [(await answer(asked, asking(str(number)))).text for number in range(6)]
    assert heard == ["hello"] * 6
    assert [json.loads(turn)["model"] for turn in turns] == [str(number) for number in range(6)]


async def test_a_socket_that_its_peer_has_left_is_not_used_again(client: LeanClient) -> None:
    async with pooled(client, trusted_s=0) as pool, talking([HELLO, ENDED], leaves=True) as (url, turns):
        asked = model(client, pool, url)
        for _ in range(3):
            assert (await answer(asked, asking("m"))).text == "hello"
    assert len(turns) == 3


async def test_a_server_is_checked_before_it_is_told_anything(
    client: LeanClient, pool: SocketPool, tmp_path: Path
) -> None:
    key, cert = certificate(tmp_path, "127.0.0.1")
    async with talking([HELLO, ENDED], tls=server_tls(key, cert)) as (url, turns):
        asked = model(client, pool, url)
        _, error = await answer_until_error(asked, asking("m"))
        assert (error.message, turns) == ("The provider cannot be reached.", [])
        client.tls.load_verify_locations(cert)
        assert (await answer(asked, asking("m"))).text == "hello"


async def test_the_peer_is_stopped_while_nobody_listens_and_that_is_no_silence(
    client: LeanClient, pool: SocketPool
) -> None:
    size, sent = 1 << 20, 0

    async def flood(connection: ServerConnection) -> None:
        nonlocal sent
        await connection.recv()
        for _ in range(64):
            await connection.send(HELLO.replace("hello", "x" * size))
            sent += size
        await connection.send(ENDED)
        await connection.wait_closed()

    async with serve(flood, "127.0.0.1", 0, compression=None) as server:
        url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        asked = model(client, pool, url)._replace(timeouts=HASTY)
        heard = 0
        async with aclosing(asked.stream(asking("m"))) as events:
            async for event in events:
                if not heard:
                    await asyncio.sleep(3 * HASTY.between_s)
                    assert sent < 32 * size
                heard += len(event.text) if isinstance(event, TextDelta) else 0
        assert heard == 64 * size


async def test_an_event_that_is_too_large_fails_the_answer(client: LeanClient, pool: SocketPool) -> None:
    async with talking([HELLO, HELLO.replace("hello", "x" * (5 << 20))]) as (url, _):
        text, error = await answer_until_error(model(client, pool, url), asking("m"))
    assert (text, type(error)) == ("hello", UpstreamError)


@pytest.mark.parametrize(
    "talk",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 " + b"x" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"x: y\r\n" * 1000,
    ],
)
async def test_what_is_no_handshake_fails_the_call(client: LeanClient, pool: SocketPool, talk: bytes) -> None:
    async with accepting(talk) as url:
        _, error = await answer_until_error(model(client, pool, url), asking("m"))
    assert type(error) is UpstreamError


async def test_a_server_that_hangs_up_on_a_handshake_has_cut_the_call(client: LeanClient, pool: SocketPool) -> None:
    async with accepting(b"HTTP/1.1 101 Swi") as url:
        _, error = await answer_until_error(model(client, pool, url), asking("m"))
    assert type(error) is UpstreamCut


async def test_a_handshake_that_nobody_answers_is_given_up_in_time(client: LeanClient, pool: SocketPool) -> None:
    async with accepting(b"", hold=True) as url:
        asked = model(client, pool, url)._replace(timeouts=Timeouts(connect_s=0.1))
        _, error = await answer_until_error(asked, asking("m"))
    assert type(error) is UpstreamTimeout


async def test_a_refusal_without_a_length_is_read_to_its_end(client: LeanClient, pool: SocketPool) -> None:
    async with accepting(b"HTTP/1.1 429 Slow\r\nretry-after: 7\r\n\r\n{}") as url:
        _, error = await answer_until_error(model(client, pool, url), asking("m"))
    assert isinstance(error, UpstreamOverloaded)
    assert error.retry_after_s == 7


@asynccontextmanager
async def accepting(talk: bytes, *, hold: bool = False) -> AsyncGenerator[str]:
    """Serve these raw bytes to every handshake, then close the connection or hold it open."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(talk)
        if hold:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def behind_a_proxy(upstream: Upstream) -> AsyncGenerator[tuple[FlakyProxy, str]]:
    proxy = FlakyProxy(upstream.url)
    async with proxy.running():
        yield proxy, proxy.url.replace("redis", "http").removesuffix("/0")


def is_ping(sent: bytes) -> bool:
    return sent.startswith(b"\x89")


async def test_a_socket_is_used_again_if_its_peer_still_answers(client: LeanClient, upstream: Upstream) -> None:
    async with behind_a_proxy(upstream) as (proxy, url), pooled(client, trusted_s=0) as pool:
        asked = model(client, pool, url)._replace(timeouts=Timeouts(connect_s=20))
        await answer(asked, asking("scripted-n3"))
        await answer(asked, asking("scripted-n3"))
        proxy.hold = is_ping
        await answer(asked._replace(timeouts=Timeouts(connect_s=0.5)), asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [1, 1, 2]


async def test_of_many_sockets_whose_peer_is_gone_one_is_waited_for(client: LeanClient, upstream: Upstream) -> None:
    async with behind_a_proxy(upstream) as (proxy, url), pooled(client, trusted_s=0) as pool:
        asked, held = model(client, pool, url), list[bytes]()
        await asyncio.gather(*(answer(asked, asking("scripted-n9-d5")) for _ in range(4)))

        def hold(sent: bytes) -> bool:
            held.extend([sent] * is_ping(sent))
            return is_ping(sent)

        proxy.hold = hold
        await answer(asked._replace(timeouts=Timeouts(connect_s=0.5)), asking("scripted-n3"))
    assert (len(held), upstream.calls[-1].connection) == (1, 5)


async def test_an_idle_socket_whose_peer_is_gone_is_given_up(client: LeanClient) -> None:
    given_up = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.splitlines() if line.lower().startswith("sec-websocket-key"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n")
        writer.write(f"sec-websocket-accept: {accept_key(key)}\r\n\r\n".encode())
        await reader.read(1)
        writer.write(Frame(Opcode.TEXT, ENDED.encode()).serialize(mask=False))
        with suppress(ConnectionResetError):
            while await reader.read(1 << 16):
                pass
        given_up.set()
        writer.close()

    async with pooled(client, ping_s=0.05) as pool, await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await answer(model(client, pool, url), asking("m"))
        await asyncio.wait_for(given_up.wait(), 20)


async def test_an_idle_socket_is_kept_alive_by_pings(client: LeanClient, upstream: Upstream) -> None:
    async with behind_a_proxy(upstream) as (proxy, url), pooled(client, ping_s=0.01) as pool:
        asked, pings = model(client, pool, url), asyncio.Semaphore(0)

        def counted(sent: bytes) -> bool:
            if is_ping(sent):
                pings.release()
            return False

        proxy.hold = counted
        await answer(asked, asking("scripted-n3"))
        for _ in range(5):
            await asyncio.wait_for(pings.acquire(), 20)
        await answer(asked, asking("scripted-n3"))
    assert [call.connection for call in upstream.calls] == [1, 1]
