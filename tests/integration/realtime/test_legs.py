"""Two legs and what one may do to the other: a side that is slow, silent, gone or in a hurry."""

import random
from collections.abc import AsyncGenerator
from itertools import count
from pathlib import Path

import anyio
import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.support.front import front
from tests.support.realtime_client import RealtimeClient, realtime
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio
GA = "/v1/realtime?model=openai/"
WITHIN_S = 1.0
PING_S = 0.5
APPEND = '{"type":"input_audio_buffer.append","audio":"' + "A" * 2**16 + '"}'
SOUND = '{"type":"response.output_audio.delta","delta":"' + "A" * 2**16 + '"}'


@pytest.fixture(scope="module")
async def pinging(provider: RealtimeUpstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server]:
    """A server that asks either side for a sign of life all the time."""
    settings = {"OPENAI_ENDPOINT": provider.url, "OPENAI_API_KEY": VENDOR_KEY, "CHATBACKEND_PING_S": str(PING_S)}
    async with serving(tmp_path_factory.mktemp("pinging"), settings) as server:
        yield server


async def opened(client: RealtimeClient, provider: RealtimeUpstream) -> Session:
    """Return the provider's side of a session that has just been opened."""
    await client.recv()
    return provider.sessions[-1]


async def works(client: RealtimeClient) -> bool:
    """Return whether a session still answers."""
    return (await client.ask())[-1]["response"]["status"] == "completed"


async def works_after_all(client: RealtimeClient, session: Session) -> bool:
    """Return whether a session still answers, once all that is on its way to the client was taken."""
    end = '{"type":"the.end"}'
    async with anyio.create_task_group() as group:
        group.start_soon(session.say, end)
        while await client.connection.recv() != end:
            pass
    return await works(client)


async def test_a_client_that_answers_no_ping_ends_its_providers_session(
    pinging: Server, provider: RealtimeUpstream
) -> None:
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        client.connection.transport.pause_reading()
        with anyio.fail_after(PING_S * 2 + 4):
            await session.ended.wait()


async def test_a_client_that_takes_slowly_lives_though_its_pongs_come_late(
    pinging: Server, provider: RealtimeUpstream
) -> None:
    """A ping lies behind all that was sent before it: what is taken meanwhile is a sign of life, too."""
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        async with anyio.create_task_group() as group:
            group.start_soon(_say_on, session)
            for _ in range(150):  # several pings' time, each of which waits behind megabytes
                await client.connection.recv()
                await anyio.sleep(0.02)
            group.cancel_scope.cancel()
        assert client.connection.close_code is None
        assert await works_after_all(client, session)


async def _say_on(session: Session) -> None:
    while True:
        await session.say(SOUND)


async def test_a_provider_that_takes_slowly_lives_though_its_pongs_come_late(
    pinging: Server, provider: RealtimeUpstream
) -> None:
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        number = 40 * 2**20 // len(APPEND)
        async with anyio.create_task_group() as group:
            group.start_soon(_takes_slowly, session)
            for _ in range(number):
                await client.connection.send(APPEND)
        await session.got(number - 1)
        assert await works(client)


async def _takes_slowly(session: Session) -> None:
    for times in range(1, 13):  # several pings' time
        session.fall_silent()
        await anyio.sleep(0.4)
        session.listen()
        await session.got(40 * times)  # megabytes: a kernel with a large buffer does not tell of less room


async def test_a_client_that_pauses_does_not_cost_it_its_provider(tmp_path: Path, provider: RealtimeUpstream) -> None:
    """The provider is not read meanwhile, and so no answer of its own to a ping."""
    settings = {"OPENAI_ENDPOINT": provider.url, "OPENAI_API_KEY": VENDOR_KEY, "CHATBACKEND_PING_S": "1"}
    async with serving(tmp_path, settings) as server, realtime(server, f"{GA}realtime") as client:
        session = await opened(client, provider)
        async with anyio.create_task_group() as group:
            group.start_soon(_say_on, session)
            for _ in range(3):
                client.connection.transport.pause_reading()
                await anyio.sleep(1.2)  # its box is full long before; at 2 s it would be let go
                client.connection.transport.resume_reading()
                for _ in range(400):
                    await client.connection.recv()
            group.cancel_scope.cancel()
        assert await works_after_all(client, session)


async def test_silence_outlives_the_patience_of_proxies_on_both_legs(
    tmp_path: Path, provider: RealtimeUpstream
) -> None:
    with front(tmp_path / "behind", [provider.port] * 2, read_timeout="4s") as behind:
        settings = {"OPENAI_ENDPOINT": f"http://127.0.0.1:{behind}", "OPENAI_API_KEY": VENDOR_KEY}
        (tmp_path / "server").mkdir()
        async with serving(tmp_path / "server", {**settings, "CHATBACKEND_PING_S": "1"}) as server:
            own = server.port
            with front(tmp_path / "before", [own, own], read_timeout="4s") as server.port:
                async with realtime(server, f"{GA}realtime") as client:
                    await client.recv()
                    with anyio.move_on_after(9):
                        await client.connection.wait_closed()
                    assert await works(client)
            server.port = own


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_provider_that_hangs_up_is_1011_and_what_it_said_before_a_fin_is_shown(
    pinging: Server, provider: RealtimeUpstream, *, at_once: bool
) -> None:
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        with anyio.fail_after(WITHIN_S):
            await session.say('{"type":"last.words"}')
            if at_once:
                await client.connection.recv()
            session.hang_up(at_once=at_once)
            if not at_once:
                assert await client.connection.recv() == '{"type":"last.words"}'
            assert await client.closed() == (1011, "the provider hung up")


async def test_a_close_without_a_code_is_1000_to_the_other_side(pinging: Server, provider: RealtimeUpstream) -> None:
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        with anyio.fail_after(WITHIN_S):
            client.connection.protocol.send_close()  # as the agents' SDK does
            client.connection.send_data()
            await session.ended.wait()
    assert session.code == 1000
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        with anyio.fail_after(WITHIN_S):
            await session.close_without_a_code()
            assert (await client.closed())[0] == 1000


async def test_a_provider_that_does_not_answer_a_handshake_has_ten_seconds(
    pinging: Server, provider: RealtimeUpstream
) -> None:
    provider.gate.clear()
    with anyio.fail_after(13):
        async with realtime(pinging, f"{GA}realtime-late") as client:
            await client.connection.send('{"type":"input_audio_buffer.clear"}')
            with anyio.move_on_after(8):
                await client.connection.wait_closed()
            assert client.connection.close_code is None
            event = await client.recv()
            assert (event["type"], event["error"]["code"]) == ("error", "upstream_timeout")
            assert (await client.closed())[0] == 1011
    provider.gate.set()


async def test_nothing_is_compressed_whatever_a_client_offers(pinging: Server, provider: RealtimeUpstream) -> None:
    async with realtime(pinging, f"{GA}realtime") as client:
        session = await opened(client, provider)
        assert client.connection.request is not None
        assert "permessage-deflate" in client.connection.request.headers["sec-websocket-extensions"]
        assert client.connection.protocol.extensions == []
        assert "sec-websocket-extensions" not in session.headers


@pytest.mark.parametrize("seed", range(3))
async def test_sessions_side_by_side_never_mix(pinging: Server, provider: RealtimeUpstream, seed: int) -> None:
    """Each frame names its session and its number; every session gets its own, all of them and in order."""
    chance = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    async with anyio.create_task_group() as group:
        for name in range(8):
            group.start_soon(_keeps_to_itself, pinging, provider, f"{seed}.{name}", chance)


async def _keeps_to_itself(server: Server, provider: RealtimeUpstream, name: str, chance: random.Random) -> None:
    async with realtime(server, f"{GA}realtime-of.{name}") as client:
        await client.recv()
        [session] = [each for each in provider.sessions if each.model == f"realtime-of.{name}"]
        sent, said, heard = list[str](), list[str](), list[str | bytes]()
        number = count()
        for _ in range(60):
            audio = f"{name}.{next(number)}.{'A' * chance.randrange(3000)}"
            frame = f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}'
            if chance.random() < 0.5:
                sent.append(frame)
                await client.connection.send(frame)
            else:
                said.append(frame)
                await session.say(frame)
            if chance.random() < 0.3:
                await anyio.sleep(chance.random() / 200)
            if chance.random() < 0.3 and len(heard) < len(said):
                heard.append(await client.connection.recv())
        heard += [await client.connection.recv() for _ in said[len(heard) :]]
        await session.got(len(sent) - 1)
        assert (session.received, heard) == (sent, said)
        with pytest.raises(ConnectionClosed):
            await client.connection.close()
            await client.connection.recv()
