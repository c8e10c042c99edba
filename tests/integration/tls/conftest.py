"""A real server with a certificate, over our scripted providers; SDKs trust it as programs do, by the system."""

from collections.abc import AsyncGenerator

import pytest

from tests.support.realtime_upstream import RealtimeUpstream
from tests.support.server import Server, serving
from tests.support.tls import certificate
from tests.support.upstream import Upstream


@pytest.fixture(scope="module")
async def provider() -> AsyncGenerator[RealtimeUpstream, None]:
    async with RealtimeUpstream() as provider:
        yield provider


@pytest.fixture(scope="module")
async def running(
    provider: RealtimeUpstream, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Server, None]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = certificate(folder, "127.0.0.1")
    settings = {
        "CHATBACKEND_TLS_CERT": str(cert),
        "CHATBACKEND_TLS_KEY": str(key),
        "LLAMA31_ENDPOINT": upstream.url,
        "OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_ENDPOINT": provider.url,
        "AZURE_OPENAI_DEPLOYMENTS": "voice=gpt-realtime,voice-call-n4=gpt-realtime",
        "AZURE_OPENAI_API_KEY": "sk-vendor-0123456789",
        "CHATBACKEND_DRAIN_S": "0.1",
        "CHATBACKEND_MAX_CONNECTIONS": "16",
    }
    async with serving(folder, settings) as server:
        yield server


@pytest.fixture
def trusted(running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", running.certificate or "")
