"""A real server over our scripted Realtime provider, as OpenAI and as Azure at once."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server, serving

DEPLOYMENTS = "voice=gpt-realtime,chat=gpt-4o,scribe=gpt-4o-transcribe,interpreter=gpt-realtime-translate"
VENDOR_KEY = "sk-vendor-0123456789abcdef"


@pytest.fixture(scope="module")
async def provider() -> AsyncGenerator[RealtimeUpstream, None]:
    async with RealtimeUpstream(key=VENDOR_KEY) as provider:
        yield provider


@pytest.fixture(scope="module")
async def running(provider: RealtimeUpstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server, None]:
    settings = {
        "OPENAI_ENDPOINT": provider.url,
        "OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_API_KEY": VENDOR_KEY,
        "AZURE_OPENAI_DEPLOYMENTS": DEPLOYMENTS,
        "CHATBACKEND_TRANSCRIPTION_MODEL": "azure/scribe",
        "CHATBACKEND_LOG_LEVEL": "debug",
        "CHATBACKEND_DRAIN_S": "0.1",
    }
    async with serving(tmp_path_factory.mktemp("realtime"), settings) as server:
        yield server
