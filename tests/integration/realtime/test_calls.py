"""Calls over WebRTC by the unmodified SDK: made, joined and ended by their owner alone, and billed."""

import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.integration.realtime.test_relay import settled
from tests.support import sdk
from tests.support.cluster import cluster
from tests.support.realtime_calls import ANSWER, RealtimeCallsUpstream
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio
OFFER = "v=0\r\no=- 9 9 IN IP4 127.0.0.1\r\ns=-\r\n"
PATH = "/v1/realtime/calls"
USAGE = {"total_tokens": 18, "input_tokens": 11, "output_tokens": 7, "input_token_details": {"cached_tokens": 4}}


@pytest.fixture(scope="module")
async def front(provider: RealtimeUpstream) -> AsyncGenerator[RealtimeCallsUpstream, None]:
    async with RealtimeCallsUpstream(provider, VENDOR_KEY) as front:
        yield front


@pytest.fixture(scope="module")
async def calling(
    front: RealtimeCallsUpstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Server, None]:
    async with serving(tmp_path_factory.mktemp("calls"), settings(front)) as server:
        yield server


def settings(front: RealtimeCallsUpstream) -> dict[str, str]:
    return {
        "OPENAI_ENDPOINT": front.url,
        "OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_ENDPOINT": front.url,
        "AZURE_OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_DEPLOYMENTS": "voice=gpt-realtime,chat=gpt-4o",
        "CHATBACKEND_LOG_LEVEL": "debug",
    }


async def call(server: Server, model: str = "openai/realtime-call", *, key: str | None = None) -> str:
    """Make a call; return its id."""
    async with sdk.async_client(server, key) as client:
        made = await client.realtime.calls.create(sdp=OFFER, session={"type": "realtime", "model": _any(model)})
        assert made.text == ANSWER
        assert made.response.status_code == 201
        assert made.response.headers["content-type"] == "application/sdp"
        return made.response.headers["location"].removeprefix(f"{PATH}/")


def _any(model: str) -> Any:  # noqa: ANN401 - the SDK lists the names that it knows
    return model


async def beside(front: RealtimeCallsUpstream) -> Session:
    """Return the socket of ours beside the call that was made last."""
    number = f"rtc_u{len(front.offers)}"
    with anyio.fail_after(10):
        while True:
            for session in front.behind.sessions:
                if session.query.get("call_id") == number:
                    return session
            await anyio.sleep(0.02)


async def ended(front: RealtimeCallsUpstream, number: str) -> None:
    """Return once a call was hung up on."""
    with anyio.fail_after(10):
        while number not in front.ended:  # noqa: ASYNC110 - the server is another process
            await anyio.sleep(0.02)


async def answers(session: Session, response_id: str) -> None:
    """Let the model say something in a call."""
    response: dict[str, Any] = {"object": "realtime.response", "id": response_id, "status": "in_progress", "output": []}
    await session.say(json.dumps({"type": "response.created", "event_id": "e1", "response": response}))
    done = {**response, "status": "completed", "usage": USAGE}
    await session.say(json.dumps({"type": "response.done", "event_id": "e2", "response": done}))


@pytest.mark.parametrize(
    ("model", "place"),
    [("openai/realtime-x", "/v1/realtime"), ("azure/voice", "/openai/v1/realtime")],
)
async def test_the_sdk_makes_a_call_by_our_names(
    calling: Server, front: RealtimeCallsUpstream, model: str, place: str
) -> None:
    await call(calling, model)
    name = model.rpartition("/")[2]
    assert front.offers[-1] == {"path": f"{place}/calls", "sdp": OFFER, "session": {"type": "realtime", "model": name}}
    session = await beside(front)
    assert session.path.partition("?")[0] == place
    assert VENDOR_KEY not in calling.log()


async def test_a_call_is_billed_by_a_socket_of_ours_beside_it(calling: Server, front: RealtimeCallsUpstream) -> None:
    await call(calling, "openai/realtime-paid")
    session = await beside(front)
    await answers(session, "resp_1")
    assert await settled(calling, "openai/realtime-paid", 1) == [("completed", 11, 7, 4, 0)]
    begun = json.dumps({"type": "response.created", "event_id": "e", "response": {"id": "resp_2"}})
    await session.say(begun)
    await session.say('{"type":"response.output_audio_transcript.delta","delta":"x"}')
    session.hang_up()
    assert (await settled(calling, "openai/realtime-paid", 2))[1] == ("cancelled", 0, 1, 0, 1)


async def test_the_owner_joins_a_call_and_what_happens_there_is_billed_once(
    calling: Server, front: RealtimeCallsUpstream
) -> None:
    made = await call(calling, "openai/realtime-joined")
    listener = await beside(front)
    async with sdk.async_client(calling) as client, client.realtime.connect(call_id=made) as connection:
        created: Any = await connection.recv()
        assert (created.type, created.session.model) == ("session.created", "openai/realtime-joined")
        joined = front.behind.sessions[-1]
        assert joined is not listener
        assert joined.query == {"call_id": f"rtc_u{len(front.offers)}"}
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        assert (await joined.got_type("session.update"))["session"]["instructions"] == "Be brief."
        for each in (listener, joined):
            await answers(each, "resp_1")
        while (await connection.recv()).type != "response.done":
            pass
    assert await settled(calling, "openai/realtime-joined", 1) == [("completed", 11, 7, 4, 0)]


async def test_the_owner_hangs_up(calling: Server, front: RealtimeCallsUpstream) -> None:
    made = await call(calling)
    session = await beside(front)
    async with sdk.async_client(calling) as client:
        await client.realtime.calls.hangup(made)
    assert front.ended[-1] == f"rtc_u{len(front.offers)}"
    await session.ended.wait()


async def test_nobody_else_finds_a_call(calling: Server, front: RealtimeCallsUpstream) -> None:
    made, ended = await call(calling), len(front.ended)
    stranger = await anyio.to_thread.run_sync(calling.new_key, "stranger")
    for key, call_id in ((stranger, made), (None, made[:-2]), (None, "rtc_u1"), (None, "rtc_é")):
        async with sdk.async_client(calling, key) as client:
            with pytest.raises(openai.NotFoundError):
                await client.realtime.calls.hangup(call_id)
            with pytest.raises(Exception, match="404"):
                async with client.realtime.connect(call_id=call_id):
                    pass
    async with openai.AsyncOpenAI(
        base_url=calling.base_url, api_key=calling.key, default_headers={"chatbackend-user": "anna"}
    ) as client:
        with pytest.raises(openai.NotFoundError):
            await client.realtime.calls.hangup(made)
    assert len(front.ended) == ended


async def test_a_call_is_known_after_a_restart(front: RealtimeCallsUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, settings(front)) as server:
        made = await call(server)
        key = server.key
    async with serving(tmp_path, settings(front)) as server, sdk.async_client(server, key) as client:
        await client.realtime.calls.hangup(made)
    assert front.ended[-1] == f"rtc_u{len(front.offers)}"


async def test_a_call_is_known_to_every_server_of_a_cluster(front: RealtimeCallsUpstream, tmp_path: Path) -> None:
    with ExitStack() as stack:
        start = partial(stack.enter_context, cluster(tmp_path, settings(front)))
        one, other = (await anyio.to_thread.run_sync(start)).servers
        made = await call(one)
        async with sdk.async_client(other) as client:
            async with client.realtime.connect(call_id=made) as connection:
                created: Any = await connection.recv()
                assert created.session.model == "openai/realtime-call"
            await client.realtime.calls.hangup(made)
        assert front.ended[-1] == f"rtc_u{len(front.offers)}"
        await anyio.to_thread.run_sync(stack.close)


async def secret(server: Server, session: Any = None, **held: object) -> str:  # noqa: ANN401 - what SDKs do not know
    async with sdk.async_client(server) as client:
        body = {"session": session or {"type": "realtime", "model": "openai/realtime-page"}, "chatbackend": held}
        return (await client.realtime.client_secrets.create(extra_body=body)).value


async def posted(
    server: Server, body: str | bytes, key: str, kind: str = "application/sdp", *, query: str = ""
) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}", "content-type": kind, "origin": "http://localhost:3000"}
    async with httpx2.AsyncClient(base_url=server.url) as http:
        return await http.post(PATH + query, content=body, headers=headers)


async def test_a_page_makes_a_call_that_begins_as_its_secret_says(
    calling: Server, front: RealtimeCallsUpstream
) -> None:
    begun = {"type": "realtime", "model": "openai/realtime-page", "audio": {"output": {"voice": "cedar"}}}
    made = await secret(calling, begun)
    answer = await posted(calling, OFFER, made)
    assert (answer.status_code, answer.text) == (201, ANSWER)
    assert "location" in answer.headers["access-control-expose-headers"]
    session = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}, "model": "realtime-page"}
    assert front.offers[-1]["session"] == session
    other = await posted(calling, OFFER, made, query="?model=azure/voice")
    assert (other.status_code, other.json()["error"]["code"]) == (403, "model_not_allowed")
    place = answer.headers["location"]
    async with httpx2.AsyncClient(base_url=calling.url, headers={"authorization": f"Bearer {made}"}) as http:
        assert (await http.post(f"{place}/hangup")).status_code == 403
    with pytest.raises(Exception, match="403"):
        async with realtime(calling, f"/v1/realtime?call_id={place.rpartition('/')[2]}", key=made):
            pass


async def test_a_call_that_has_used_its_tokens_is_ended(calling: Server, front: RealtimeCallsUpstream) -> None:
    made = await secret(calling, max_tokens=10)
    assert (await posted(calling, OFFER, made)).status_code == 201
    session, number = await beside(front), f"rtc_u{len(front.offers)}"
    await answers(session, "resp_1")
    await ended(front, number)


@pytest.mark.parametrize(
    "held", [{"instructions": "Canary."}, {"client_tools": []}, {"vector_store_ids": ["vs_1"]}, {"renew": True}]
)
async def test_what_could_not_be_held_in_a_call_refuses_it(
    calling: Server, front: RealtimeCallsUpstream, held: dict[str, object]
) -> None:
    before = len(front.offers)
    answer = await posted(calling, OFFER, await secret(calling, **held))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "unsupported_in_calls")
    other = await posted(calling, OFFER, await secret(calling, {"type": "transcription"}))
    assert (other.status_code, other.json()["error"]["code"]) == (403, "session_type_not_allowed")
    kept = await posted(calling, OFFER, await secret(calling), query="?model=azure/voice&renew=1")
    assert (kept.status_code, kept.json()["error"]["param"]) == (400, "renew")
    assert len(front.offers) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [(OFFER, 400), ("nothing", 400), (b"\xff", 400), ("v=" + "x" * 2**20, 413)],
)
async def test_what_is_no_offer_is_refused(
    calling: Server, front: RealtimeCallsUpstream, body: str | bytes, status: int
) -> None:
    before = len(front.offers)
    for kind in ("application/sdp", "application/json"):
        answer = await posted(calling, body, calling.key, kind)
        assert (answer.status_code, "error" in answer.json()) == (status, True)
    assert len(front.offers) == before


async def test_a_call_ends_with_the_key_that_made_it(calling: Server, front: RealtimeCallsUpstream) -> None:
    key = await anyio.to_thread.run_sync(calling.new_key, "revoked")
    with closing(sqlite3.connect(f"file:{calling.data}/truth.db?mode=ro", uri=True)) as truth:
        (key_id,) = truth.execute("SELECT id FROM api_keys WHERE account = 'revoked'").fetchone()
    await call(calling, key=key)
    await beside(front)
    await anyio.to_thread.run_sync(calling.run, "keys", "revoke", key_id)
    await ended(front, f"rtc_u{len(front.offers)}")


async def test_calls_count_for_what_one_user_may_have(front: RealtimeCallsUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, {**settings(front), "CHATBACKEND_MAX_SOCKETS_PER_USER": "1"}) as server:
        made = await call(server)
        with pytest.raises(openai.RateLimitError):
            await call(server)
        async with sdk.async_client(server) as client:
            await client.realtime.calls.hangup(made)
        with anyio.fail_after(5):
            while True:
                with suppress(openai.RateLimitError):
                    await call(server)
                    break


async def test_a_provider_that_refuses_is_an_error_and_names_no_key(
    calling: Server, front: RealtimeCallsUpstream
) -> None:
    front.refuse_with = (401, f"Bad key {VENDOR_KEY}")
    try:
        async with sdk.async_client(calling) as client:
            with pytest.raises(openai.InternalServerError) as refused:
                await client.realtime.calls.create(sdp=OFFER, session={"type": "realtime", "model": _any("voice")})
    finally:
        front.refuse_with = None
    assert VENDOR_KEY not in str(refused.value.body)
    front.without_location = True
    try:
        assert (await posted(calling, OFFER, await secret(calling))).status_code == 502
    finally:
        front.without_location = False


async def test_a_model_that_takes_no_calls_is_refused(calling: Server) -> None:
    async with sdk.async_client(calling) as client:
        for model, code in (("azure/chat", "unsupported_by_model"), ("azure/none", "model_not_found")):
            with pytest.raises(openai.APIStatusError) as refused:
                await client.realtime.calls.create(sdp=OFFER, session={"type": "realtime", "model": _any(model)})
            assert refused.value.code == code
