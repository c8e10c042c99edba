"""The voice page of `examples/`, as it stands, in a browser with a microphone that beeps."""

import base64
import json
import math
import re
import struct
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support import sdk
from tests.support.browser import Page, browsing, serving_files
from tests.support.realtime_events import Event
from tests.support.realtime_upstream import RealtimeUpstream, Session
from tests.support.requires import ROOT
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio

VENDOR_KEY = "sk-vendor-0123456789abcdef"
RATE = 24000
CANARY = "The canary lives in box seven of the cellar."
MOST_LINES = 200
PAGE = ROOT / "examples" / "voice.html"
STATUS = "document.querySelector('[role=status]').textContent"
CAPTIONS = "[...document.querySelectorAll('#captions p')].map((p) => [p.dataset.role, p.textContent])"


@pytest.fixture
async def provider() -> AsyncGenerator[RealtimeUpstream, None]:
    async with RealtimeUpstream(key=VENDOR_KEY) as provider:
        yield provider


@pytest.fixture
async def server(provider: RealtimeUpstream, tmp_path: Path) -> AsyncGenerator[Server, None]:
    settings = {"OPENAI_ENDPOINT": provider.url, "OPENAI_API_KEY": VENDOR_KEY, "CHATBACKEND_DRAIN_S": "0.1"}
    async with serving(tmp_path, settings) as running:
        yield running


@pytest.fixture
async def page(tmp_path: Path) -> AsyncGenerator[Page, None]:
    async with serving_files(PAGE.parent) as site, browsing(tmp_path / "browser") as page:
        await page.open(f"{site}/{PAGE.name}")
        yield page


async def begin(page: Page, server: Server, model: str = "openai/realtime", **held: object) -> None:
    """Fill in the form as a user does, and talk."""
    async with sdk.async_client(server) as client:
        made = await client.realtime.client_secrets.create(extra_body={"chatbackend": {"user": "anna", **held}})
    given = {"url": f"{server.ws_url}/v1/realtime", "model": model, "secret": made.value}
    await page.run(
        f"Object.entries({json.dumps(given)}).forEach(([name, value]) => document.forms[0][name].value = value)"
    )
    await page.run("document.forms[0].talk.click()")


async def store(server: Server) -> str:
    """Return a vector store that knows of the canary."""
    async with sdk.async_client(server) as client:
        made = await client.vector_stores.create(name="cellar")
        file = await client.files.create(file=("canary.txt", CANARY.encode()), purpose="assistants")
        await client.vector_stores.files.create_and_poll(vector_store_id=made.id, file_id=file.id, poll_interval_ms=50)
        return made.id


def tone(seconds: float) -> str:
    """Return a tone as it goes over the wire."""
    samples = [int(8000 * math.sin(at / 10)) for at in range(int(RATE * seconds))]
    return base64.b64encode(struct.pack(f"<{len(samples)}h", *samples)).decode()


async def say(session: Session, kind: str, **fields: object) -> None:
    """Speak for the provider."""
    await session.say(json.dumps({"type": kind, "event_id": "event_said", **fields}))


async def speak(session: Session, item: str, seconds: float, *words: str) -> None:
    """Answer with sound and what it says."""
    message: Event = {"id": item, "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
    await say(session, "conversation.item.added", previous_item_id=None, item=message)
    where = {"response_id": "resp_said", "item_id": item, "output_index": 0, "content_index": 0}
    for word in words:
        await say(session, "response.output_audio_transcript.delta", delta=word, **where)
    await say(session, "response.output_audio.delta", delta=tone(seconds), **where)


async def test_what_the_microphone_hears_reaches_the_provider(
    page: Page, server: Server, provider: RealtimeUpstream
) -> None:
    await begin(page, server)
    session = await provider.session(0)
    update = await session.got_type("session.update")
    assert update["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": RATE}
    last = await session.got_type("input_audio_buffer.append", 15)
    assert len(base64.b64decode(last["audio"])) == 2 * RATE / 10
    heard = b"".join(base64.b64decode(each["audio"]) for each in session.events if "audio" in each)
    samples = struct.unpack(f"<{len(heard) // 2}h", heard)
    assert max(samples) > 1000  # a beep a second
    assert min(samples) < -1000
    assert await page.run("document.forms[0].talk.disabled")


async def test_what_is_said_is_heard_to_its_end_and_captioned_in_order(
    page: Page, server: Server, provider: RealtimeUpstream
) -> None:
    await begin(page, server)
    session = await provider.session(0)
    spoken: Event = {"id": "item_user", "type": "message", "role": "user", "content": [], "status": "completed"}
    await say(session, "conversation.item.added", previous_item_id=None, item=spoken)
    await speak(session, "item_said", 0.3, "Box ", "seven.")
    await say(
        session,
        "conversation.item.input_audio_transcription.completed",
        item_id="item_user",
        content_index=0,
        transcript="Where is it?",
        usage={"type": "duration", "seconds": 1},
    )
    await page.until(
        f"{CAPTIONS}.length === 2 && {CAPTIONS}.every(([_, text]) => text.endsWith('?') || text.endsWith('.'))"
    )
    assert await page.run(CAPTIONS) == [["user", "Where is it?"], ["assistant", "Box seven."]]
    await page.until(f"session.speaker.heard >= {int(RATE * 0.3)}")


async def test_who_speaks_into_an_answer_ends_it_where_it_was_heard(
    page: Page, server: Server, provider: RealtimeUpstream
) -> None:
    await begin(page, server)
    session = await provider.session(0)
    await speak(session, "item_long", 20.0, "Once upon a time")
    await page.until("session.speaker.sources.size === 1 && session.speaker.context.currentTime > 0.2")
    await say(session, "input_audio_buffer.speech_started", audio_start_ms=500, item_id="item_next")
    cut = await session.got_type("conversation.item.truncate")
    assert (cut["item_id"], cut["content_index"]) == ("item_long", 0)
    assert 0 <= cut["audio_end_ms"] < 20_000
    await speak(session, "item_long", 1.0)  # what was on its way
    await speak(session, "item_new", 0.1, "Yes?")
    await page.until(f"session.speaker.heard >= {int(RATE * 0.1)}")
    assert await page.run("[session.speaker.item.id, session.speaker.sources.size]") == ["item_new", 0]
    assert await page.run("session.speaker.heard") == int(RATE * 0.1)


async def test_what_comes_of_an_answer_that_was_talked_over_between_two_pieces_is_not_played(
    page: Page, server: Server, provider: RealtimeUpstream
) -> None:
    await begin(page, server)
    session = await provider.session(0)
    await speak(session, "item_torn", 0.1, "One,")
    await page.until(f"session.speaker.heard >= {int(RATE * 0.1)}")  # all of it was heard: there is nothing to cut
    await say(session, "input_audio_buffer.speech_started", audio_start_ms=500, item_id="item_next")
    await speak(session, "item_torn", 5.0, " two")
    await speak(session, "item_new", 0.2, "Yes?")
    await page.until(f"session.speaker.item.id === 'item_new' && session.speaker.heard >= {int(RATE * 0.2)}")
    assert await page.run("session.speaker.sources.size") == 0
    assert [event for event in session.events if event["type"] == "conversation.item.truncate"] == []


async def test_an_error_stands_beside_what_was_said_and_ends_nothing(
    page: Page, server: Server, provider: RealtimeUpstream
) -> None:
    await begin(page, server)
    session = await provider.session(0)
    await page.until(f"{STATUS} === 'Talk'")
    await say(session, "error", error={"type": "invalid_request_error", "message": "Not that."})
    await speak(session, "item_said", 0.1, "Go on.")
    await page.until(f"session.speaker.heard >= {int(RATE * 0.1)}")
    assert await page.run(CAPTIONS) == [["error", "Not that."], ["assistant", "Go on."]]
    assert await page.run(STATUS) == "Talk"


async def test_a_microphone_is_let_go_when_a_session_cannot_begin(page: Page, server: Server) -> None:
    await page.run("AudioWorklet.prototype.addModule = async () => { throw new DOMException('Broken', 'AbortError') }")
    await page.run(
        "const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
        "navigator.mediaDevices.getUserMedia = async (asked) => (globalThis.given = await open(asked))"
    )
    await begin(page, server)
    assert await page.until(f"!document.forms[0].talk.disabled && {STATUS}") == "AbortError: Broken"
    assert await page.run("given.getTracks().map((track) => track.readyState)") == ["ended"]


async def test_the_files_that_an_answer_was_given_are_listed(
    page: Page, server: Server, provider: RealtimeUpstream
) -> None:
    await begin(page, server, "openai/realtime-call", vector_store_ids=[await store(server)], show_sources=True)
    session = await provider.session(0)
    await session.got_type("input_audio_buffer.append")
    await page.run("session.send('response.create')")
    await page.until("document.querySelectorAll('#sources li').length")
    listed = await page.run("document.querySelector('#sources').textContent")
    assert "canary.txt" in listed
    assert CANARY in listed
    await page.until(f"{CAPTIONS}.some(([role, text]) => role === 'assistant' && text.includes(':2'))")


@pytest.mark.parametrize(
    ("code", "words"), [(1000, "The session is over. (1000"), (1001, "as long as it may. (1001: session_expired)")]
)
async def test_a_session_that_ends_says_why_and_another_can_be_begun(
    page: Page, server: Server, provider: RealtimeUpstream, *, code: int, words: str
) -> None:
    await begin(page, server)
    session = await provider.session(0)
    await page.until(f"{STATUS} === 'Talk'")
    await session.close(code, "session_expired" if code == 1001 else "")
    assert words in await page.until(f"!document.forms[0].talk.disabled && {STATUS}")
    assert await page.run("session.speaker.context.state") == "closed"
    await begin(page, server)
    await (await provider.session(1)).got_type("input_audio_buffer.append")


async def test_why_a_provider_refuses_is_told(page: Page, server: Server) -> None:
    await begin(page, server, "openai/realtime-status-429")
    assert "too slow now. (1013" in await page.until(f"!document.forms[0].talk.disabled && {STATUS}")
    [[role, why]] = await page.run(CAPTIONS)
    assert (role, bool(why)) == ("error", True)


async def test_a_secret_that_is_none_is_told(page: Page, server: Server) -> None:
    given = {"url": f"{server.ws_url}/v1/realtime", "secret": "ek_none"}
    await page.run(
        f"Object.entries({json.dumps(given)}).forEach(([name, value]) => document.forms[0][name].value = value)"
    )
    await page.run("document.forms[0].talk.click()")
    assert "was refused or is lost. (1006)" in await page.until(f"!document.forms[0].talk.disabled && {STATUS}")


async def test_who_gives_no_microphone_is_told(page: Page, server: Server) -> None:
    await page.run(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('Not now', 'NotAllowedError') }"
    )
    await begin(page, server)
    assert await page.until(f"!document.forms[0].talk.disabled && {STATUS}") == "NotAllowedError: Not now"


def test_the_page_is_small_and_speaks_to_nobody_else() -> None:
    source = PAGE.read_text("utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    assert re.findall(r"(?:https?|wss?)://[^/\"]+", source) == ["ws://127.0.0.1:8000"]
