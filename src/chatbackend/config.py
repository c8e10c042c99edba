"""Settings, read from the environment once, by `bootstrap` and `cli` only."""

import os
import re
from collections.abc import Mapping
from copy import copy
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, create_model

from chatbackend.adapters.providers.family import ENTRY_POINTS, variable_of

_VISIBLE = re.compile("[!-~]+")  # what a header carries as it is
ONLY = {"CHATBACKEND_BLOBS_URL": "file:", "CHATBACKEND_QUEUE_URL": "embedded:"}


class BadSetting(Exception):
    """A setting that stops the start; the message is the one line to show."""


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("use an http:// or https:// address")
    if parts.username or parts.password:
        raise ValueError("put no credentials into the address; use the _API_KEY variable")
    if parts.port == 0:  # reading it raises ValueError where it is none
        raise ValueError("use a port from 1 to 65535, or none")
    return value


def _postgres_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("use postgresql://USER:PASSWORD@HOST/DATABASE, or unset it to use the embedded SQLite")
    if "," not in parts.netloc and parts.port == 0:  # reading it raises ValueError where it is none; hosts may be many
        raise ValueError("use a port from 1 to 65535, or none")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("use redis://:PASSWORD@HOST:PORT/DATABASE (rediss:// with TLS), or unset it for one server")
    if parts.port == 0:  # reading it raises ValueError where it is none
        raise ValueError("use a port from 1 to 65535, or none")
    return value


def _origin(value: str) -> str:
    parts = urlsplit(value)
    whole = parts.scheme and parts.netloc and not (parts.path.strip("/") or parts.query or parts.fragment)
    if value != "*" and not whole:
        raise ValueError("use * or whole origins, such as https://app.example.com")
    return value


def _carried(value: SecretStr) -> SecretStr:
    if not _VISIBLE.fullmatch(value.get_secret_value()):
        raise ValueError("use visible ASCII characters only, without spaces or line breaks")
    return value


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


Key = Annotated[SecretStr, AfterValidator(_carried)]
Endpoint = Annotated[str, AfterValidator(_http_url)]
Api = Literal["chat", "responses"]
Transport = Literal["http", "websocket"]


class Settings(BaseModel):
    """Every variable the embedded server reads. Field names are the variables' names in lower case.

    `installed` are the prefixes of the variables of providers that packages bring, where their endpoints are set.
    """

    installed: ClassVar[frozenset[str]] = frozenset()

    chatbackend_host: str = Field("127.0.0.1", description="Address to listen on.")
    chatbackend_port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="Port to listen on.")
    chatbackend_tls_cert: Path | None = Field(
        None,
        description="PEM file of the certificate, and those between it and its root, to serve https: and wss: with; "
        "default: http: and ws:. A renewed one is taken up within 10 s.",
    )
    chatbackend_tls_key: Path | None = Field(
        None, description="PEM file of its key, without a passphrase; default: the key is in CHATBACKEND_TLS_CERT."
    )
    chatbackend_metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="Port that serves /metrics without a credential; default: only beside the API, with one."
    )
    chatbackend_data_dir: Path = Field(
        Path("data"), description="Folder of all embedded state; a relative one lies where the server is started."
    )
    database_url: Annotated[SecretStr, AfterValidator(_postgres_url)] | None = Field(
        None, description="PostgreSQL 15 or later for everything but the event log and files; see postgresql.md."
    )
    redis_url: Annotated[SecretStr, AfterValidator(_redis_url)] | None = Field(
        None, description="Redis 7 or later for the event log, so that many servers share the database; see cluster.md."
    )
    chatbackend_bootstrap_key: Key | None = Field(None, description="The first API key, instead of a random one.")
    chatbackend_allowed_origins: list[Annotated[str, AfterValidator(_origin)]] = Field(
        default_factory=list,
        description="Browser origins for CORS and WebSockets, separated by commas; default: same origin and localhost.",
    )
    chatbackend_max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        20 * 2**20, description="Largest JSON body or WebSocket frame, in bytes."
    )
    chatbackend_max_file_bytes: Annotated[int, Field(ge=1024)] = Field(
        512 * 2**20, description="Largest uploaded file, in bytes."
    )
    chatbackend_max_running: Annotated[int, Field(ge=1)] = Field(
        2000, description="Responses, and answers under a key, that may run at once; more are refused with 503."
    )
    chatbackend_max_running_per_user: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="Of those, how many one user may have; default: 100 a user that an account names, no bound for the "
        "account itself. More are refused with 429. Each of many servers counts for itself, here and below.",
    )
    chatbackend_max_sockets_per_user: Annotated[int, Field(ge=1)] | None = Field(
        None, description="WebSockets that one user may have open; default and refusal as for running responses."
    )
    chatbackend_max_connections: Annotated[int, Field(ge=16)] = Field(
        20_000, description="Connections that may be open at once; more are refused with 503."
    )
    chatbackend_ping_s: Annotated[float, Field(ge=0.5, le=25)] = Field(
        20.0, description="Seconds between two pings of a WebSocket, and for the answer; then it is closed."
    )
    chatbackend_response_deadline_s: Annotated[float, Field(gt=0)] = Field(
        900.0,
        description="Longest generation, in seconds; then it ends incomplete (an answer under a key: with an error).",
    )
    chatbackend_drain_s: Annotated[float, Field(ge=0, le=15)] = Field(
        10.0, description="After SIGTERM, seconds that running responses may take to end."
    )
    chatbackend_config: Path | None = Field(
        None, description="TOML file of aliases, routes and their rules, profiles and prices; see routing.md."
    )
    chatbackend_transcription_model: str | None = Field(
        None,
        description="The model of realtime sessions for transcription whose client names none; default: it has to.",
    )
    chatbackend_log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severe log line."
    )

    azure_openai_endpoint: Endpoint | None = Field(None, description="An Azure OpenAI resource.")
    azure_openai_api_key: Key | None = Field(
        None, description="Key for AZURE_OPENAI_ENDPOINT; without one, tokens of Entra ID are used."
    )
    azure_openai_deployments: list[str] = Field(
        default_factory=list[str],
        description="Deployments of AZURE_OPENAI_ENDPOINT, separated by commas; `name=model` says which model one is. "
        "Default: any name.",
    )
    azure_openai_api_version: Annotated[str, Field(pattern=r"^[\w.-]*$")] = Field(
        "", description="A dated version of the API, such as 2024-10-21; default: the v1 API."
    )
    azure_openai_realtime_api_version: Annotated[str, Field(pattern=r"^[\w.-]*$")] = Field(
        "", description="A version of Azure's Realtime preview API, such as 2025-04-01-preview; default: the GA API."
    )
    azure_openai_api: Api = Field("chat", description="The API that AZURE_OPENAI_ENDPOINT is asked by.")
    azure_openai_transport: Transport = Field(
        "http", description="How the Responses API of AZURE_OPENAI_ENDPOINT is spoken: http, or websocket."
    )
    openai_endpoint: Endpoint | None = Field(None, description="OpenAI, or a server that speaks its Chat Completions.")
    openai_api_key: Key | None = Field(None, description="Key for OPENAI_ENDPOINT.")
    openai_models: list[str] = Field(
        default_factory=list[str], description="Models of OPENAI_ENDPOINT, separated by commas; default: any name."
    )
    openai_api: Api = Field("chat", description="The API that OPENAI_ENDPOINT is asked by: chat or responses.")
    openai_transport: Transport = Field(
        "http",
        description="How the Responses API of OPENAI_ENDPOINT is spoken: http, or websocket, one for all turns of a "
        "tool loop; see providers.md.",
    )
    claude_endpoint: Endpoint | None = Field(None, description="Anthropic, or a server that speaks its Messages API.")
    claude_api_key: Key | None = Field(None, description="Key for CLAUDE_ENDPOINT.")
    anthropic_api_key: Key | None = Field(None, description="Used when CLAUDE_API_KEY is not set.")
    claude_models: list[str] = Field(
        default_factory=list[str], description="Models of CLAUDE_ENDPOINT, separated by commas; default: any name."
    )
    llama31_endpoint: Endpoint | None = Field(None, description="An OpenAI-compatible server of Llama 3.1.")
    llama31_api_key: Key | None = Field(None, description="Key for LLAMA31_ENDPOINT, if it wants one.")
    llama31_models: list[str] = Field(
        default_factory=list[str], description="Models of LLAMA31_ENDPOINT, separated by commas; default: any name."
    )
    perplexity_endpoint: Endpoint | None = Field(None, description="Perplexity: https://api.perplexity.ai")
    perplexity_api_key: Key | None = Field(None, description="Key for PERPLEXITY_ENDPOINT.")
    perplexity_models: list[str] = Field(
        default_factory=list[str], description="Models of PERPLEXITY_ENDPOINT, separated by commas; default: any name."
    )

    @property
    def max_frame_bytes(self) -> int:
        """The largest frame of any WebSocket: sound comes in base64, a third larger, with something around it."""
        return self.chatbackend_max_body_bytes + 2**20

    def postgres(self) -> str | None:
        """Return the address of the PostgreSQL to use, None for the embedded SQLite."""
        return None if self.database_url is None else self.database_url.get_secret_value()

    def redis(self) -> str | None:
        """Return the address of the Redis that many servers share, None for one server alone."""
        return None if self.redis_url is None else self.redis_url.get_secret_value()

    def endpoint(self, variable: str) -> str | None:
        """Return `<variable>_ENDPOINT`."""
        value: str | None = getattr(self, f"{variable.lower()}_endpoint", None)
        return value

    def models(self, variable: str) -> list[str]:
        """Return `<variable>_MODELS`, at Azure `<variable>_DEPLOYMENTS`."""
        name = variable.lower()
        value: list[str] = getattr(self, f"{name}_deployments", None) or getattr(self, f"{name}_models", [])
        return value

    def api(self, variable: str) -> str:
        """Return `<variable>_API`, "" where there is no choice."""
        value: str = getattr(self, f"{variable.lower()}_api", "")
        return value

    def over_sockets(self, variable: str) -> bool:
        """Return whether `<variable>_TRANSPORT` asks for WebSockets."""
        return getattr(self, f"{variable.lower()}_transport", "http") == "websocket"

    def api_version(self, variable: str) -> str:
        """Return `<variable>_API_VERSION`, "" where none is set."""
        value: str = getattr(self, f"{variable.lower()}_api_version", "")
        return value

    def realtime_api_version(self, variable: str) -> str:
        """Return `<variable>_REALTIME_API_VERSION`, "" where none is set."""
        value: str = getattr(self, f"{variable.lower()}_realtime_api_version", "")
        return value

    def key(self, variables: tuple[str, ...]) -> str:
        """Return the first of these secrets that is set, "" when none is."""
        found: list[SecretStr | None] = [getattr(self, variable.lower()) for variable in variables]
        return next((secret.get_secret_value() for secret in found if secret is not None), "")


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings. Raises: BadSetting with the one line to show."""
    environment = os.environ if environment is None else environment
    _refuse_other(environment)
    kind = _with_installed(environment)
    known = {name.lower(): value for name, value in environment.items() if name.lower() in kind.model_fields and value}
    values: dict[str, object] = {}
    for name, value in known.items():
        listed = name.endswith(("_models", "_deployments", "_origins"))
        values[name] = _names(value) if listed else value
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        raise BadSetting(_line(error)) from error
    key = settings.chatbackend_bootstrap_key
    if key is not None and len(key.get_secret_value()) < 8:
        raise BadSetting("CHATBACKEND_BOOTSTRAP_KEY is too short: use at least 8 characters.")
    if settings.redis_url is not None and settings.database_url is None:
        raise BadSetting("REDIS_URL is set, but DATABASE_URL is not: many servers need both, one server needs neither.")
    if settings.chatbackend_tls_key is not None and settings.chatbackend_tls_cert is None:
        raise BadSetting("CHATBACKEND_TLS_KEY is set, but CHATBACKEND_TLS_CERT is not: TLS needs a certificate.")
    for variable in ("AZURE_OPENAI", "OPENAI"):
        if settings.over_sockets(variable) and settings.api(variable) != "responses":
            raise BadSetting(f"{variable}_TRANSPORT is 'websocket', which needs {variable}_API=responses.")
    return settings


def _with_installed(environment: Mapping[str, str]) -> type[Settings]:
    """Return the settings, with the variables of installed providers whose endpoint is set. None is imported."""
    unknown = {
        name.lower().removesuffix("_endpoint")
        for name, value in environment.items()
        if value and name.endswith("_ENDPOINT") and name.lower() not in Settings.model_fields
    }
    if not unknown:
        return Settings
    found = unknown & {variable_of(point.name).lower() for point in entry_points(group=ENTRY_POINTS)}
    fields: dict[str, Any] = {}
    for name in sorted(found):
        for ending in ("endpoint", "api_key", "models"):
            known = Settings.model_fields[f"llama31_{ending}"]
            fields[f"{name}_{ending}"] = (known.annotation, copy(known))
    kind = create_model("Settings", __base__=Settings, **fields)
    kind.installed = frozenset(name.upper() for name in found)
    return kind


def _refuse_other(environment: Mapping[str, str]) -> None:
    for name, scheme in ONLY.items():
        value = environment.get(name)
        if value and not value.startswith(scheme):
            raise BadSetting(f"{name} is {value.partition(':')[0]}:..., but this release knows only {scheme}")


def _line(error: ValidationError) -> str:
    """Word the first problem as: variable, value (never a secret), mend."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]).upper()
    # What stands before an @ in an address is a password.
    secret = name.endswith(("_KEY", "DATABASE_URL", "REDIS_URL")) or "@" in str(first["input"])
    value = "" if secret else f" is {first['input']!r}"
    return f"{name}{value}: {first['msg'].removeprefix('Value error, ')}."
