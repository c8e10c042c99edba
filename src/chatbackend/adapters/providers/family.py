"""What a provider family is: its dialect, where it is called, how it is authorised, the facts about its models."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import msgspec

from chatbackend.adapters.providers.codec import Codec, endpoint_url
from chatbackend.adapters.providers.counting import Counting
from chatbackend.adapters.providers.openai_responses import ResponsesCodec
from chatbackend.adapters.realtime.upstreams import RealtimeAddress
from chatbackend.domain.models import ModelProfile
from chatbackend.domain.realtime import SessionKind
from chatbackend.usecases.ports import Api

ENTRY_POINTS = "chatbackend.providers"  # the group in which an installed package names its families
MakeCodec = Callable[[ModelProfile], Codec]
Facts = Iterable[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Address:
    """One model of a configured endpoint. `version` is "" where none is set."""

    endpoint: str
    model: str
    version: str = ""


def variable_of(name: str) -> str:
    """Return the prefix of the variables of a family that a package of its own brings."""
    return name.upper().replace("-", "_")


def bearer(key: str) -> dict[str, str]:
    """Return the header of OpenAI and most others; none for a server that wants no key."""
    return {"authorization": f"Bearer {key}"} if key else {}


def written_url(address: Address, path: str) -> str:
    """Return where a codec's path is, however much of `/v1` the operator wrote."""
    return endpoint_url(address.endpoint, path)


@dataclass(frozen=True, slots=True)
class Family:
    """A provider family: the prefix of its models' names, its variables' prefix, its dialect, its facts.

    `facts` are (pattern, `ModelProfile` fields): every pattern that is found in a model's name, in lower case, changes
    these fields of `profile`, in order. `apis` are further dialects, for `<variable>_API` to choose.
    `keys` are the variables that may hold its key, the first that is set wins; none: `<variable>_API_KEY`.
    `authorise` makes the headers that carry it, `token_scope` says what a token of Entra ID is for where no key is set.
    `url` makes the address of a codec's path. `relays` are the paths of the APIs that it speaks: their requests pass
    as they are. `counting`: how it is asked to count tokens. `socket_codec`: what WebSockets to it are spoken by.
    `realtime` makes the address of a model's sessions of a kind, `calls` the HTTP address that calls are below.
    """

    name: str
    variable: str
    codec: MakeCodec
    profile: ModelProfile = field(default_factory=ModelProfile)
    facts: Facts = ()
    apis: Mapping[str, MakeCodec] = field(default_factory=dict[str, MakeCodec])
    keys: tuple[str, ...] = ()
    authorise: Callable[[str], dict[str, str]] = bearer
    token_scope: str | None = None
    url: Callable[[Address, str], str] = written_url
    relays: Mapping[Api, str] = field(default_factory=dict[Api, str])
    counting: Counting | None = None
    socket_codec: Callable[[ModelProfile], ResponsesCodec] | None = None
    realtime: Callable[[Address, SessionKind], RealtimeAddress] | None = None
    calls: Callable[[Address], str] | None = None

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The variables that may hold its key."""
        return self.keys or (f"{self.variable}_API_KEY",)

    def codec_for(self, api: str, profile: ModelProfile) -> Codec:
        """Return the codec of one of its dialects, of its usual one for ""."""
        return self.apis.get(api, self.codec)(profile)


def profile_of(family: Family, model: str) -> ModelProfile:
    """Return the facts about a model of this name."""
    name = model.lower()
    known: dict[str, Any] = {}
    for pattern, said in family.facts:
        if re.search(pattern, name):
            known.update(said)
    return overridden(family.profile, known)


def overridden(profile: ModelProfile, said: Mapping[str, Any]) -> ModelProfile:
    """Return the profile with these fields changed. Raises: ValueError naming a field that is none, or ill-typed."""
    known = {each.name for each in fields(profile)}
    for name in said:
        if name not in known:
            raise ValueError(f"'{name}' is no fact about a model; known are {', '.join(sorted(known))}")
    for name, value in said.items():
        try:
            msgspec.convert({**asdict(ModelProfile()), name: value}, ModelProfile)
        except msgspec.ValidationError as error:
            raise ValueError(f"'{name}': {str(error).partition(' - ')[0]}") from error
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ValueError(f"'{name}': Expected a number of 1 or more")
    return msgspec.convert({**asdict(profile), **said}, ModelProfile)
