"""Sessions that outlast their provider's: one socket, one conversation, another session of the provider's behind it."""

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

import anyio
import pytest

from tests.support import sdk
from tests.support.realtime_client import Event, RealtimeClient, realtime
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.server import Server

pytestmark = pytest.mark.anyio
RENEWED = "chatbackend.session.renewed"


def path(model: str, more: str = "&renew=1&chatbackend=1") -> str:
    return f"/v1/realtime?model=openai/{model}{more}"


@pytest.fixture
async def talk(running: Server, provider: RealtimeUpstream) -> AsyncGenerator[RealtimeClient, None]:
    async with realtime(running, path("realtime")) as client:
        await client.recv()
        yield client


def told(session: Session, kind: str) -> list[Any]:
    return [event for event in session.events if event["type"] == kind]


def given(session: Session) -> list[str]:
    """Return the ids of items that a session was given."""
    return [event["item"]["id"] for event in told(session, "conversation.item.create") if "id" in event["item"]]


def kinds(events: list[Event]) -> set[str]:
    return {event["type"] for event in events}


async def test_a_session_goes_on_before_its_provider_ends_it(running: Server, provider: RealtimeUpstream) -> None:
    async with realtime(running, path("realtime-lasts-4")) as talk:
        created = await talk.recv()
        voice = {"type": "realtime", "instructions": "Sing.", "audio": {"output": {"voice": "cedar"}}}
        await talk.send({"type": "session.update", "session": voice})
        first = await talk.ask("One")
        old = provider.sessions[-1]
        [*before, renewed] = await talk.until(RENEWED)
        new = provider.sessions[-1]
        assert new is not old
        assert kinds(before) <= {"session.updated", "chatbackend.session.expiring"}
        shown = before[-1]["session"]
        assert (shown["instructions"], shown["audio"]["output"]["voice"]) == ("Sing.", "cedar")
        assert shown["model"] == "openai/realtime-lasts-4"
        assert renewed["expires_at"] > created["session"]["expires_at"]
        assert (renewed["items"], renewed["left_out"]) == (2, 0)
        items = [event["item"]["id"] for event in first if event["type"] == "conversation.item.done"]
        assert given(new) == items
        texts = [event["item"]["content"][0]["text"] for event in told(new, "conversation.item.create")]
        assert texts == ["One", first[-1]["response"]["output"][0]["content"][0]["text"]]
        with anyio.fail_after(5):
            await old.ended.wait()
        second = await talk.ask("Two")
        assert second[-1]["response"]["status"] == "completed"
        assert "session.created" not in kinds(second)
        added = [event for event in second if event["type"] == "conversation.item.added"]
        assert added[0]["previous_item_id"] == items[-1]


@pytest.mark.parametrize("says", [True, False])
async def test_a_session_goes_on_when_its_provider_ends_it(
    talk: RealtimeClient, provider: RealtimeUpstream, *, says: bool
) -> None:
    await talk.ask("One")
    old = provider.sessions[-1]
    if says:
        error = '{"type":"error","event_id":"e","error":{"type":"x","code":"session_expired","message":"Over."}}'
        await old.say(error)
    await old.close(1001, "session_expired")
    events = await talk.until(RENEWED)
    assert kinds(events) == {"session.updated", RENEWED}
    assert (await talk.ask("Two"))[-1]["response"]["status"] == "completed"
    assert len(given(provider.sessions[-1])) == 2


async def test_what_is_said_while_it_moves_goes_to_the_new_session_in_order(
    running: Server, provider: RealtimeUpstream
) -> None:
    provider.gate.set()
    async with realtime(running, path("realtime-late")) as talk:
        await talk.recv()
        provider.gate.clear()
        number = len(provider.sessions)
        await provider.sessions[-1].close(1001)
        with anyio.fail_after(10):
            while len(provider.handshakes) <= number:  # noqa: ASYNC110 - the server is another process
                await anyio.sleep(0.01)
        sound = [f'{{"type":"input_audio_buffer.append","audio":"{n}"}}' for n in range(50)]
        for frame in sound:
            await talk.connection.send(frame)
        provider.gate.set()
        new = await provider.session(number)
        for frame in sound:
            await talk.connection.send(frame)
        await new.got(100)
        assert "session.update" in str(new.received[0])
        assert new.received[1:] == sound + sound


async def test_a_response_that_runs_when_the_provider_ends_fails_and_the_session_goes_on(
    running: Server, provider: RealtimeUpstream
) -> None:
    async with realtime(running, path("realtime-never")) as talk:
        await talk.recv()
        await talk.send({"type": "response.create"})
        await talk.until("response.output_item.done")
        await provider.sessions[-1].close(1001)
        [*_, done] = await talk.until("response.done")
        assert done["response"]["status"] == "failed"
        assert done["response"]["status_details"]["error"]["code"] == "session_renewed"
        await talk.until(RENEWED)
        assert len(given(provider.sessions[-1])) == 1


async def test_at_the_last_moment_a_long_answer_ends_and_nothing_of_it_comes_behind(running: Server) -> None:
    async with realtime(running, path("realtime-n300000-lasts-6"), checked=False) as talk:
        await talk.recv()
        await talk.send({"type": "response.create"})
        [*_, done] = await talk.until("response.done")
        assert done["response"]["status"] == "failed"
        behind = await talk.until(RENEWED)
        assert kinds(behind) <= {"session.updated", "chatbackend.session.expiring", RENEWED}


async def test_what_was_not_answered_yet_is_asked_for_again(running: Server, provider: RealtimeUpstream) -> None:
    async with realtime(running, path("realtime-deaf")) as talk:
        await talk.recv()
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Are you there?"}]}
        await talk.send({"type": "conversation.item.create", "item": item})
        await talk.send({"type": "response.create"})
        await (await talk.connection.ping())
        old = provider.sessions[-1]
        await old.close(1001)
        new = await provider.session(len(provider.sessions) - (provider.sessions[-1] is not old))
        new.listen()
        assert (await talk.until("response.done"))[-1]["response"]["status"] == "completed"
        assert old.received == []


async def test_a_provider_that_takes_no_other_session_ends_it_as_ever(
    talk: RealtimeClient, provider: RealtimeUpstream
) -> None:
    provider.refuses = HTTPStatus.SERVICE_UNAVAILABLE
    try:
        await provider.sessions[-1].close(1001)
        assert (await talk.recv())["error"]["code"] == "session_expired"
        assert await talk.closed() == (1001, "session_expired")
    finally:
        provider.refuses = None


async def test_who_did_not_ask_for_it_is_ended_as_ever(running: Server, provider: RealtimeUpstream) -> None:
    async with realtime(running, path("realtime", "")) as talk:
        await talk.recv()
        await provider.sessions[-1].close(1001, "bye")
        assert await talk.closed() == (1001, "bye")


async def test_a_bound_session_of_a_secret_goes_on_with_its_conversation_and_its_hidden_words(
    running: Server, provider: RealtimeUpstream
) -> None:
    async with sdk.async_client(running) as client:
        made = await client.conversations.create(items=[{"type": "message", "role": "user", "content": "Once"}])
        held = {"conversation": made.id, "renew": True, "instructions": "Canary", "models": ["openai/realtime"]}
        key = (await client.realtime.client_secrets.create(extra_body={"chatbackend": held})).value
        async with realtime(running, path("realtime", ""), key=key) as talk:
            seen = await talk.until("conversation.item.done")
            await talk.ask("Twice")
            await provider.sessions[-1].close(1001)
            seen += await talk.until("session.updated")
            seen += await talk.ask("Thrice")
        new = provider.sessions[-1]
        assert told(new, "session.update")[0]["session"]["instructions"] == "Canary"
        assert "Canary" not in str(seen)
        said = [event["item"]["content"][0]["text"] for event in told(new, "conversation.item.create")]
        assert (said[:2], said[-1], len(said)) == (["Once", "Twice"], "Thrice", 4)
        with anyio.fail_after(10):
            while len((await client.conversations.items.list(made.id)).data) < 5:  # noqa: ASYNC110 - the server is another process
                await anyio.sleep(0.02)
