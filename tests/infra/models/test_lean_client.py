"""The lean client against raw servers on loopback: every way an answer can be framed, torn, cut and refused."""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chatbackend.domain.routing import Timeouts
from chatbackend.infra.models.lean_client import LeanClient, Target, Unreachable, target
from chatbackend.infra.models.lean_connection import MAX_HEAD_BYTES, MAX_UNREAD_BYTES, CutOff, Garbled, LeanConnection
from tests.support.tls import certificate, server_tls

pytestmark = pytest.mark.anyio

PATIENT = Timeouts(connect_s=10, first_byte_s=20, between_s=20)
HASTY = Timeouts(connect_s=1, first_byte_s=0.3, between_s=0.3)
OK = b"HTTP/1.1 200 OK\r\n"
SHORT = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A raw server: `talk` answers each request of each connection; what came is kept."""

    def __init__(self, talk: Talk) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.gone = asyncio.Event()
        self._talk = talk
        self.port = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                self.requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
                await self._talk(reader, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.gone.set()
        finally:
            writer.close()

    def target(self, scheme: str = "http", host: str = "127.0.0.1") -> Target:
        return target(f"{scheme}://{host}:{self.port}/v1/chat", {"authorization": "Bearer sk-1"})


@asynccontextmanager
async def peer(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Peer]:
    running = Peer(talk)
    server = await asyncio.start_server(running.accept, "127.0.0.1", 0, ssl=tls)
    async with server:
        running.port = server.sockets[0].getsockname()[1]
        yield running


def says(*pieces: bytes, close: bool = False, hold: bool = False) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hold:
            await reader.read()
        if close:
            writer.close()
            raise ConnectionError

    return talk


@pytest.fixture
async def client() -> AsyncIterator[LeanClient]:
    async with LeanClient() as client:
        yield client


async def rest(http: LeanConnection) -> bytes:
    pieces: list[bytes] = []
    while piece := await http.read():
        pieces.append(piece)
    return b"".join(pieces)


async def ask(
    client: LeanClient, to: Target, *, whole: bool = False, timeouts: Timeouts = PATIENT, body: bytes = b"{}"
) -> bytes:
    http = await client.post(to, body, timeouts, whole=whole)
    try:
        return await rest(http)
    finally:
        client.release(to, http)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("answer", [SHORT, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + SHORT])
async def test_an_answer_is_the_same_however_its_bytes_are_torn(
    client: LeanClient,
    answer: bytes,
    whole: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    cuts = iter(range(1, len(answer)))

    async def torn(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = next(cuts)
        writer.write(answer[:cut])
        await writer.drain()
        await asyncio.sleep(0.002)
        writer.write(answer[cut:])

    async with peer(torn) as server:
        for _ in range(1, len(answer)):
            assert await ask(client, server.target(), whole=whole) == b"hello"
        assert server.connections == 1


async def test_an_answer_in_single_bytes_is_whole(client: LeanClient) -> None:
    async with peer(says(*(CHUNKED[at : at + 1] for at in range(len(CHUNKED))))) as server:
        assert await ask(client, server.target()) == b"hello"


async def test_what_is_sent_is_the_request_that_was_meant(client: LeanClient) -> None:
    async with peer(says(SHORT)) as server:
        await ask(client, server.target(), body=b'{"a":1}')
        lines = server.requests[0].split(b"\r\n")
    assert lines == [
        b"POST /v1/chat HTTP/1.1",
        b"host: 127.0.0.1:%d" % server.port,
        b"accept-encoding: identity",
        b"authorization: Bearer sk-1",
        b"content-length: 7",
        b"",
        b'{"a":1}',
    ]


async def test_status_and_headers_are_told_and_a_trailer_is_none_of_them(client: LeanClient) -> None:
    answer = CHUNKED.replace(OK, b"HTTP/1.1 429 Slow down\r\nRetry-After: 2\r\n")
    async with peer(says(answer)) as server:
        to = server.target()
        for _ in range(2):
            http = await client.post(to, b"", PATIENT, whole=False)
            assert (http.status, http.headers) == (429, {b"retry-after": b"2", b"transfer-encoding": b"chunked"})
            await rest(http)
            client.release(to, http)
        assert server.connections == 1


async def test_a_body_that_ends_with_the_connection_is_whole_and_its_connection_is_over(client: LeanClient) -> None:
    async with peer(says(OK + b"\r\nhello", close=True)) as server:
        assert await ask(client, server.target()) == b"hello"
        assert await ask(client, server.target(), whole=True) == b"hello"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", ConnectionResetError),
        (OK + b"content-ty", ConnectionResetError),
        (SHORT[:-1], CutOff),
        (CHUNKED[:-9], CutOff),
        (OK + b"transfer-encoding: gzip\r\n\r\nhello", CutOff),
        (b"no HTTP at all\r\n\r\n", Garbled),
        (OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n", Garbled),
        (OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Garbled),
        (OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello", Garbled),
        (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", Garbled),
        (OK + b"x: " + b"x" * 100_000 + b"\r\ncontent-length: 5\r\n\r\nhello", Garbled),
        (OK + b"x: y\r\n" * 20_000 + b"content-length: 5\r\n\r\nhello", Garbled),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000, Garbled),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"x" * (MAX_HEAD_BYTES + 9), Garbled),
    ],
)
async def test_a_broken_answer_is_told_by_how_it_broke(
    client: LeanClient, answer: bytes, kind: type[Exception]
) -> None:
    async with peer(says(answer, close=True)) as server:
        for whole in (True, False):
            with pytest.raises(kind) as caught:
                await ask(client, server.target(), whole=whole)
            assert type(caught.value) is kind
        assert len(server.requests) == 2  # nothing was sent twice


async def test_what_came_before_a_cut_is_read_before_the_cut_is_told(client: LeanClient) -> None:
    async with peer(says(SHORT[:-1], close=True)) as server:
        http = await client.post(server.target(), b"", PATIENT, whole=False)
        assert await http.read() == b"hell"
        with pytest.raises(CutOff):
            await http.read()


async def test_connections_are_used_again_one_call_at_a_time(client: LeanClient) -> None:
    async with peer(says(SHORT)) as server:
        for _ in range(3):
            await ask(client, server.target())
        assert server.connections == 1
        await asyncio.gather(*(ask(client, server.target()) for _ in range(5)))
        assert server.connections == 5


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        SHORT + b"more",
        SHORT + SHORT,
    ],
)
async def test_a_connection_is_not_used_again_when_it_should_not_be(client: LeanClient, answer: bytes) -> None:
    async with peer(says(answer)) as server:
        for _ in range(2):
            assert await ask(client, server.target()) == b"hello"
        assert server.connections == 2


async def test_a_connection_that_the_peer_closed_or_spoke_on_unasked_is_not_used() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def keep(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(SHORT)

    async with LeanClient(trusted_s=0) as client, peer(keep) as server:
        await ask(client, server.target())
        writers[0].close()
        await writers[0].wait_closed()
        await ask(client, server.target())
        writers[1].write(b"HTTP/1.1 408 Timeout\r\n\r\n")
        await server.gone.wait()
        await ask(client, server.target())
        assert server.connections == 3


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with LeanClient(idle_s=0.05) as client, peer(says(SHORT)) as server:
        await ask(client, server.target())
        await asyncio.wait_for(server.gone.wait(), 10)
        await ask(client, server.target())
        assert server.connections == 2


async def test_leaving_the_client_hangs_up_on_everything() -> None:
    async with peer(says(OK + b"\r\nhello", hold=True)) as server, LeanClient() as client:
        http = await client.post(server.target(), b"", PATIENT, whole=False)
        await client.__aexit__()
        with pytest.raises(CutOff):
            while await http.read():
                pass


@pytest.mark.parametrize("talk", [b"", OK, OK + b"content-length: 5\r\n\r\n", SHORT[:-1], CHUNKED[:-5]])
async def test_silence_ends_in_a_timeout_and_a_closed_connection(client: LeanClient, talk: bytes) -> None:
    async with peer(says(talk, hold=True)) as server:
        for whole in (True, False):
            with pytest.raises(TimeoutError):
                await ask(client, server.target(), timeouts=HASTY, whole=whole)


async def test_a_peer_that_is_slow_but_never_silent_is_waited_for(client: LeanClient) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"content-length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"x")

    async with peer(slow) as server:
        for whole in (True, False):
            assert await ask(client, server.target(), timeouts=HASTY, whole=whole) == b"x" * 8


async def test_the_peer_is_stopped_while_nobody_reads_and_that_is_no_silence(client: LeanClient) -> None:
    size = 64 << 20
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"content-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            sent += 1 << 20

    async with peer(flood) as server:
        http = await client.post(server.target(), b"", HASTY, whole=False)
        await asyncio.sleep(3 * HASTY.between_s)
        assert sent < size // 2
        first = await http.read()
        assert MAX_UNREAD_BYTES < len(first) < 4 * MAX_UNREAD_BYTES
        assert len(first) + len(await rest(http)) == size


async def test_cancelling_closes_the_connection(client: LeanClient) -> None:
    async with peer(says(OK, hold=True)) as server:
        task = asyncio.create_task(ask(client, server.target()))
        while not server.requests:  # noqa: ASYNC110  # a list has no event
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with peer(says(SHORT)) as other:
        assert await ask(client, other.target()) == b"hello"


async def test_a_server_that_is_not_there_cannot_be_reached(client: LeanClient) -> None:
    async with peer(says(SHORT)) as server:
        to = server.target()
    with pytest.raises(Unreachable):
        await ask(client, to)


async def test_a_server_of_a_known_authority_is_spoken_to_in_tls(client: LeanClient, tmp_path: Path) -> None:
    key, cert = certificate(tmp_path, "127.0.0.1")
    client.tls.load_verify_locations(cert)
    async with peer(says(CHUNKED), server_tls(key, cert)) as server:
        for _ in range(2):
            assert await ask(client, server.target("https"), whole=True) == b"hello"
        assert server.connections == 1
        with pytest.raises(Unreachable, match="localhost"):  # not the name in the certificate
            await ask(client, server.target("https", "localhost"))


async def test_an_unknown_authority_gets_no_request(client: LeanClient, tmp_path: Path) -> None:
    async with peer(says(SHORT), server_tls(*certificate(tmp_path, "127.0.0.1"))) as server:
        with pytest.raises(Unreachable, match="certificate"):
            await ask(client, server.target("https"))
        assert server.requests == []


@pytest.mark.parametrize("url", ["", "no-url", "ftp://host", "http://", "http://h:99999/", "http://h:x/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|[Pp]ort"):
        target(url, {})


@pytest.mark.parametrize(
    ("name", "value"), [("a", "b\r\nc: d"), ("a", "b\nc"), ("a", "b\x00"), ("a b", "c"), ("a\r\nb", "c"), ("", "c")]
)
def test_no_header_can_hold_another(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="not a header"):
        target("http://host", {name: value})


@pytest.mark.parametrize(
    ("url", "origin", "start"),
    [
        ("http://h", ("h", 80, False), b"POST / HTTP/1.1\r\nhost: h\r\n"),
        ("https://h/v1?a=b", ("h", 443, True), b"POST /v1?a=b HTTP/1.1\r\nhost: h\r\n"),
        ("http://[::1]:8080/x", ("::1", 8080, False), b"POST /x HTTP/1.1\r\nhost: [::1]:8080\r\n"),
        ("http://b\u00fccher.example/\u00fc z", ("xn--bcher-kva.example", 80, False), b"POST /%C3%BC%20z HTTP/1.1\r\n"),
        ("http://h/a\r\nx: y", ("h", 80, False), b"POST /ax:%20y HTTP/1.1\r\n"),
    ],
)
def test_an_address_says_where_to_and_what_for(url: str, origin: tuple[str, int, bool], start: bytes) -> None:
    made = target(url, {})
    assert made.origin == origin
    assert made.head.startswith(start)


def test_a_credential_in_an_address_is_sent_unless_there_is_another_and_never_shown() -> None:
    made = target("http://me:s%40cret@h/", {})
    assert b"\r\nauthorization: Basic bWU6c0BjcmV0\r\n" in made.head
    assert b"host: h\r\n" in made.head
    assert b"Basic" not in target("http://me:secret@h/", {"Authorization": "Bearer k"}).head
    assert "bWU6" not in repr(made)
