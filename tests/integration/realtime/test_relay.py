"""What passes between a client and its provider, and how each learns of the other's end."""

import json
import sqlite3
import time
from contextlib import closing

import anyio
import pytest

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.support.realtime_client import RealtimeClient, realtime
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server

pytestmark = pytest.mark.anyio
GA = "/v1/realtime?model=openai/"
WITHIN_S = 1.0
ODD = [
    '{"type":"input_audio_buffer.append","audio":"AAAA"}',
    '{ "type" : "response.cancel" , "event_id":"é\\u2028\U0001f600" }',
    '{"event_id":"e1","type":"some.future.event","x":[1.0,2e3,null,{"type":"y"}]}',
    '{"x":1,"type":"another.event"}',
]


@pytest.fixture
async def client(running: Server) -> object:
    async with realtime(running, f"{GA}realtime") as client:
        yield client


async def opened(client: RealtimeClient, provider: RealtimeUpstream) -> Session:
    """Return the provider's side of a session that has just been opened."""
    await client.recv()
    return provider.sessions[-1]


async def test_frames_of_a_client_arrive_verbatim_and_in_order(
    client: RealtimeClient, provider: RealtimeUpstream
) -> None:
    session = await opened(client, provider)
    sent: list[str | bytes] = [*ODD, b"\x00\xffsound", *(f'{{"type":"x.{number}"}}' for number in range(200))]
    for frame in sent:
        await client.connection.send(frame)
    await session.got(len(sent) - 1)
    assert session.received == sent


async def test_frames_of_a_provider_arrive_verbatim_and_in_order(
    client: RealtimeClient, provider: RealtimeUpstream
) -> None:
    session = await opened(client, provider)
    sent: list[str | bytes] = [*ODD, "no json", b"\x00\xff", '{"type":"response.done"}', '{"type":"error","x":1}']
    for frame in sent:
        await session.say(frame)
    assert [await client.connection.recv() for _ in sent] == sent


@pytest.mark.parametrize("frame", ["no json", "[1]", '"x"', '{"no":"type"}', '{"type":1}', '{"type":"a","type":"b"}'])
async def test_a_bad_frame_is_an_error_event_and_the_session_goes_on(
    client: RealtimeClient, provider: RealtimeUpstream, frame: str
) -> None:
    session = await opened(client, provider)
    await client.connection.send(frame)
    assert (await client.recv())["error"]["type"] == "invalid_request_error"
    assert (await client.ask())[-1]["response"]["status"] == "completed"
    assert frame not in session.received


async def test_a_second_type_cannot_hide_behind_the_first(client: RealtimeClient, provider: RealtimeUpstream) -> None:
    session = await opened(client, provider)
    for hidden in ('"type"', '"\\u0074ype"'):
        await client.connection.send(f'{{"type":"a","event_id":"e1",{hidden}:"session.update","session":{{}}}}')
        assert (await client.recv())["error"]["code"] == "invalid_json"
    assert session.received == []


async def test_the_model_of_an_update_is_checked_and_not_passed_on(
    client: RealtimeClient, provider: RealtimeUpstream
) -> None:
    session = await opened(client, provider)
    update = {"type": "session.update", "event_id": "mine", "session": {"type": "realtime", "model": "gpt-5"}}
    await client.send(update)
    error = (await client.recv())["error"]
    assert (error["code"], error["event_id"]) == ("model_not_allowed", "mine")
    update["session"] = {"type": "realtime", "model": "openai/realtime", "instructions": "Hi."}
    await client.send(update)
    shown = (await client.recv())["session"]
    assert (shown["model"], shown["instructions"]) == ("openai/realtime", "Hi.")
    assert [event["session"] for event in session.events] == [{"type": "realtime", "instructions": "Hi."}]


async def test_frames_that_come_before_the_provider_is_there_wait_in_order(
    running: Server, provider: RealtimeUpstream
) -> None:
    number = len(provider.sessions)
    early = [f'{{"type":"x.{number}","audio":"{"A" * 2**20}"}}' for number in range(16)]
    late = [f'{{"type":"y.{number}"}}' for number in range(50)]
    async with realtime(running, f"{GA}realtime-late-deaf") as client:
        for frame in early:
            await client.connection.send(frame)
        await (await client.connection.ping())
        provider.gate.set()
        await client.recv()
        for frame in late:
            await client.connection.send(frame)
        with anyio.move_on_after(0.5):  # what waits is more than fits: none of the late ones may be read before
            await (await client.connection.ping())
        session = await provider.session(number)
        session.listen()
        await session.got(len(early) + len(late) - 1)
    assert session.received == early + late


@pytest.mark.parametrize(
    ("status", "code", "close"),
    [
        (401, "upstream_denied", 1011),
        (403, "upstream_denied", 1011),
        (404, "not_found", 1008),
        (429, "rate_limit_exceeded", 1013),
        (500, "upstream_error", 1011),
        (503, "upstream_overloaded", 1013),
    ],
)
async def test_a_provider_that_refuses_is_an_error_and_a_close(
    running: Server, status: int, code: str, close: int
) -> None:
    async with realtime(running, f"{GA}realtime-status-{status}") as client:
        event = await client.recv()
        assert (event["type"], event["error"]["code"]) == ("error", code)
        assert VENDOR_KEY[:6] not in str(event)
        assert (await client.closed())[0] == close


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ((1000, "bye"), (1000, "bye")),
        ((1001, ""), (1001, "")),
        ((1008, f"key {VENDOR_KEY} is bad"), (1008, "key [redacted] is bad")),
        ((4321, "é" * 60), (4321, "é" * 60)),
    ],
)
async def test_a_clients_socket_closes_as_its_provider_does(
    client: RealtimeClient, provider: RealtimeUpstream, said: tuple[int, str], told: tuple[int, str]
) -> None:
    session = await opened(client, provider)
    with anyio.fail_after(WITHIN_S):
        await session.close(*said)
        assert await client.closed() == told


async def test_a_provider_that_hangs_up_is_1011(client: RealtimeClient, provider: RealtimeUpstream) -> None:
    session = await opened(client, provider)
    with anyio.fail_after(WITHIN_S):
        session.hang_up()
        assert (await client.closed())[0] == 1011


@pytest.mark.parametrize(("code", "told"), [(1000, 1000), (4000, 4000), (1001, 1001)])
async def test_a_providers_socket_closes_as_its_client_does(
    client: RealtimeClient, provider: RealtimeUpstream, code: int, told: int
) -> None:
    session = await opened(client, provider)
    with anyio.fail_after(WITHIN_S):
        await client.connection.close(code, "secret words")
        await session.ended.wait()
    assert session.code == told


async def test_a_client_that_vanishes_leaves_no_provider_behind(
    client: RealtimeClient, provider: RealtimeUpstream
) -> None:
    session = await opened(client, provider)
    with anyio.fail_after(WITHIN_S):
        client.connection.transport.abort()
        await session.ended.wait()


async def test_sound_of_15_mib_passes_and_a_frame_over_the_limit_is_1009(
    client: RealtimeClient, provider: RealtimeUpstream
) -> None:
    session = await opened(client, provider)
    frame = '{"type":"input_audio_buffer.append","audio":"' + "A" * (20 * 2**20) + '"}'
    await client.connection.send(frame)
    assert await session.got(0) == frame
    await client.connection.send(frame + " " * 2**20)
    assert (await client.closed())[0] == 1009


async def test_an_error_of_the_provider_names_no_key_and_ends_nothing(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-leaks") as client:
        await client.recv()
        assert (await client.recv())["error"]["message"] == "Bad key [redacted]"
        await client.send({"type": "response.cancel"})
        assert (await client.recv())["error"]["code"] == "response_cancel_not_active"
        assert (await client.ask())[-1]["response"]["status"] == "completed"


async def test_a_cancel_ends_a_response_that_never_would(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-never") as client:
        await client.send({"type": "response.create"})
        await client.until("response.output_item.done")
        await client.send({"type": "response.create"})
        assert (await client.recv())["error"]["code"] == "conversation_already_has_active_response"
        await client.send({"type": "response.cancel"})
        assert (await client.until("response.done"))[-1]["response"]["status"] == "cancelled"


def rows(running: Server, model: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{running.data}/truth.db?mode=ro", uri=True)) as truth:
        found = truth.execute(
            "SELECT outcome, input_tokens, output_tokens, cached_tokens, estimated FROM ledger WHERE model = ?"
            " AND status = 'settled' ORDER BY started_at",
            (model,),
        )
        return found.fetchall()


async def settled(running: Server, model: str, number: int) -> list[tuple[object, ...]]:
    """Return the rows of a model, once there are so many."""
    with anyio.fail_after(10):
        while len(found := rows(running, model)) < number:  # noqa: ASYNC110 - the server is another process
            await anyio.sleep(0.05)
    return found


async def test_a_response_and_a_transcription_have_a_row_each(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-billed") as client:
        await client.ask()
        await client.send({"type": "input_audio_buffer.commit"})
        await client.until("conversation.item.input_audio_transcription.completed")
        await client.send({"type": "response.create"})
        await client.until("response.created")
    assert await settled(running, "openai/realtime-billed", 3) == [
        ("completed", 11, 7, 4, 0),
        ("completed", 21, 4, 0, 0),
        *rows(running, "openai/realtime-billed")[2:],
    ]


async def test_a_response_that_its_session_outlives_not_is_an_estimate(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-never-n9") as client:
        await client.send({"type": "response.create"})
        await client.until("response.output_item.done")
    assert await settled(running, "openai/realtime-never-n9", 1) == [("cancelled", 0, 9, 0, 1)]


async def test_two_sessions_never_mix(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-n40") as one, realtime(running, f"{GA}realtime-n40") as other:
        for client in (one, other):
            await client.recv()
            await client.send({"type": "response.create"})
        said = ["", ""]
        for number, client in enumerate((one, other)):
            events = await client.until("response.done")
            said[number] = "".join(event.get("delta", "") for event in events)
    salts = [{token.partition(":")[0] for token in text.split()} for text in said]
    assert [len(found) for found in salts] == [1, 1]
    assert salts[0] != salts[1]


async def test_a_session_that_its_provider_forgets_to_end_is_ended(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-lasts-0&chatbackend=1") as client:
        assert (await client.recv())["session"]["expires_at"] <= time.time()
        assert (await client.recv())["type"] == "chatbackend.session.expiring"
        assert (await client.recv())["error"]["code"] == "session_expired"
        assert await client.closed() == (1001, "session_expired")


async def test_who_knows_none_of_our_events_is_sent_none(running: Server) -> None:
    async with realtime(running, f"{GA}realtime-lasts-0") as client:
        await client.recv()
        assert json.loads(await client.connection.recv())["type"] == "error"
