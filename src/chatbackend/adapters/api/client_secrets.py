"""Shapes of `POST /v1/realtime/client_secrets`.

Source: the `openai` package, `types/realtime/client_secret_create_params.py`. What a secret is bound to is ours, under
`chatbackend`; a session is not configured by it, since `WS /v1/responses` knows no session.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import checked
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret

DEFAULT_S = 600


class ExpiresAfter(Struct, forbid_unknown_fields=True):
    """When the secret ends."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = DEFAULT_S


class SecretSession(Struct):
    """What the SDK's type demands; `realtime` alone is taken, and nothing beside it."""

    type: Literal["realtime", "transcription"] = "realtime"


class Binding(Struct, forbid_unknown_fields=True):
    """Whom the secret acts as, and which models it may name."""

    user: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    models: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=64)] | None
    ) = None


class ClientSecretRequest(Struct, forbid_unknown_fields=True):
    """What a secret is asked for with."""

    expires_after: ExpiresAfter | None = None
    session: SecretSession | None = None
    chatbackend: Binding | None = None

    @property
    def seconds(self) -> int:
        """How long it lives."""
        return DEFAULT_S if self.expires_after is None else self.expires_after.seconds

    @property
    def user(self) -> str | None:
        """The end user that it acts as."""
        return None if self.chatbackend is None else self.chatbackend.user

    @property
    def models(self) -> tuple[str, ...] | None:
        """The names of models that it may ask by."""
        models = None if self.chatbackend is None else self.chatbackend.models
        return None if models is None else tuple(models)


def read(body: Mapping[str, Any]) -> ClientSecretRequest:
    """Read a request. Raises: InvalidRequest naming the field."""
    wanted = checked(body, ClientSecretRequest)
    if wanted.session is not None:
        _refuse_configuration(body["session"])
    return wanted


def client_secret_object(value: str, secret: ClientSecret, *, session_id: str) -> dict[str, Any]:
    """Return what the secret is handed out as: the only time that it is shown."""
    user = None if secret.owner == secret.account else secret.owner.removeprefix(f"{secret.account}/")
    return {
        "value": value,
        "expires_at": secret.expires_at,
        "session": {"id": session_id, "object": "realtime.session", "type": "realtime"},
        "chatbackend": {"user": user, "models": None if secret.models is None else list(secret.models)},
    }


def _refuse_configuration(session: Mapping[str, Any]) -> None:
    given = next((f"session.{name}" for name, value in session.items() if (name, value) != ("type", "realtime")), None)
    if given is not None:
        message = (
            f"'{given}' is not supported yet: a secret is for WS /v1/responses, which has no session to configure."
        )
        raise InvalidRequest(message, param=given, code="unsupported_parameter")
