"""Models composed: every family whose endpoint is set, and the built-in one."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from typing import Any

from chatbackend.adapters.providers.codec import Codec
from chatbackend.adapters.providers.family import Address, Family, overridden, profile_of
from chatbackend.adapters.settings_file import SettingsFile
from chatbackend.config import BadSetting, Settings
from chatbackend.domain.errors import NotFound
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.realtime import SessionKind
from chatbackend.infra.embedding.minilm import MiniLM
from chatbackend.infra.models.catalog import Catalog
from chatbackend.infra.models.credentials import Credential, fixed
from chatbackend.infra.models.http_model import HttpModel
from chatbackend.infra.models.http_relay import HttpRelay
from chatbackend.infra.models.lean_client import LeanClient
from chatbackend.infra.models.local_embeddings import LocalEmbeddings
from chatbackend.infra.models.local_model import LocalModel
from chatbackend.infra.models.realtime_calls import ProviderCalls
from chatbackend.infra.models.realtime_upstream import RealtimeUpstream
from chatbackend.infra.models.socket_model import SocketModel
from chatbackend.infra.models.socket_pool import SocketPool
from chatbackend.infra.models.token_counter import RelayedCounter
from chatbackend.infra.registry import FAMILIES, installed
from chatbackend.usecases.ports import Api, Deployment, Model, Relay
from chatbackend.usecases.realtime_ports import RealtimeApi, RealtimeModel

Profiles = Mapping[str, Mapping[str, Any]]

NAMES_KEPT = 1024  # of a provider that takes any name


def models(
    settings: Settings,
    file: SettingsFile,
    client: LeanClient,
    *,
    sockets: SocketPool,
    embedder: MiniLM | None,
    stack: AsyncExitStack,
) -> Catalog:
    """Return the models of every family whose endpoint is set, the built-in one, and the routes to them.

    `stack` closes what they hold. Raises: ValueError for a route, an alias or a profile that leads nowhere; BadSetting.
    """
    _check_facts(file.profiles)
    relays: dict[Api, Relay] = {}
    if embedder is not None:
        relays["embeddings"] = LocalEmbeddings(embedder)
    deployments = [Deployment("local", "chatbackend", "local", LocalModel(), relays)]
    open_families: dict[str, Callable[[str], Deployment]] = {}
    for family in configured(settings):
        credential = _credential(family, settings.key(family.key_variables), stack)
        provider = _Provider(family, settings, file.profiles, credential=credential, client=client, sockets=sockets)
        names = settings.models(family.variable)
        deployments += map(provider.deployment, names)
        if not names:
            open_families[family.name] = lru_cache(NAMES_KEPT)(provider.deployment)
    catalog = Catalog(deployments, open_families, routes=file.routes, aliases=file.aliases, rules=file.rules)
    _check_names(file.profiles, catalog)
    return catalog


def configured(settings: Settings) -> list[Family]:
    """Return the families whose endpoint is set. Raises: BadSetting for an installed one that cannot be had."""
    try:
        known = [*FAMILIES, *installed(settings.installed)]
    except ValueError as error:
        raise BadSetting(f"{error}.") from error
    return [family for family in known if settings.endpoint(family.variable) is not None]


def _credential(family: Family, key: str, stack: AsyncExitStack) -> Credential:
    """Return what proves who calls: the key, or, where there is none and the family takes them, tokens of Entra ID."""
    if key or family.token_scope is None:
        return fixed(family.authorise(key))
    from chatbackend.infra.models.entra import EntraCredential, default_source  # noqa: PLC0415 - slow, and few need it

    source = default_source()
    stack.push_async_callback(source.close)
    return EntraCredential(source, family.token_scope)


def _check_facts(profiles: Profiles) -> None:
    """Find mistakes in the file's profiles. Raises: ValueError naming the place."""
    for name, said in profiles.items():
        try:
            overridden(ModelProfile(), said)
        except ValueError as error:
            raise ValueError(f'profiles."{name}": {error}') from error


def _check_names(profiles: Profiles, catalog: Catalog) -> None:
    """Find profiles that no deployment has. Raises: ValueError naming the place."""
    for name in profiles:
        try:
            found = catalog.find(name).name
        except NotFound as error:
            raise ValueError(f"profiles: {error.message}") from error
        if found != name:
            raise ValueError(f'profiles."{name}": use the full name "{found}"')


class _Provider:
    """A configured family, which makes its deployments."""

    def __init__(
        self,
        family: Family,
        settings: Settings,
        profiles: Profiles,
        *,
        credential: Credential,
        client: LeanClient,
        sockets: SocketPool,
    ) -> None:
        self._sockets = sockets
        self._over_sockets = settings.over_sockets(family.variable)
        self._family = family
        self._profiles = profiles
        self._endpoint = settings.endpoint(family.variable) or ""
        self._api = settings.api(family.variable)
        self._version = settings.api_version(family.variable)
        self._realtime_version = settings.realtime_api_version(family.variable)
        self._credential = credential
        self._client = client

    def deployment(self, said: str) -> Deployment:
        """Return the deployment of a name, or of `name=model`, where the name does not say which model it is."""
        name, _, model = said.partition("=")
        family = self._family
        profile = overridden(profile_of(family, model or name), self._profiles.get(f"{family.name}/{name}", {}))
        codec = family.codec_for(self._api, profile)
        url = partial(family.url, Address(self._endpoint, name, self._version))
        asked: Model = HttpModel(self._client, url=url, codec=codec, credential=self._credential)
        if self._over_sockets and family.socket_codec is not None:
            spoken = family.socket_codec(profile)
            asked = SocketModel(self._sockets, asked, url=url, codec=spoken, credential=self._credential)

        def relay(path: str) -> HttpRelay:
            return HttpRelay(self._client, codec, url=url(path), credential=self._credential)

        relays: dict[Api, Relay] = {api: relay(path) for api, path in family.relays.items()}
        counting, counter = family.counting, None
        if counting is not None:
            counter = RelayedCounter(relay(counting.path), counting, codec.profile)
        sessions = self._sessions(name, profile)
        realtime = RealtimeApi(sessions, self._calls(codec) if "realtime" in sessions else None)
        return Deployment(f"{family.name}/{name}", family.name, name, asked, relays, counter, realtime)

    def _calls(self, codec: Codec) -> ProviderCalls | None:
        if self._family.calls is None:
            return None
        url = self._family.calls(Address(self._endpoint, ""))
        return ProviderCalls(self._client, codec, url=url, credential=self._credential, tls=lambda: self._client.tls)

    def _sessions(self, name: str, profile: ModelProfile) -> dict[SessionKind, RealtimeModel]:
        has: dict[SessionKind, bool] = {
            "realtime": profile.realtime,
            "transcription": profile.transcribes,
            "translation": profile.translates,
        }
        if (address_of := self._family.realtime) is None:
            return {}
        where = Address(self._endpoint, name, self._realtime_version)
        return {
            kind: RealtimeUpstream(address_of(where, kind), self._credential, lambda: self._client.tls)
            for kind, has_it in has.items()
            if has_it
        }
