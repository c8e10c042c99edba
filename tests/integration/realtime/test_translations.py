"""Live translations by the unmodified SDK: what is said in one language comes back in another."""

from typing import Any

import pytest
from openai import APIStatusError
from openai.lib.realtime_translation import AsyncTranslationConnection, AsyncTranslationSession
from openai.types.realtime import RealtimeTranslationClientSecretCreateResponse

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.integration.realtime.test_relay import rows, settled
from tests.support import sdk
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server

pytestmark = pytest.mark.anyio
AT = "/v1/realtime/translations?model="


async def spoken(connection: AsyncTranslationConnection, *sounds: str) -> list[Any]:
    """Say these and be done; return the events up to the end."""
    for sound in sounds:
        await connection.send({"type": "session.input_audio_buffer.append", "audio": sound})
    await connection.send({"type": "session.close"})
    events: list[Any] = [await connection.recv()]
    while events[-1].type != "session.closed":
        assert events[-1].type != "error", events[-1]
        events.append(await connection.recv())
    return events


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("openai/gpt-realtime-translate", "/v1/realtime/translations?model=gpt-realtime-translate"),
        ("interpreter", "/openai/v1/realtime/translations?model=interpreter"),
    ],
)
async def test_the_sdk_has_what_is_said_translated(
    running: Server, provider: RealtimeUpstream, model: str, path: str
) -> None:
    async with sdk.async_client(running) as client:
        async with AsyncTranslationSession(client.realtime.translations, model=model) as connection:
            created: Any = await connection.recv()
            assert (created.type, created.session.type) == ("session.created", "translation")
            assert created.session.model == model
            await connection.send({"type": "session.update", "session": {"audio": {"output": {"language": "fr"}}}})
            updated: Any = await connection.recv()
            assert updated.session.audio.output.language == "fr"
            events = await spoken(connection, "AAAA", "BBBB")
        assert [event.delta for event in events if event.type == "session.output_audio.delta"] == ["AAAA", "BBBB"]
    session = provider.sessions[-1]
    assert session.path == path
    got = dict((await provider.session(len(provider.sessions) - 1)).headers.raw_items())
    assert running.key not in str(got)
    assert VENDOR_KEY not in running.log()


async def test_a_translation_has_one_row_which_is_an_estimate(running: Server) -> None:
    name = "openai/gpt-realtime-translate-billed"
    async with sdk.async_client(running) as client:
        async with AsyncTranslationSession(client.realtime.translations, model=name) as connection:
            wanted: Any = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
            await connection.send({"type": "session.update", "session": wanted})
            await spoken(connection, "AAAA", "AAAA", "AAAA")
        async with client.realtime.translations.connect(model=name) as cut:
            await cut.recv()
            await cut.session.input_audio_buffer.append(audio="AAAA")
            while (await cut.recv()).type != "session.output_audio.delta":
                pass
    assert await settled(running, name, 2) == [("completed", 3, 3, 0, 1), ("cancelled", 0, 1, 0, 1)]
    assert rows(running, "openai/whisper-1") == []


async def test_who_writes_down_is_told_by_the_providers_name(running: Server, provider: RealtimeUpstream) -> None:
    async with realtime(running, f"{AT}interpreter", checked=False) as client:
        await client.recv()
        for name, shown in (("azure/scribe", "azure/scribe"), ("scribe", "scribe")):
            heard = {"audio": {"input": {"transcription": {"model": name}}}}
            await client.send({"type": "session.update", "session": heard})
            assert (await client.recv())["session"]["audio"]["input"]["transcription"]["model"] == shown
            assert provider.sessions[-1].events[-1]["session"] == {
                "audio": {"input": {"transcription": {"model": "scribe"}}}
            }
        for session, code in (
            ({"model": "gpt-5"}, "model_not_allowed"),
            ({"audio": {"input": {"transcription": {"model": "openai/whisper-1"}}}}, "model_not_allowed"),
        ):
            await client.send({"type": "session.update", "session": session})
            assert (await client.recv())["error"]["code"] == code


async def test_a_secret_for_translations_begins_them_and_opens_nothing_else(
    running: Server, provider: RealtimeUpstream
) -> None:
    begun: Any = {
        "model": "interpreter",
        "audio": {"output": {"language": "es"}, "input": {"transcription": {"model": "azure/scribe"}}},
    }
    async with sdk.async_client(running) as client:
        made = await client.realtime.translations.client_secrets.create(session=begun)
    assert isinstance(made, RealtimeTranslationClientSecretCreateResponse)
    assert (made.session.type, made.session.model) == ("translation", "interpreter")
    async with sdk.async_client(running, made.value) as client:
        async with AsyncTranslationSession(client.realtime.translations, model="interpreter") as connection:
            created: Any = await connection.recv()
            assert (created.type, created.session.audio.output.language) == ("session.created", "es")
            assert created.session.audio.input.transcription.model == "azure/scribe"
            assert "Guten Tag" in [getattr(event, "delta", "") for event in await spoken(connection, "AAAA")]
        for connect in (
            client.realtime.connect(model="interpreter"),
            client.realtime.connect(model="interpreter", extra_query={"intent": "transcription"}),
            client.realtime.translations.connect(model="openai/gpt-realtime-translate"),
        ):
            with pytest.raises(Exception, match="403"):
                async with connect:
                    pass
    assert provider.sessions[-1].events[0]["session"] == {
        "audio": {"output": {"language": "es"}, "input": {"transcription": {"model": "scribe"}}}
    }


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"audio": {}}, "session.model"),
        ({"model": "m", "type": "realtime"}, "session.type"),
    ],
)
async def test_a_secret_for_translations_names_its_model(running: Server, session: object, param: str) -> None:
    wanted: Any = session
    async with sdk.async_client(running) as client:
        with pytest.raises(APIStatusError) as refused:
            await client.realtime.translations.client_secrets.create(session=wanted)
    assert (refused.value.status_code, refused.value.param) == (400, param)


@pytest.mark.parametrize("model", ["azure/voice", "local", "openai/gpt-realtime-translate&intent=transcription"])
async def test_a_model_that_does_not_translate_is_refused_before_the_upgrade(running: Server, model: str) -> None:
    with pytest.raises(Exception, match="400"):
        async with realtime(running, f"{AT}{model}"):
            pass
