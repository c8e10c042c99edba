"""Every handshake that real clients make: who is let in, what is echoed, what the provider is asked for."""

import openai
import pytest
from websockets.exceptions import InvalidStatus

from tests.integration.realtime.conftest import VENDOR_KEY
from tests.support import sdk
from tests.support.realtime_client import realtime
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server

pytestmark = pytest.mark.anyio
Query = dict[str, str]
GA = "/v1/realtime?model="


async def refusal(running: Server, path: str, *, key: str | None = None, origin: str | None = None) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        async with realtime(running, path, key=key, origin=origin):
            pass
    response = caught.value.response
    assert b'"error"' in bytes(response.body or b"")
    return response.status_code, bytes(response.body or b"").decode()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (f"{GA}openai/realtime-1", "/v1/realtime?model=realtime-1"),
        (f"{GA}azure/voice", "/openai/v1/realtime?model=voice"),
        (f"{GA}voice", "/openai/v1/realtime?model=voice"),
        ("/openai/v1/realtime?model=voice", "/openai/v1/realtime?model=voice"),
        ("/openai/realtime?api-version=2025-08-28&deployment=voice", "/openai/v1/realtime?model=voice"),
        (f"{GA}openai%2Frealtime%20%26x", "/v1/realtime?model=realtime%20%26x"),
    ],
)
async def test_a_model_is_asked_for_by_its_providers_name(
    running: Server, provider: RealtimeUpstream, path: str, asked: str
) -> None:
    number = len(provider.sessions)
    async with realtime(running, path) as client:
        assert (await client.recv())["type"] == "session.created"
    assert (await provider.session(number)).path == asked


@pytest.mark.parametrize("header", ["authorization", "api-key"])
async def test_a_client_proves_itself_by_either_header_and_the_provider_gets_our_key_alone(
    running: Server, provider: RealtimeUpstream, header: str
) -> None:
    number = len(provider.sessions)
    value = f"Bearer {running.key}" if header == "authorization" else running.key
    sent = {header: value, "x-stainless-lang": "python", "cookie": "a=b", "x-custom": "mine"}
    async with realtime(running, f"{GA}azure/voice", key="", headers=sent) as client:
        await client.recv()
    got = dict((await provider.session(number)).headers.raw_items())
    assert got.pop("api-key") == VENDOR_KEY
    assert running.key not in str(got)
    assert not {"authorization", "x-stainless-lang", "cookie", "x-custom", "sec-websocket-extensions"} & {
        name.lower() for name in got
    }


async def test_only_the_subprotocol_realtime_is_echoed(running: Server) -> None:
    secret = await _secret(running)
    offered = ["realtime", f"openai-insecure-api-key.{secret}", "openai-organization.org_1", "openai-project.p"]
    async with realtime(running, f"{GA}openai/realtime", key="", offered=offered) as client:
        assert client.connection.subprotocol == "realtime"
        assert (await client.recv())["type"] == "session.created"


async def _secret(running: Server, **binding: object) -> str:
    async with sdk.async_client(running) as client:
        made = await client.realtime.client_secrets.create(extra_body={"chatbackend": binding})
        return made.value


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/realtime", 400, "missing_required_parameter"),
        ("/openai/realtime?api-version=2025-08-28", 400, "missing_required_parameter"),
        (f"{GA}openai/realtime&call_id=rtc_1", 400, "unsupported_parameter"),
        ("/v1/realtime?call_id=rtc_1", 404, "call_not_found"),
        (f"{GA}openai/realtime&intent=transcription", 400, "unsupported_by_model"),
        (f"{GA}openai/realtime&intent=translation", 400, "unsupported_value"),
        (f"{GA}azure/scribe", 400, "unsupported_by_model"),
        (f"{GA}azure/nothing", 404, "model_not_found"),
        (f"{GA}openai/realtime&model=openai/realtime-2", 400, "several values"),
        ("/v1/realtime/nothing?model=openai/realtime", 404, "unknown_url"),
    ],
)
async def test_what_cannot_be_is_refused_before_the_upgrade(running: Server, path: str, status: int, code: str) -> None:
    got, body = await refusal(running, path)
    assert (got, code in body) == (status, True)


async def test_who_is_not_known_is_refused_before_the_upgrade(running: Server, provider: RealtimeUpstream) -> None:
    before = len(provider.handshakes)
    assert (await refusal(running, f"{GA}openai/realtime", key="sk-cb-wrong"))[0] == 401
    assert (await refusal(running, f"{GA}openai/realtime", key=""))[0] == 401
    assert (await refusal(running, f"{GA}openai/realtime", origin="https://evil.example"))[0] == 403
    assert len(provider.handshakes) == before


async def test_a_secret_opens_only_the_models_that_it_is_for(running: Server) -> None:
    secret = await _secret(running, models=["openai/realtime"])
    assert (await refusal(running, f"{GA}azure/voice", key=secret))[0] == 403
    async with realtime(running, f"{GA}openai/realtime", key=secret) as client:
        assert (await client.recv())["session"]["model"] == "openai/realtime"


async def test_the_sdk_of_openai_talks_ga(running: Server) -> None:
    async with sdk.async_client(running) as client, client.realtime.connect(model="openai/realtime") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.response.create()
        text = ""
        async for event in connection:
            if event.type == "response.output_text.delta":
                text += event.delta
            if event.type == "response.done":
                break
    assert len(text.split()) == 3


async def test_the_sdk_of_openai_talks_beta(running: Server) -> None:
    client = openai.AsyncOpenAI(
        base_url=running.base_url, api_key=running.key, websocket_base_url=f"{running.ws_url}/v1"
    )
    async with client, client.beta.realtime.connect(model="openai/realtime") as connection:
        await connection.session.update(session={"modalities": ["text"], "temperature": 0.7})
        await connection.response.create()
        text, kinds = "", list[str]()
        async for event in connection:
            kinds.append(event.type)
            assert event.type != "error", event
            if event.type == "response.text.delta":
                text += event.delta
            if event.type == "response.done":
                assert event.response.modalities == ["text", "audio"]
                break
    assert len(text.split()) == 3
    assert kinds[:2] == ["session.created", "session.updated"]
    assert "conversation.item.created" in kinds
    assert not {kind for kind in kinds if "output_" in kind and "output_item" not in kind}


def azure(running: Server, version: str) -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(
        azure_endpoint=running.url,
        websocket_base_url=f"{running.ws_url}/openai",
        api_key=running.key,
        api_version=version,
    )


async def test_the_sdk_of_azure_talks_ga_by_a_version_that_is_no_preview(running: Server) -> None:
    async with azure(running, "2025-08-28") as client, client.realtime.connect(model="voice") as connection:
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert "response.output_text.delta" in kinds


async def test_the_sdk_of_azure_talks_beta_by_a_preview_version(running: Server) -> None:
    async with (
        azure(running, "2025-04-01-preview") as client,
        client.beta.realtime.connect(model="voice") as connection,
    ):
        await connection.session.update(session={"instructions": "Be brief.", "turn_detection": {"type": "server_vad"}})
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert "response.text.delta" in kinds
    assert "error" not in kinds
