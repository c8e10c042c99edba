"""Models composed: every family whose endpoint is set, and the built-in one."""

from collections.abc import Callable
from functools import partial

import aiohttp

from chatbackend.adapters.providers.codec import Codec
from chatbackend.config import Settings
from chatbackend.infra.models.catalog import Catalog
from chatbackend.infra.models.chat_relay import ChatRelay
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.local_model import LocalModel
from chatbackend.infra.models.timeouts import Timeouts
from chatbackend.infra.registry import FAMILIES, Family
from chatbackend.usecases.ports import Deployment


def models(settings: Settings, session: aiohttp.ClientSession, lean: LeanClient) -> Catalog:
    """Return the models of every family whose endpoint is set, and the built-in one."""
    deployments = [Deployment("local", "chatbackend", "local", LocalModel())]
    open_families: dict[str, Callable[[str], Deployment]] = {}
    for family in FAMILIES:
        endpoint = settings.endpoint(family.variable)
        if endpoint is None:
            continue
        key = settings.key(family.key_variables)
        codec = family.codec(key, family.profile)
        model = HttpModel(session, base_url=endpoint, codec=codec, timeouts=Timeouts())
        relay = _relay(lean, codec, endpoint, key) if family.relays else None
        names = settings.models(family.variable)
        deployments += [_deployment(family, model, relay, name) for name in names]
        if not names:
            open_families[family.name] = partial(_deployment, family, model, relay)
    return Catalog(deployments, open_families)


def _relay(client: LeanClient, codec: Codec, endpoint: str, key: str) -> ChatRelay:
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    return ChatRelay(client, codec, base_url=endpoint, headers=headers, timeouts=Timeouts())


def _deployment(family: Family, model: HttpModel, relay: ChatRelay | None, name: str) -> Deployment:
    return Deployment(f"{family.name}/{name}", family.name, name, model, relay)
