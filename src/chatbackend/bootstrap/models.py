"""Models composed: every family whose endpoint is set, and the built-in one."""

from collections.abc import Callable
from functools import lru_cache, partial

import aiohttp

from chatbackend.adapters.providers.family import Address, Family, profile_of
from chatbackend.adapters.settings_file import SettingsFile
from chatbackend.config import Settings
from chatbackend.infra.embedding.minilm import MiniLM
from chatbackend.infra.models.catalog import Catalog
from chatbackend.infra.models.chat_relay import ChatRelay
from chatbackend.infra.models.credentials import Credential, fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.local_embeddings import LocalEmbeddings
from chatbackend.infra.models.local_model import LocalModel
from chatbackend.infra.models.token_counter import RelayedCounter
from chatbackend.infra.registry import FAMILIES
from chatbackend.usecases.ports import Api, Deployment, Relay

NAMES_KEPT = 1024  # of a provider that takes any name


def models(
    settings: Settings,
    file: SettingsFile,
    session: aiohttp.ClientSession,
    lean: LeanClient,
    *,
    embedder: MiniLM | None,
) -> Catalog:
    """Return the models of every family whose endpoint is set, the built-in one, and the routes to them.

    Raises: ValueError for a route or an alias that leads nowhere.
    """
    relays: dict[Api, Relay] = {}
    if embedder is not None:
        relays["embeddings"] = LocalEmbeddings(embedder)
    deployments = [Deployment("local", "chatbackend", "local", LocalModel(), relays)]
    open_families: dict[str, Callable[[str], Deployment]] = {}
    for family in FAMILIES:
        endpoint = settings.endpoint(family.variable)
        if endpoint is None:
            continue
        credential = fixed(family.authorise(settings.key(family.key_variables)))
        provider = _Provider(family, endpoint, settings, credential=credential, session=session, lean=lean)
        names = settings.models(family.variable)
        deployments += map(provider.deployment, names)
        if not names:
            open_families[family.name] = lru_cache(NAMES_KEPT)(provider.deployment)
    return Catalog(deployments, open_families, routes=file.routes, aliases=file.aliases, rules=file.rules)


class _Provider:
    """A configured family, which makes its deployments."""

    def __init__(
        self,
        family: Family,
        endpoint: str,
        settings: Settings,
        *,
        credential: Credential,
        session: aiohttp.ClientSession,
        lean: LeanClient,
    ) -> None:
        self._family = family
        self._endpoint = endpoint
        self._api = settings.api(family.variable)
        self._version = settings.api_version(family.variable)
        self._credential = credential
        self._session = session
        self._lean = lean

    def deployment(self, said: str) -> Deployment:
        """Return the deployment of a name, or of `name=model`, where the name does not say which model it is."""
        name, _, model = said.partition("=")
        family = self._family
        codec = family.codec_for(self._api, profile_of(family, model or name))
        url = partial(family.url, Address(self._endpoint, name, self._version))
        http = HttpModel(self._session, url=url, codec=codec, credential=self._credential)

        def relay(path: str) -> ChatRelay:
            return ChatRelay(self._lean, codec, url=url(path), credential=self._credential)

        relays: dict[Api, Relay] = {api: relay(path) for api, path in family.relays.items()}
        counting, counter = family.counting, None
        if counting is not None:
            counter = RelayedCounter(relay(counting.path), counting, codec.profile)
        return Deployment(f"{family.name}/{name}", family.name, name, http, relays, counter)
