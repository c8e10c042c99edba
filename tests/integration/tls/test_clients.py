"""Realtime clients that dial wss: whatever they are told, unmodified, with no address but the server's."""

import openai
import pytest

from tests.support import sdk
from tests.support.realtime_node import talks
from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("trusted")]
DEPLOYMENT = "voice"


def azure(running: Server, version: str) -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(azure_endpoint=running.url, api_key=running.key, api_version=version)


async def test_the_sdk_of_openai_talks(running: Server) -> None:
    async with sdk.async_client(running) as client, client.realtime.connect(model="openai/realtime") as connection:
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert "response.output_text.delta" in kinds


async def test_the_sdk_of_openai_talks_beta(running: Server) -> None:
    async with sdk.async_client(running) as client, client.beta.realtime.connect(model="openai/realtime") as connection:
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert "response.text.delta" in kinds


async def test_the_sdk_of_azure_talks_ga(running: Server, provider: RealtimeUpstream) -> None:
    async with azure(running, "2025-08-28") as client, client.realtime.connect(model=DEPLOYMENT) as connection:
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert "response.output_text.delta" in kinds
    assert provider.sessions[-1].path == f"/openai/v1/realtime?model={DEPLOYMENT}"


async def test_the_sdk_of_azure_talks_beta(running: Server) -> None:
    async with (
        azure(running, "2025-04-01-preview") as client,
        client.beta.realtime.connect(model=DEPLOYMENT) as connection,
    ):
        await connection.response.create()
        kinds = [(await connection.recv()).type]
        while kinds[-1] != "response.done":
            kinds.append((await connection.recv()).type)
    assert "response.text.delta" in kinds


@pytest.mark.parametrize("kind", ["sdk", "agents"])
async def test_the_sdks_for_node_talk(running: Server, provider: RealtimeUpstream, kind: str) -> None:
    await talks(running, provider, kind)


@pytest.mark.parametrize("kind", ["azure", "azure-browser"])
async def test_azures_clients_for_node_talk(running: Server, provider: RealtimeUpstream, kind: str) -> None:
    await talks(running, provider, kind, model="voice-call-n4")


async def test_the_sdk_for_pages_talks_with_a_secret(running: Server, provider: RealtimeUpstream) -> None:
    async with sdk.async_client(running) as client:
        secret = (await client.realtime.client_secrets.create()).value
    await talks(running, provider, "browser", key=secret)
