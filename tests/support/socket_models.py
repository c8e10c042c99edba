"""Models on sockets, made as the composition makes them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.domain.models import ModelProfile
from chatbackend.infra.models.credentials import Credential, fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.socket_model import SocketModel
from chatbackend.infra.models.socket_pool import SocketPool
from tests.support.asking import Asked

CODEC = ResponsesCodec(ModelProfile())
SECRET = "sk-never-to-be-seen"  # of nobody
KEY = fixed({"authorization": f"Bearer {SECRET}"})


@asynccontextmanager
async def pooled(client: LeanClient, **limits: Any) -> AsyncGenerator[SocketPool]:  # noqa: ANN401  # any limit
    """Keep a pool while entered."""
    async with SocketPool(lambda: client.tls, **limits) as pool:
        yield pool


def model(client: LeanClient, pool: SocketPool, base: str, credential: Credential = KEY) -> Asked:
    """Return a model at an address, which falls back to HTTP there."""
    url = partial(endpoint_url, base)
    http = HttpModel(client, url=url, codec=CODEC, credential=credential)
    return Asked(SocketModel(pool, http, url=url, codec=CODEC, credential=credential))
