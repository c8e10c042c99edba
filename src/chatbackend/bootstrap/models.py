"""Models composed: every family whose endpoint is set, and the built-in one."""

from collections.abc import Callable
from functools import partial

import aiohttp

from chatbackend.adapters.providers.codec import endpoint_url
from chatbackend.config import Settings
from chatbackend.infra.models.catalog import Catalog
from chatbackend.infra.models.chat_relay import ChatRelay
from chatbackend.infra.models.credentials import fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.local_model import LocalModel
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
        codec, credential = family.codec(family.profile), fixed(family.authorise(key))
        model = HttpModel(session, base_url=endpoint, codec=codec, credential=credential)
        url = endpoint_url(endpoint, "/chat/completions")
        relay = ChatRelay(lean, codec, url=url, credential=credential) if family.relays else None
        names = settings.models(family.variable)
        deployments += [_deployment(family, model, relay, name) for name in names]
        if not names:
            open_families[family.name] = partial(_deployment, family, model, relay)
    return Catalog(deployments, open_families)


def _deployment(family: Family, model: HttpModel, relay: ChatRelay | None, name: str) -> Deployment:
    return Deployment(f"{family.name}/{name}", family.name, name, model, relay)
