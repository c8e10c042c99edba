"""Shapes of `POST /v1/realtime/client_secrets`.

Source: the `openai` package, `types/realtime/client_secret_create_params.py`. A `session` is what realtime sessions
begin with. What a secret is bound to is ours, under `chatbackend`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from chatbackend.adapters.api.checking import checked
from chatbackend.domain.errors import InvalidRequest
from chatbackend.domain.identity import ClientSecret
from chatbackend.domain.realtime import Terms

DEFAULT_S = 600
MAX_INSTRUCTIONS = 32_768


class ExpiresAfter(Struct, forbid_unknown_fields=True):
    """When the secret ends."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = DEFAULT_S


class SecretSession(Struct):
    """What a realtime session begins with: any field of GA's configuration, which its provider judges."""

    type: Literal["realtime", "transcription"] = "realtime"
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class Binding(Struct, forbid_unknown_fields=True):
    """Whom the secret acts as, which models it may name, and what its realtime sessions are held to.

    `instructions` go before a client's own, and `vector_store_ids` are searched, without its seeing either.
    `client_tools` are the names that its own functions may have. `show_sources`: it may see what is found.
    `conversation` is the one that its realtime sessions are bound to. `renew`: they outlast their provider's.
    """

    user: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    models: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=64)] | None
    ) = None
    instructions: Annotated[str, Meta(max_length=MAX_INSTRUCTIONS)] | None = None
    vector_store_ids: Annotated[list[str], Meta(min_length=1, max_length=16)] | None = None
    client_tools: Annotated[list[str], Meta(max_length=128)] | None = None
    show_sources: bool = False
    conversation: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    renew: bool = False


class ClientSecretRequest(Struct, forbid_unknown_fields=True):
    """What a secret is asked for with."""

    expires_after: ExpiresAfter | None = None
    session: SecretSession | None = None
    chatbackend: Binding | None = None

    @property
    def terms(self) -> Terms:
        """What its realtime sessions are held to."""
        held = self.chatbackend or Binding()
        return Terms(
            None if self.session is None else self.session.model,
            instructions=held.instructions or "",
            vector_stores=tuple(held.vector_store_ids or ()),
            client_tools=None if held.client_tools is None else tuple(held.client_tools),
            show_sources=held.show_sources,
            conversation=held.conversation,
            renew=held.renew,
        )

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
        if models is None and self.session is not None and self.session.model is not None:
            models = [self.session.model]
        return None if models is None else tuple(models)


def read(body: Mapping[str, Any]) -> tuple[ClientSecretRequest, Terms]:
    """Read a request, and what its realtime sessions are held to. Raises: InvalidRequest naming the field."""
    wanted = checked(body, ClientSecretRequest)
    if wanted.session is None:
        return wanted, wanted.terms
    if wanted.session.type != "realtime":
        message = "Sessions for transcription alone are not taken; a realtime session transcribes its input, too."
        raise InvalidRequest(message, param="session.type", code="unsupported_parameter")
    begun = {name: value for name, value in body["session"].items() if name not in ("type", "model")}
    return wanted, replace(wanted.terms, session=begun)


def client_secret_object(value: str, secret: ClientSecret, *, session_id: str) -> dict[str, Any]:
    """Return what the secret is handed out as: the only time that it is shown."""
    user = None if secret.owner == secret.account else secret.owner.removeprefix(f"{secret.account}/")
    return {
        "value": value,
        "expires_at": secret.expires_at,
        "session": {
            **secret.terms.session,
            "id": session_id,
            "object": "realtime.session",
            "type": "realtime",
            **({} if secret.terms.model is None else {"model": secret.terms.model}),
        },
        "chatbackend": {"user": user, "models": None if secret.models is None else list(secret.models)},
    }
