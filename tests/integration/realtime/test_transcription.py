"""Sessions for transcription alone, by the unmodified SDK: what is said is written down, and nobody answers."""

from pathlib import Path
from typing import Any

import openai
import pytest
from openai.resources.beta.realtime.realtime import AsyncRealtimeConnection as BetaConnection
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.realtime import (
    AudioTranscriptionParam,
    RealtimeSessionCreateRequestParam,
    RealtimeTranscriptionSessionCreateRequestParam,
)

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.integration.realtime.test_relay import settled
from tests.support import sdk
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server, serving

pytestmark = pytest.mark.anyio
INTENT = {"intent": "transcription"}
HEARD = "conversation.item.input_audio_transcription.completed"


def configured(model: str | None = None) -> RealtimeTranscriptionSessionCreateRequestParam:
    heard: AudioTranscriptionParam = {"language": "en"}
    if model is not None:
        heard["model"] = model
    return {"type": "transcription", "audio": {"input": {"transcription": heard}}}


def heard_by(provider: RealtimeUpstream) -> str | None:
    """Return the model that the provider has written down by."""
    return provider.sessions[-1].spelling.session["audio"]["input"]["transcription"]["model"]


async def written_down(connection: AsyncRealtimeConnection | BetaConnection) -> list[Any]:
    """Say something; return the events up to what was written down."""
    await connection.input_audio_buffer.append(audio="AAAA")
    await connection.input_audio_buffer.commit()
    events = [await connection.recv()]
    while events[-1].type != HEARD:
        assert events[-1].type != "error", events[-1]
        events.append(await connection.recv())
    return events


@pytest.mark.parametrize(
    ("named", "told"),
    [
        (None, None),
        (None, "scribe"),
        ("openai/gpt-4o-transcribe", None),
        ("openai/gpt-4o-transcribe", "whisper-1"),
    ],
)
async def test_the_sdk_has_sound_written_down(
    running: Server, provider: RealtimeUpstream, named: str | None, told: str | None
) -> None:
    asked = told or named or "azure/scribe"
    who: dict[str, Any] = {} if named is None else {"model": named}
    async with (
        sdk.async_client(running) as client,
        client.realtime.connect(**who, extra_query=INTENT) as connection,
    ):
        created: Any = await connection.recv()
        assert (created.type, created.session.type) == ("session.created", "transcription")
        await connection.session.update(session=configured(told))
        updated: Any = await connection.recv()
        assert updated.session.audio.input.transcription.model == asked
        events = await written_down(connection)
        assert events[-1].transcript == "What was said."
        await connection.response.create()
        refused: Any = await connection.recv()
        assert refused.type == "error"
    path = "/openai/v1/realtime" if named is None else "/v1/realtime"
    assert provider.sessions[-1].path == f"{path}?intent=transcription"
    assert heard_by(provider) == asked.rpartition("/")[2]


async def test_what_was_written_down_is_billed_once_under_its_model(running: Server) -> None:
    async with (
        sdk.async_client(running) as client,
        client.realtime.connect(model="openai/whisper-billed", extra_query=INTENT) as connection,
    ):
        await connection.session.update(session=configured())
        await written_down(connection)
        await written_down(connection)
    row = ("completed", 21, 4, 0, 0)
    assert await settled(running, "openai/whisper-billed", 2) == [row, row]


async def test_a_model_of_another_provider_or_none_is_refused(running: Server, provider: RealtimeUpstream) -> None:
    async with (
        sdk.async_client(running) as client,
        client.realtime.connect(model="azure/scribe", extra_query=INTENT) as connection,
    ):
        await connection.recv()
        for name in ("openai/whisper-1", "azure/voice", "nothing"):
            await connection.session.update(session=configured(name))
            refused: Any = await connection.recv()
            assert (refused.type, refused.error.code) == ("error", "model_not_allowed")
    assert provider.sessions[-1].received == []


async def secret(
    running: Server, session: RealtimeSessionCreateRequestParam | RealtimeTranscriptionSessionCreateRequestParam
) -> str:
    async with sdk.async_client(running) as client:
        made = await client.realtime.client_secrets.create(session=session)
        return made.value


async def test_a_secret_opens_sessions_for_transcription_alone(running: Server, provider: RealtimeUpstream) -> None:
    made = await secret(running, configured("azure/scribe"))
    async with sdk.async_client(running, made) as client:
        async with client.realtime.connect() as connection:
            created: Any = await connection.recv()
            assert (created.type, created.session.type) == ("session.created", "transcription")
            assert created.session.audio.input.transcription.model == "azure/scribe"
            assert (await written_down(connection))[-1].transcript == "What was said."
            await connection.session.update(session=configured("scribe"))
            refused: Any = await connection.recv()
            assert refused.error.code == "model_not_allowed"
        assert heard_by(provider) == "scribe"
        with pytest.raises(Exception, match="403"):
            async with client.realtime.connect(model="azure/voice"):
                pass
    other = await secret(running, {"type": "realtime", "model": "azure/voice"})
    async with sdk.async_client(running, other) as client:
        with pytest.raises(Exception, match="403"):
            async with client.realtime.connect(extra_query=INTENT):
                pass


async def test_a_page_has_sound_written_down(running: Server) -> None:
    made = await secret(running, configured("azure/scribe"))
    offered = ["realtime", f"openai-insecure-api-key.{made}"]
    async with realtime(running, "/v1/realtime", key="", offered=offered) as client:
        assert (await client.recv())["session"]["type"] == "transcription"


async def test_the_sdk_of_beta_has_sound_written_down(running: Server, provider: RealtimeUpstream) -> None:
    client = openai.AsyncOpenAI(
        base_url=running.base_url, api_key=running.key, websocket_base_url=f"{running.ws_url}/v1"
    )
    async with (
        client,
        client.beta.realtime.connect(model="openai/gpt-4o-transcribe", extra_query=INTENT) as connection,
    ):
        created: Any = await connection.recv()
        assert created.type == "transcription_session.created"
        flat: Any = {"input_audio_format": "pcm16", "input_audio_transcription": {"model": "gpt-4o-mini-transcribe"}}
        await connection.transcription_session.update(session=flat)
        updated: Any = await connection.recv()
        assert updated.type == "transcription_session.updated"
        assert updated.session.input_audio_transcription.model == "gpt-4o-mini-transcribe"
        kinds = [event.type for event in await written_down(connection)]
        assert "conversation.item.created" in kinds
    sent = provider.sessions[-1].events[0]
    assert (sent["type"], sent["session"]["type"]) == ("session.update", "transcription")


async def test_a_session_that_answers_refuses_what_is_for_transcription(running: Server) -> None:
    async with realtime(running, "/v1/realtime?model=openai/realtime") as client:
        await client.recv()
        await client.send({"type": "transcription_session.update", "session": {}})
        assert (await client.recv())["error"]["code"] == "unsupported_event"
        await client.send({"type": "session.update", "session": {"type": "transcription"}})
        assert "not allowed" in (await client.recv())["error"]["message"]
    assert VENDOR_KEY not in running.log()


@pytest.mark.parametrize("preview", [False, True])
async def test_azures_preview_writes_down_for_clients_of_either_dialect(
    provider: RealtimeUpstream,
    tmp_path: Path,
    preview: bool,  # noqa: FBT001 - a case
) -> None:
    settings = {
        "AZURE_OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_DEPLOYMENTS": "scribe=gpt-4o-transcribe",
        "AZURE_OPENAI_REALTIME_API_VERSION": "2025-04-01-preview",
    }
    version = "api-version=2025-04-01-preview&intent=transcription"
    path = (
        f"/openai/realtime?{version}&deployment=scribe" if preview else "/v1/realtime?intent=transcription&model=scribe"
    )
    mark, nested = ("transcription_", False) if preview else ("", True)
    heard = {"transcription": {"model": "azure/scribe"}}
    flat = {"input_audio_transcription": {"model": "azure/scribe"}}
    session = {"type": "transcription", "audio": {"input": heard}} if nested else flat
    async with serving(tmp_path, settings) as server, realtime(server, path, checked=nested) as client:
        assert (await client.recv())["type"] == f"{mark}session.created"
        await client.send({"type": f"{mark}session.update", "session": session})
        shown = (await client.recv())["session"]
        assert (shown["audio"]["input"]["transcription"] if nested else shown["input_audio_transcription"]) == {
            "model": "azure/scribe"
        }
        await client.send({"type": "input_audio_buffer.commit"})
        assert (await client.until(HEARD))[-1]["transcript"] == "What was said."
    assert provider.sessions[-1].path == f"/openai/realtime?{version}"
    assert provider.sessions[-1].spelling.session["input_audio_transcription"] == {"model": "scribe"}
